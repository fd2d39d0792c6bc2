"""Who works here, and which programs: invited by a link that works once, given another role, ended at once.

Everything here asks for a fresh sign-in: whoever finds an open browser must not make themselves an administrator.
"""

from typing import Any

from flask import Blueprint, current_app, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from wtforms import SelectField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Length, Regexp

from portal.audit import chain
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict, Refused
from portal.staff import kept_forms
from portal.staff.guard import actor, needs
from portal.staff.kept_forms import StaffForm
from portal.users import links, team, tokens
from portal.users.models import Membership, User
from portal.users.permissions import MANAGE_PEOPLE
from portal.web.passwords import link_for, mail_link
from portal.web.signin import is_fresh

ROLES = {
    "tenant_admin": _l("Administrator"),
    "receptionist": _l("Receptionist"),
    "clinician": _l("Clinician"),
    "accountant": _l("Accountant"),
    "seller": _l("Seller of Wi-Fi codes"),
}


class InviteForm(StaffForm):
    """Somebody new."""

    name = StringField(_l("Name"), [InputRequired(_l("Enter the name.")), Length(max=80)])
    email = StringField(
        _l("E-mail address"),
        [
            InputRequired(_l("Enter the e-mail address.")),
            Regexp(r"\s*[^@\s]+@[^@\s]+\.[^@\s]+\s*$", message=_l("This is no e-mail address.")),
            Length(max=254),
        ],
    )
    role = SelectField(_l("Role"), choices=[SelectChoice(*one) for one in ROLES.items()], default="receptionist")


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/people", "people", list_people)
    bp.add_url_rule("/people", "people_invite", invite, methods=["POST"])
    bp.add_url_rule("/people/<int:member_id>/role", "people_role", give_role, methods=["POST"])
    bp.add_url_rule("/people/<int:member_id>/deactivate", "people_deactivate", deactivate, methods=["POST"])
    bp.add_url_rule("/people/<int:member_id>/link", "people_link", hand_link, methods=["POST"])
    bp.add_url_rule("/people/keys", "people_key", new_key, methods=["POST"])
    bp.add_url_rule("/people/keys/<int:key_id>/revoke", "people_key_revoke", revoke_key, methods=["POST"])


@needs(MANAGE_PEOPLE)
def list_people() -> ResponseReturnValue:
    """Everybody who works or worked here, and the keys of programs."""
    return _page(InviteForm())


def _page(form: InviteForm, status_code: int = 200, **shown_once: str) -> ResponseReturnValue:
    page = render_template(
        "staff/people.html",
        rows=[_row(one) for one in team.members(g.tenant.id)],
        keys=team.api_keys(g.tenant.id),
        form=form,
        roles=ROLES,
        **shown_once,
    )
    return page, status_code


def _row(one: Membership) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.user.name,
        "email": one.user.email,
        "role": one.role,
        "is_over": one.deactivated_at is not None or one.user.deactivated_at is not None,
        "is_me": one.user_id == current_user.id,
    }


@needs(MANAGE_PEOPLE)
def invite() -> ResponseReturnValue:
    """Somebody new: their link is shown here once, or they have a password already."""
    if not is_fresh():
        return kept_forms.ask_again()
    form = InviteForm()
    if not form.validate_on_submit():
        return _page(form, 422)
    given = {"email": form.email.data or "", "name": form.name.data or "", "role": form.role.data}
    try:
        with transaction():
            user = team.invite(g.tenant.id, actor=actor(), **given)
            user_id = user.id
    except team.Unproven:
        mail_link(given["email"])
        flash(
            _(
                "This person works elsewhere, and their address has not been confirmed: a link went to it. Invite them "
                "again when they have chosen a password by it."
            ),
            "info",
        )
        return redirect(url_for("staff.people"), 303)
    except Conflict:
        form.email.errors = [_("This person belongs here already.")]
        return _page(form, 409)
    return _link_of(db.session.get_one(User, user_id))


def _link_of(user: User) -> ResponseReturnValue:
    if team.is_ours_alone(user, g.tenant.id):
        link = link_for(links.make(user, current_app.config["SECRET_KEY"], good_for=links.WELCOME_FOR))
        return _page(InviteForm(formdata=None), link=link, link_name=user.name)
    mail_link(user.email)
    flash(_("%(name)s works elsewhere too: a link to a password went to their own address.", name=user.name))
    return redirect(url_for("staff.people"), 303)


@needs(MANAGE_PEOPLE)
def give_role(member_id: int) -> ResponseReturnValue:
    """Another role from now on, also for who was deactivated."""
    found = _other(member_id)
    if not is_fresh():
        return kept_forms.ask_again()
    role = request.form.get("role", "")
    if role not in ROLES:
        raise Refused(_("Choose one of the roles."))
    with transaction():
        user = db.session.get_one(User, found)
        team.give_role(user, g.tenant.id, role, actor=actor())
        name = user.name
    flash(_("%(name)s: %(role)s from now on.", name=name, role=ROLES[role]), "success")
    return redirect(url_for("staff.people"), 303)


@needs(MANAGE_PEOPLE)
def deactivate(member_id: int) -> ResponseReturnValue:
    """They do nothing here from now on."""
    _other(member_id)
    if not is_fresh():
        return kept_forms.ask_again()
    with transaction():
        membership = team.member(g.tenant.id, member_id)
        team.deactivate(membership, actor=actor())
        name = membership.user.name
    flash(_("%(name)s does nothing here from now on.", name=name), "success")
    return redirect(url_for("staff.people"), 303)


@needs(MANAGE_PEOPLE)
def hand_link(member_id: int) -> ResponseReturnValue:
    """A link to a new password: shown to the administrator, or mailed where the person belongs to others too."""
    found = _other(member_id)
    if not is_fresh():
        return kept_forms.ask_again()
    with transaction():
        chain.record(g.tenant.id, "user", found, "password_link", actor=actor())
    return _link_of(db.session.get_one(User, found))


def _other(member_id: int) -> int:
    """The person of this row, who is somebody else: nobody locks themselves out, so somebody always has the keys."""
    found = team.member(g.tenant.id, member_id)
    if found.user_id == current_user.id:
        raise Conflict(_("This is you: another administrator can change it."))
    return found.user_id


@needs(MANAGE_PEOPLE)
def new_key() -> ResponseReturnValue:
    """A key for a program, shown once."""
    if not is_fresh():
        return kept_forms.ask_again()
    name = request.form.get("name", "").strip().replace("\0", "")
    if not 0 < len(name) <= 60:
        raise Refused(_("Name the program, in at most 60 characters."))
    with transaction():
        made = tokens.new_api_key(g.tenant.id, name)
        chain.record(g.tenant.id, "api_key", team.api_keys(g.tenant.id)[0].id, "made", actor=actor(), new=name[:40])
    return _page(InviteForm(formdata=None), key=made, key_name=name)


@needs(MANAGE_PEOPLE)
def revoke_key(key_id: int) -> ResponseReturnValue:
    """That program asks nothing any more."""
    with transaction():
        name = team.revoke_key(g.tenant.id, key_id, actor=actor()).name
    flash(_("The key of %(name)s is revoked.", name=name), "success")
    return redirect(url_for("staff.people"), 303)
