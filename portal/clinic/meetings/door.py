"""The door of an online visit: when it opens, who waits at it, and where it leads on to."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select, update

from portal.clinic import people
from portal.clinic.meetings import settings, wanted
from portal.clinic.meetings.models import Meeting
from portal.clinic.meetings.providers import CannotMeet, jitsi
from portal.clinic.models import Appointment
from portal.clinic.states import DoorState
from portal.kernel import clock, vault
from portal.kernel.db import db
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.tenants.models import Tenant

LONGEST_URL = 500
CLOSES_AFTER = timedelta(minutes=60)


@dataclass(frozen=True)
class Door:
    """A visit's door. state: unpaid, early, ready or ended. leads_to: the provider behind it now, `handed` for an
    address that the clinician pasted, "" while there is none; knocks: the patient waits here until they are let in.
    """

    appointment: Appointment
    meeting: Meeting | None
    chosen: settings.Settings
    state: DoorState
    leads_to: str
    knocks: bool

    @property
    def is_awaited(self) -> bool:
        """Whether the session is still to come, or goes on."""
        return self.state in (DoorState.EARLY, DoorState.READY)

    @property
    def is_let_in(self) -> bool:
        """Whether the patient may go in now, as far as the clinician is concerned."""
        return not self.knocks or (self.meeting is not None and self.meeting.admitted_at is not None)


def by_token(token: str) -> Door:
    """The door with this token in its address. Raises NotFound."""
    found = select(Appointment).where(Appointment.join_token == token, Appointment.kind == "virtual")
    appointment = db.session.scalars(found).one_or_none()
    if appointment is None:
        raise NotFound(_("This session link is not known here. Check that you copied all of it."))
    return of(appointment)


def of(appointment: Appointment) -> Door:
    """The door of an online visit."""
    chosen = settings.of(db.session.get_one(Tenant, appointment.tenant_id))
    meeting = wanted.of(appointment)
    leads_to = _leads_to(meeting, chosen) if meeting is not None else ""
    knocks = leads_to == "jitsi"
    return Door(appointment, meeting, chosen, _state(appointment, chosen), leads_to, knocks)


def _state(appointment: Appointment, chosen: settings.Settings) -> DoorState:
    if appointment.status not in ("confirmed", "started", "completed"):
        return DoorState.UNPAID
    if clock.now() < appointment.starts_at - chosen.opens_before:
        return DoorState.EARLY
    is_over = clock.now() > appointment.ends_at + CLOSES_AFTER or appointment.status == "completed"
    return DoorState.ENDED if is_over else DoorState.READY


def _leads_to(meeting: Meeting, chosen: settings.Settings) -> str:
    if meeting.handed_url_sealed is not None:
        return "handed"
    if meeting.provider in settings.ASKED:
        if meeting.join_url_sealed is not None:
            return meeting.provider
        return chosen.fallback if meeting.fell_back else ""
    return meeting.provider


def knock(door: Door) -> None:
    """The patient is here. The caller commits."""
    if door.state == DoorState.READY and door.meeting is not None:
        mine = update(Meeting).where(Meeting.id == door.meeting.id, Meeting.knocked_at.is_(None))
        db.session.execute(mine.values(knocked_at=clock.now()))


def admit(door: Door) -> None:
    """The clinician lets the patient in. The caller commits. Raises Conflict where there is no meeting."""
    if door.meeting is None or door.state != DoorState.READY:
        raise Conflict(_("This session is not open now."))
    mine = update(Meeting).where(Meeting.id == door.meeting.id, Meeting.admitted_at.is_(None))
    db.session.execute(mine.values(admitted_at=clock.now()))


def hand(door: Door, url: str) -> None:
    """Meet at this address instead, which somebody pasted; "" for the clinic's own way again. The caller commits.

    Raises Refused for what is no https address, and Conflict where there is no meeting.
    """
    if door.meeting is None:
        raise Conflict(_("This session is not open now."))
    is_fit = url.startswith("https://") and len(url) <= LONGEST_URL and settings.is_address(url, with_query=True)
    if url and not is_fit:
        sentence = _("An address that begins with https://, as the meeting's invitation has it.")
        raise Refused(sentence, code="invalid_fields", fields={"url": sentence})
    context = vault.context(vault.MEETING, door.meeting.tenant_id)
    handed = vault.seal(url, context=context) if url else None
    mine = update(Meeting).where(Meeting.id == door.meeting.id)
    db.session.execute(mine.values(handed_url_sealed=handed))


def host_is_in(door: Door) -> None:
    """The clinician goes in. The caller commits."""
    if door.meeting is not None:
        mine = update(Meeting).where(Meeting.id == door.meeting.id, Meeting.host_at.is_(None))
        db.session.execute(mine.values(host_at=clock.now()))


def address_of_guest(door: Door) -> str | None:
    """Where the patient goes now; None while they wait. Nothing is told before the door opens."""
    if door.state != DoorState.READY or not door.is_let_in:
        return None
    name = (people.name_of(door.appointment.patient).split() or [""])[0]
    return _address(door, name=name, is_host=False)


def address_of_host(door: Door) -> str | None:
    """Where the clinician goes in as host; None where there is no room yet. May ask the provider: no transaction."""
    if door.state in (DoorState.UNPAID, DoorState.ENDED):
        return None
    url = _address(door, name=door.appointment.clinician.name, is_host=True)
    if url is None or door.meeting is None or door.leads_to not in settings.ASKED:
        return url
    provider, config = settings.ASKED[door.leads_to], door.chosen.configs.get(door.leads_to, {})
    external_id = door.meeting.external_id
    db.session.remove()
    try:
        return provider.host_url(config, external_id, url)
    except (CannotMeet, KeyError):
        return url  # as a guest is better than not at all


def _address(door: Door, *, name: str, is_host: bool) -> str | None:
    visit, meeting = door.appointment, door.meeting
    if meeting is None:
        return None
    context = vault.context(vault.MEETING, meeting.tenant_id)
    if door.leads_to == "handed":
        return vault.unseal(meeting.handed_url_sealed or "", context=context)
    if door.leads_to in settings.ASKED:
        return vault.unseal(meeting.join_url_sealed or "", context=context)
    if door.leads_to == "jitsi":
        config = door.chosen.configs.get("jitsi", {})
        room = f"visit{meeting.request_id}"
        try:
            return jitsi.address(config, room=room, name=name, is_host=is_host, until=visit.ends_at)
        except (CannotMeet, KeyError):
            return None
    if door.leads_to == "simple" and (base_url := door.chosen.base_url.rstrip("/")):
        is_this_door = base_url.endswith("/join")  # our own, written down as a base: there is nothing behind it
        return None if is_this_door else f"{base_url}/{visit.join_token}"
    return None
