"""Online visits: how the clinic meets, and each visit's room, who waits at it, and what went wrong with it."""

from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from wtforms import IntegerField, PasswordField, SelectField, StringField, TextAreaField
from wtforms.fields import SelectChoice
from wtforms.validators import Length

from portal.clinic import appointments
from portal.clinic.meetings import door as doors
from portal.clinic.meetings import settings, wanted
from portal.clinic.meetings.door import Door
from portal.clinic.models import Appointment
from portal.clinic.states import DoorState
from portal.kernel import queue
from portal.kernel.db import transaction
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.staff import buttons, kept_forms
from portal.staff.guard import actor, needs
from portal.staff.kept_forms import StaffForm
from portal.users.permissions import MANAGE_CLINIC, SEE_CLINIC, WORK_CLINIC, Forbidden
from portal.web.language import said
from portal.web.signin import is_fresh

# The form's names of each provider's settings; what comes after the first underscore is the setting's own name.
OF_PROVIDER = {
    "simple": (),
    "jitsi": ("jitsi_domain", "jitsi_app_id", "jitsi_key_id", "jitsi_secret"),
    "google": ("google_credential", "google_subject", "google_calendar"),
    "zoom": ("zoom_account", "zoom_client", "zoom_secret", "zoom_host"),
}
HOSTS = ("clinician", "tenant_admin")


class SettingsForm(StaffForm):
    """How the clinic meets online."""

    provider = SelectField(
        _l("Online visits are held with"),
        choices=[
            SelectChoice("simple", _l("Simple: a link that nobody can guess")),
            SelectChoice("jitsi", _l("Jitsi, on your own server or 8x8's")),
            SelectChoice("google", "Google Meet"),
            SelectChoice("zoom", "Zoom"),
        ],
    )
    fallback = SelectField(
        _l("If it does not answer"),
        choices=[
            SelectChoice("simple", _l("Use the simple link")),
            SelectChoice("jitsi", _l("Use Jitsi")),
            SelectChoice("", _l("Wait for it; staff are told")),
        ],
        description=_l("Patients keep one link: it leads to whatever works when they open it."),
    )
    opens_minutes = IntegerField(_l("The door opens how many minutes before"), default=15)
    base_url = StringField(
        _l("Base address of simple meetings"),
        [Length(max=200)],
        description=_l("Such as https://meet.example.co.ke. Empty: patients wait here; the clinician pastes a link."),
    )
    jitsi_domain = StringField(
        _l("Jitsi: server"), [Length(max=200)], description=_l("Such as meet.example.co.ke, or 8x8.vc.")
    )
    jitsi_app_id = StringField(_l("Jitsi: app id"), [Length(max=200)])
    jitsi_key_id = StringField(_l("Jitsi: key id"), [Length(max=200)], description=_l("For 8x8 only."))
    jitsi_secret = TextAreaField(
        _l("Jitsi: secret, or 8x8's private key"), [Length(max=5_000)], description=_l("Kept sealed, never shown.")
    )
    google_credential = TextAreaField(
        _l("Google: service account"),
        [Length(max=10_000)],
        description=_l("The key's JSON file, whole. Kept sealed, never shown."),
    )
    google_subject = StringField(
        _l("Google: whose calendar"),
        [Length(max=200)],
        description=_l("An address of your Workspace for which the account may act (domain-wide delegation)."),
    )
    google_calendar = StringField(_l("Google: calendar"), [Length(max=200)], description=_l("Empty: their main one."))
    zoom_account = StringField(_l("Zoom: account id"), [Length(max=200)])
    zoom_client = StringField(_l("Zoom: client id"), [Length(max=200)])
    zoom_secret = PasswordField(
        _l("Zoom: client secret"), [Length(max=200)], description=_l("Kept sealed, never shown.")
    )
    zoom_host = StringField(_l("Zoom: host"), [Length(max=200)], description=_l("The e-mail address of the Zoom user."))

    def given(self) -> dict[str, Any]:
        """The chosen provider's settings, as it names them; a secret that was left out is left out."""
        names = OF_PROVIDER.get(self.provider.data, ())
        found = {name.partition("_")[2]: (self[name].data or "").strip() for name in names}
        if found.get("credential"):
            found["credential"] = settings.read_account(found["credential"])
        return found


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/meetings", "meetings", meetings, methods=["GET", "POST"])
    bp.add_url_rule("/meetings/test", "test_meetings", test_meetings, methods=["POST"])
    bp.add_url_rule("/appointments/<uid>/meeting", "meeting", meeting)
    bp.add_url_rule("/appointments/<uid>/meeting/room", "meeting_room", meeting_room)
    bp.add_url_rule("/appointments/<uid>/meeting/state", "meeting_state", meeting_state)
    bp.add_url_rule("/appointments/<uid>/meeting/admit", "admit", admit, methods=["POST"])
    bp.add_url_rule("/appointments/<uid>/meeting/hand", "hand_meeting", hand, methods=["POST"])
    bp.add_url_rule("/appointments/<uid>/meeting/again", "meeting_again", again, methods=["POST"])


