"""Signing in and out."""

from urllib.parse import parse_qs, urlsplit

from flask import (
    Blueprint,
    Response,
    current_app,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_babel import lazy_gettext as _l
from flask_login import LoginManager, current_user, login_user, logout_user
from flask_wtf import FlaskForm
from wtforms import HiddenField, PasswordField, StringField
from wtforms.validators import InputRequired

from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.tenants.models import Tenant
from portal.users import credentials, guesses, sessions
from portal.users.credentials import Entered
from portal.users.models import User
from portal.users.permissions import STAFF_ROLES
from portal.web.errors import tell_wait
from portal.web.language import said
from portal.web.limits import SIGN_INS, network, shared

bp = Blueprint("accounts", __name__)
DEVICE_COOKIE, DEVICE_KNOWN_FOR_S = "mlango-device", 180 * 86_400
login_manager = LoginManager()


class LoginForm(FlaskForm):
    email = StringField(_l("E-mail address"), [InputRequired(_l("Enter your e-mail address."))])
    password = PasswordField(_l("Password"), [InputRequired(_l("Enter your password."))])
    next = HiddenField()


@login_manager.user_loader
def load_user(token: str) -> User | None:
    """The person of this session, unless it has ended."""
    return sessions.find(token)


@login_manager.unauthorized_handler
def ask_to_sign_in(then: str | None = None) -> ResponseReturnValue:
    """The sign-in page, then back to where they were. then: a path of ours to go to instead."""
    return redirect(url_for("accounts.login", next=then or request.full_path.rstrip("?")), 302)


def keep_session() -> None:
    """Let this session live on. A page that asks by itself is nobody at work: its polls keep nothing alive."""
    is_poll = request.method == "GET" and "HX-Request" in request.headers
    if not is_poll and current_user.seen_at < clock.now() - sessions.WRITTEN_EVERY:
        token = current_user.session_token
        with transaction():
            sessions.keep(token)


def _who_tries() -> str:
    """Tries count per network; a browser that signed in before is not held up by its neighbours."""
    device = _device()
    return f"device:{device.id}" if device else f"network:{network()}"


def _device() -> guesses.Device | None:
    return guesses.device_of(request.cookies.get(device_cookie(), ""), current_app.config["SECRET_KEY"])


def device_cookie() -> str:
    """The name of the cookie by which a browser is known again."""
    return ("__Host-" if current_app.config["SESSION_COOKIE_SECURE"] else "") + DEVICE_COOKIE


@bp.route("/login", methods=["GET", "POST"])
@shared(SIGN_INS, per=_who_tries, methods=["POST"])
def login() -> ResponseReturnValue:
    """Address and password."""
    form = LoginForm(next=request.args.get("next", ""))
    if not form.validate_on_submit():
        return _login_page(form, 422 if request.method == "POST" else 200)
    email = form.email.data or ""
    try:
        entered = enter(email, form.password.data or "")
    except Refused as error:
        is_wrong = isinstance(error, credentials.WrongPassword)
        form.form_errors.append(str(_l("E-mail address or password is wrong.")) if is_wrong else said(error.message))
        tell_wait(error)
        return _login_page(form, 422 if is_wrong else error.status)
    begin_session(entered)
    response = make_response(redirect(_home(current_user, form.next.data or ""), 303))
    remember_device(response, email)
    return response


def _login_page(form: LoginForm, status_code: int) -> ResponseReturnValue:
    return render_template("accounts/login.html", form=form, tenant=_tenant_known(form.next.data or "")), status_code


def _tenant_known(wanted: str) -> Tenant | None:
    """Whose sign-in page this is, where the way here says so: its link, or the session that has ended."""
    try:
        named = parse_qs(urlsplit(wanted).query).get("tenant", [""])[0]
    except ValueError:
        named = ""
    slug = request.args.get("tenant") or named or session.get("tenant")
    return db.session.query(Tenant).filter_by(slug=slug).one_or_none() if slug else None


def enter(email: str, password: str) -> Entered:
    """Who signs in here. Raises WrongPassword, or CoolDown after many of them from this place."""
    here, device = network(), _device()
    guesses.count_one(email, network=here, device=device)
    entered = credentials.check_password(email, password)
    guesses.forget(email, network=here, device=device)
    return entered


def begin_session(entered: Entered) -> None:
    """Sign this browser in; nothing is taken over from the session before, which ends."""
    before = session.get("_user_id", "")
    with transaction():
        if before:
            sessions.end(before)
        token = sessions.begin(entered.user_id, entered.session_key)
    session.clear()
    user = db.session.get_one(User, entered.user_id)
    user.session_token, user.seen_at = token, clock.now()
    login_user(user)
    session["signed_in_at"] = clock.now().timestamp()
    session["person"] = user.id  # outlives the session: whose half-written form it is that still comes
    if first := credentials.first_membership(user):
        session["tenant"] = first.tenant.slug


def remember_device(response: Response, email: str) -> None:
    """Know this browser again: who guesses at this account elsewhere does not hold it up."""
    response.set_cookie(
        device_cookie(),
        guesses.cookie_for(_device(), email, current_app.config["SECRET_KEY"]),
        max_age=DEVICE_KNOWN_FOR_S,
        secure=current_app.config["SESSION_COOKIE_SECURE"],
        httponly=True,
        samesite="Lax",
    )


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
    """End this session, here and wherever its cookie was copied to."""
    if token := session.get("_user_id", ""):
        with transaction():
            sessions.end(token)
        logout_user()
    stays = {name: session[name] for name in ("person", "tenant") if name in session}
    session.clear()
    session.update(stays)  # whose half-written form it is that still comes, and of which business
    return redirect(url_for("home"), 303)


def is_fresh() -> bool:
    """Whether this session signed in within the last quarter of an hour."""
    at = session.get("signed_in_at", 0)
    return clock.now().timestamp() - float(at) < current_app.config["FRESH_FOR_S"]
