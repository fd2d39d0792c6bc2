"""Signing in and out."""

from urllib.parse import urlsplit

from flask import Blueprint, current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import lazy_gettext as _l
from flask_login import LoginManager, current_user, login_user, logout_user
from flask_wtf import FlaskForm
from wtforms import HiddenField, PasswordField, StringField
from wtforms.validators import InputRequired

from portal import clock
from portal.accounts import signin
from portal.accounts.models import User
from portal.accounts.permissions import STAFF_ROLES
from portal.db import db, transaction
from portal.errors import Refused
from portal.limits import SIGN_INS, limiter

bp = Blueprint("accounts", __name__)
login_manager = LoginManager()


class LoginForm(FlaskForm):
    email = StringField(_l("E-mail address"), [InputRequired(_l("Enter your e-mail address."))])
    password = PasswordField(_l("Password"), [InputRequired(_l("Enter your password."))])
    next = HiddenField()


@login_manager.user_loader
def load_user(identity: str) -> User | None:
    """The person of this session, unless their sessions were ended."""
    user_id, _, key = identity.partition(":")
    user = db.session.get(User, int(user_id)) if user_id.isdigit() else None
    return user if user is not None and user.session_key == key else None


@login_manager.unauthorized_handler
def ask_to_sign_in() -> ResponseReturnValue:
    """The sign-in page, then back to where they were."""
    return redirect(url_for("accounts.login", next=request.full_path.rstrip("?")), 302)


@bp.route("/login", methods=["GET", "POST"])
@limiter.limit(SIGN_INS, key_func=lambda: request.remote_addr or "", methods=["POST"])
def login() -> ResponseReturnValue:
    """Address and password."""
    form = LoginForm(next=request.args.get("next", ""))
    if not form.validate_on_submit():
        status = 422 if request.method == "POST" else 200
        return render_template("accounts/login.html", form=form, tenant=None), status
    try:
        user = check_and_count(form.email.data or "", form.password.data or "")
    except Refused as error:
        form.form_errors.append(
            str(_l("E-mail address or password is wrong."))
            if isinstance(error, signin.WrongPassword)
            else error.message
        )
        return render_template("accounts/login.html", form=form, tenant=None), 422
    session.clear()
    login_user(user)
    session["signed_in_at"] = clock.now().timestamp()
    return redirect(_home(user, form.next.data or ""), 303)


def check_and_count(email: str, password: str) -> User:
    """The person; a wrong password is counted even though it is refused."""
    wrong: signin.WrongPassword | None = None
    with transaction():
        try:
            user_id = signin.check_password(email, password).id
        except signin.WrongPassword as error:
            wrong = error
    if wrong is not None:
        raise wrong
    return db.session.get_one(User, user_id)


def _home(user: User, wanted: str) -> str:
    if _is_ours(wanted):
        return wanted
    is_staff = user.is_platform_admin or any(m.role in STAFF_ROLES for m in user.memberships)
    return url_for("staff.today") if is_staff else url_for("account.home")


def _is_ours(wanted: str) -> bool:
    """Whether this is a path here, however a browser may read it."""
    try:
        address = urlsplit(wanted)
    except ValueError:
        return False
    return (
        wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable() and not address.netloc
    )


@bp.post("/logout")
def logout() -> ResponseReturnValue:
    """End this session."""
    if current_user.is_authenticated:
        logout_user()
    session.clear()
    return redirect(url_for("home"), 303)


def is_fresh() -> bool:
    """Whether this session signed in within the last quarter of an hour."""
    at = session.get("signed_in_at", 0)
    return clock.now().timestamp() - float(at) < current_app.config["FRESH_FOR_S"]