@needs(MANAGE_CLINIC)
def meetings() -> ResponseReturnValue:
    """How the clinic meets: the provider, its credentials, what stands in when it fails."""
    form = SettingsForm()
    if form.validate_on_submit():
        if not is_fresh():
            return kept_forms.ask_again()
        try:
            with transaction():
                settings.change(
                    g.tenant,
                    provider=form.provider.data,
                    fallback=form.fallback.data,
                    opens_minutes=form.opens_minutes.data if form.opens_minutes.data is not None else -1,
                    base_url=(form.base_url.data or "").strip(),
                    given=form.given(),
                    actor=actor(),
                )
        except Refused as error:
            _blame(form, error)
        else:
            flash(_("Saved. Test it now."), "success")
            return redirect(url_for("staff.meetings"), 303)
    elif request.method == "GET":
        form = SettingsForm(data=_shown(settings.of(g.tenant)))
    page = render_template(
        "staff/meetings.html",
        form=form,
        kept=settings.kept(g.tenant.id),
        has_secret=settings.of(g.tenant).configs.keys(),
        of_provider=OF_PROVIDER,
        test_url=url_for("staff.test_meetings"),
    )
    return page, 422 if form.errors or form.form_errors else 200


def _shown(chosen: settings.Settings) -> dict[str, Any]:
    """The settings as the form has them, without any secret."""
    values: dict[str, Any] = {
        "provider": chosen.provider,
        "fallback": chosen.fallback,
        "opens_minutes": chosen.opens_minutes,
        "base_url": chosen.base_url,
    }
    for provider, config in chosen.configs.items():
        values |= {f"{provider}_{name}": v for name, v in config.items() if name not in settings.SECRETS[provider]}
    return values


def _blame(form: SettingsForm, error: Refused) -> None:
    for name, sentence in error.fields.items():
        if name in form:
            form[name].errors = [*form[name].errors, said(sentence)]
    if not any(name in form for name in error.fields):
        form.form_errors.append(said(error.message))


@needs(MANAGE_CLINIC)
def test_meetings() -> ResponseReturnValue:
    """Ask the provider whether our credentials hold. Nothing is made."""

    def work() -> str:
        if error := settings.check(g.tenant.id):
            raise Conflict(_("It does not work yet. %(error)s", error=error))
        chosen = settings.of(g.tenant)
        if chosen.provider == "simple" and not chosen.base_url:
            return _("Nobody is asked: patients wait at our door, and the clinician pastes a link for each visit.")
        if chosen.provider not in settings.ASKED:
            return _("The settings are in order. Nobody was asked: open a visit's room to see it.")
        return _("It works: the provider knows us.")

    return buttons.do_outside(work, then=url_for("staff.meetings"))


