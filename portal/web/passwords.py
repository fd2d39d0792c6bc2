"""Changing one's own password, and choosing a new one by a link: for staff and patients alike.

Each ends the person's other sessions and every bearer token. Asking for a link answers the same whether anybody has
that address; the mail goes to the address that we hold, at most one in ten minutes, so nobody's mailbox is filled, and
the one before still works.
"""

from flask import Blueprint, current_app, flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from flask_wtf import FlaskForm
from wtforms import PasswordField, StringField
from wtforms.validators import EqualTo, InputRequired, Length

from portal.kernel import clock, queue, vault
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.notifications import tell
from portal.tenants.models import Tenant
from portal.users import credentials, links, team
from portal.users.models import User
from portal.users.permissions import STAFF_ROLES
from portal.web.errors import tell_wait
from portal.web.language import locale, said
from portal.web.limits import network, shared
from portal.web.signin import ask_to_sign_in, enter, keep_session, remember_device

bp = Blueprint("passwords", __name__, url_prefix="/password")
ASKED_FOR_LINKS = "20 per 15 minutes"  # a network's
ONE_MAIL_EVERY_S = 600


class NewPasswordForm(FlaskForm):
    password = PasswordField(
        _l("New password"),
        [InputRequired(_l("Enter a new password.")), Length(max=credentials.LONGEST_PASSWORD)],
        description=_l("At least %(count)s characters; several words are easy to remember.", count=10),
    )
    again = PasswordField(
        _l("The new password again"), [EqualTo("password", _l("This is not what you entered above."))]
    )


class ChangeForm(NewPasswordForm):
    current = PasswordField(_l("Your password until now"), [InputRequired(_l("Enter the password you have now."))])


class ForgottenForm(FlaskForm):
    email = StringField(_l("E-mail address"), [InputRequired(_l("Enter your e-mail address.")), Length(max=254)])


@bp.route("/", methods=["GET", "POST"])
def change() -> ResponseReturnValue:
    """A new password for who knows the old one."""
    if not current_user.is_authenticated:
        return ask_to_sign_in()
    keep_session()
    form, status_code = ChangeForm(), 422 if request.method == "POST" else 200
    if form.validate_on_submit():
        user_id, email, stays = current_user.id, current_user.email, current_user.session_token
        try:
            entered = enter(email, form.current.data or "")
            chosen = credentials.hash_of(form.password.data or "")
            with transaction():
                credentials.change_password(
                    user_id, chosen, key=entered.session_key, actor=f"user:{user_id}", but=stays
                )
        except credentials.WrongPassword:
            form.current.errors = [_("This is not your password.")]
        except Refused as error:
            tell_wait(error)
            status_code = error.status
            form.form_errors.append(said(error.message))
        else:
            flash(_("Your password is changed. Everywhere else you are signed out."), "success")
            return redirect(_first_page(), 303)
    page = render_template("accounts/password.html", form=form, tenant=_own_tenant(), back_url=_first_page())
    return page, status_code


def _first_page() -> str:
    is_staff = current_user.is_platform_admin or any(m.role in STAFF_ROLES for m in current_user.memberships)
    return url_for("staff.today") if is_staff else url_for("account.home")


def _own_tenant() -> Tenant | None:
    first = credentials.first_membership(current_user)
    return first.tenant if first else None


@bp.route("/forgotten", methods=["GET", "POST"])
@shared(ASKED_FOR_LINKS, per=lambda: f"network:{network()}", methods=["POST"])
def forgotten() -> ResponseReturnValue:
    """A link by mail, for who has that address here."""
    form = ForgottenForm()
    if not form.validate_on_submit():
        page = render_template("accounts/forgotten.html", form=form, tenant=None, is_sent=False)
        return page, 422 if request.method == "POST" else 200
    mail_link(form.email.data or "")
    return render_template("accounts/forgotten.html", form=form, tenant=None, is_sent=True)


def mail_link(email: str) -> None:
    """Mail a link to the person of this address, if there is one who works or is treated somewhere."""
    user = credentials.by_email(email)
    first = credentials.first_membership(user) if user is not None and user.deactivated_at is None else None
    if user is None or first is None:
        return
    address = link_for(links.make(user, current_app.config["SECRET_KEY"], good_for=links.MAILED_FOR, is_mailed=True))
    turn = int(clock.now().timestamp()) // ONE_MAIL_EVERY_S
    text = _(
        "Somebody, probably you, asked for a new password at %(business)s.\n\n"
        "Choose it here within an hour:\n%(url)s\n\n"
        "If it was not you, do nothing: your password stays as it is.",
        business=first.tenant.name,
        url=address,
    )
    tenant_id, user_id, to = first.tenant_id, user.id, user.email
    key = f"password/{user_id}/{vault.digest(user.session_key)[:16]}/{turn}"
    with transaction():
        tell.by_email(
            tenant_id,
            key,
            address=to,
            subject=_("A new password"),
            text=text,
            locale=locale(),
            expires_at=clock.now() + links.MAILED_FOR,
        )
    queue.enqueue(queue.OUTBOX)


def link_for(token: str) -> str:
    """The address of a link, under our own public one: never under a name that a request brought."""
    return str(current_app.config["PORTAL"].public_url) + url_for("passwords.choose", token=token, lang=None)


@bp.route("/new/<token>", methods=["GET", "POST"])
@shared(ASKED_FOR_LINKS, per=lambda: f"network:{network()}", methods=["POST"])
def choose(token: str) -> ResponseReturnValue:
    """A new password for who came by a link. Looking uses nothing up: mail programs look too."""
    try:
        linked = links.read(token, current_app.config["SECRET_KEY"])
    except Refused:
        return render_template("accounts/link_over.html", tenant=None), 410
    form = NewPasswordForm()
    if form.validate_on_submit():
        try:
            chosen = credentials.hash_of(form.password.data or "")
            with transaction():
                credentials.change_password(linked.user_id, chosen, key=linked.key, actor=f"user:{linked.user_id}")
                if linked.is_mailed:
                    db.session.get_one(User, linked.user_id).is_proven = True
                else:
                    team.chose_by_handed_link(linked.user_id)
        except Refused as error:
            form.form_errors.append(said(error.message))
        else:
            flash(_("Your new password is set. Sign in with it."), "success")
            response = make_response(redirect(url_for("accounts.login"), 303))
            remember_device(response, linked.email)  # who guesses at this account does not keep its owner out
            return response
    user = db.session.get_one(User, linked.user_id)
    first = credentials.first_membership(user)
    page = render_template(
        "accounts/choose.html", form=form, email=linked.email, tenant=first.tenant if first else None
    )
    return page, 422 if request.method == "POST" else 200
