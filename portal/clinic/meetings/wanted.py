"""Which meeting is wanted: one for each confirmed online visit, at its time, and none for a visit that is off.

Each of these runs in the transaction that changes the visit, and asks nobody; the job follows (`make`).
"""

from urllib.parse import urljoin

from sqlalchemy import select, update

from portal.clinic.meetings import settings
from portal.clinic.meetings.models import Meeting
from portal.clinic.models import Appointment
from portal.kernel import clock
from portal.kernel.db import db, new_token, upsert_nothing
from portal.tenants.models import Tenant


def want(tenant: Tenant, appointment: Appointment, *, public_url: str) -> str:
    """Want a meeting for this visit; the address that people are told, the same one whenever it is asked for.

    public_url: our own. The caller commits, then enqueues MEETINGS.
    """
    chosen = settings.of(tenant)
    db.session.execute(
        upsert_nothing(
            Meeting,
            unique=["appointment_id"],
            tenant_id=tenant.id,
            appointment_id=appointment.id,
            provider=chosen.provider,
            wanted="made",
            request_id=new_token(),
            next_at=clock.now() if chosen.provider in settings.ASKED else None,
        )
    )
    return link(appointment, base_url=chosen.base_url if chosen.provider == "simple" else "", public_url=public_url)


def link(appointment: Appointment, *, base_url: str, public_url: str) -> str:
    """What people are told: absolute, under the clinic's base for simple meetings or else our own door."""
    return f"{urljoin(f'{public_url}/', base_url or 'join').rstrip('/')}/{appointment.join_token}"


def move(appointment: Appointment) -> None:
    """The visit has another time: its meeting follows, and whoever was let in waits at the door again.

    The caller commits, then enqueues MEETINGS.
    """
    _ask_anew(appointment, knocked_at=None, host_at=None, admitted_at=None)


def unwant(appointment: Appointment) -> None:
    """The visit is off, and so is its meeting. The caller commits, then enqueues MEETINGS."""
    _ask_anew(appointment, wanted="cancelled")


def try_again(meeting: Meeting) -> None:
    """Ask the provider now, whatever it said before. The caller commits, then enqueues MEETINGS."""
    again = update(Meeting).where(Meeting.id == meeting.id)
    db.session.execute(again.values(next_at=clock.now(), attempts=0))


def of(appointment: Appointment) -> Meeting | None:
    """The meeting behind a visit, or None where none was ever wanted."""
    return db.session.scalars(select(Meeting).where(Meeting.appointment_id == appointment.id)).one_or_none()


def _ask_anew(appointment: Appointment, **columns: object) -> None:
    mine = update(Meeting).where(Meeting.appointment_id == appointment.id, Meeting.wanted == "made")
    asked = mine.where(Meeting.provider.in_(settings.ASKED))
    changed = {"version": Meeting.version + 1, "attempts": 0, **columns}
    db.session.execute(asked.values(next_at=clock.now(), **changed))
    db.session.execute(mine.where(Meeting.provider.not_in(settings.ASKED)).values(**changed))