def _door(uid: str) -> Door:
    visit: Appointment = appointments.get_by_uid(g.tenant.id, uid)
    if visit.kind != "virtual":
        raise NotFound(_("This visit is at the clinic, not online."))
    return doors.of(visit)


def _may_host(door: Door) -> bool:
    """Whether this visit is theirs: a colleague's sign-in opens no session of another's patient under their name."""
    return g.role != "clinician" or door.appointment.clinician.user_id in (None, current_user.id)


@needs(SEE_CLINIC)
def meeting(uid: str) -> ResponseReturnValue:
    """One visit's room: the way in as host, who waits, what the provider said."""
    return render_template("staff/meeting.html", **_room(uid))


@needs(SEE_CLINIC)
def meeting_state(uid: str) -> ResponseReturnValue:
    """The room alone, or 204 where nothing about it changed."""
    room = _room(uid)
    if request.args.get("seen") == room["looks"]:
        return "", 204
    return render_template("staff/_meeting.html", **room)


def _room(uid: str) -> dict[str, Any]:
    door = _door(uid)
    one, meeting = door.appointment, door.meeting
    waits = meeting is not None and meeting.knocked_at is not None and meeting.admitted_at is None
    looks = f"{door.state}/{door.leads_to}/{waits}/{meeting.last_error if meeting else ''}/{bool(meeting)}"
    return {
        "visit": one,
        "door": door,
        "waits": waits and door.knocks and door.state == DoorState.READY,
        "is_made": bool(door.leads_to),
        "looks": looks,
        "may_host": g.role in HOSTS and _may_host(door),
        "link": one.meeting_url or "",
        "room_url": url_for("staff.meeting_room", uid=uid),
        "admit_url": url_for("staff.admit", uid=uid),
        "hand_url": url_for("staff.hand_meeting", uid=uid),
        "again_url": url_for("staff.meeting_again", uid=uid),
        "poll_url": url_for("staff.meeting_state", uid=uid, seen=looks) if door.is_awaited else None,
        "back_url": url_for("staff.appointments"),
    }


@needs(WORK_CLINIC)
def meeting_room(uid: str) -> ResponseReturnValue:
    """Into the room as host. Only who treats: what is said there is between them and the patient."""
    if g.role not in HOSTS and not current_user.is_platform_admin:
        raise Forbidden(_("Only a clinician goes into the session."))
    if not _may_host(_door(uid)):
        raise Forbidden(_("Only who treats this patient goes into the session. Move the visit first to take it over."))
    with transaction():
        doors.host_is_in(_door(uid))
    url = doors.address_of_host(_door(uid))
    if url is None:
        flash(_("There is no room behind this visit yet. Paste a link below, or try again in a minute."), "info")
        return redirect(url_for("staff.meeting", uid=uid), 303)
    return redirect(url, 302)


@needs(WORK_CLINIC)
def admit(uid: str) -> ResponseReturnValue:
    """Let the patient in."""

    def work() -> str:
        doors.admit(_door(uid))
        return _("The patient may come in now.")

    return buttons.do(work, then=url_for("staff.meeting", uid=uid))


@needs(WORK_CLINIC)
def hand(uid: str) -> ResponseReturnValue:
    """Meet at an address that somebody pasted; the patient's link stays what it is."""

    def work() -> str:
        url = request.form.get("url", "").strip()
        doors.hand(_door(uid), url)
        return _("The patient's link leads there now.") if url else _("The patient's link leads where it did before.")

    return buttons.do(work, then=url_for("staff.meeting", uid=uid))


@needs(WORK_CLINIC)
def again(uid: str) -> ResponseReturnValue:
    """Ask the provider once more, now."""

    def work() -> str:
        door = _door(uid)
        if door.meeting is None or door.meeting.provider not in settings.ASKED:
            raise Conflict(_("There is nobody to ask for this visit's meeting."))
        wanted.try_again(door.meeting)
        return _("The provider is asked again.")

    return buttons.do(work, then=url_for("staff.meeting", uid=uid), ring=queue.MEETINGS)
