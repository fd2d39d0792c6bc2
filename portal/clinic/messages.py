"""What a clinic's patients were sent, and whether it reached them: for the desk, which calls whom nothing reached."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import literal_column, select

from portal.audit import chain
from portal.clinic import notifications, people
from portal.clinic.models import Appointment
from portal.kernel import phone, vault
from portal.kernel.db import db
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.notifications import tell
from portal.outbox import write
from portal.outbox.models import NOT_REACHED, OutboxItem, OutboxState

SHOWN, SETTLED = 50, "settled"


@dataclass(frozen=True)
class Sent:
    """One message. what: of notifications.EVENTS, or another short name. state: waiting, sent, delivered, failed,
    settled or skipped. to: for the desk, which calls it. cost_cents: None where the provider has not told.
    """

    id: int
    channel: str
    what: str
    to: str
    text: str
    state: str
    why: str
    at: datetime
    cost_cents: int | None
    visit: Appointment | None = None
    patient: str = ""


def of_visit(appointment: Appointment) -> list[Sent]:
    """All that was written to a visit's patient, the newest first."""
    mine = select(OutboxItem).where(
        literal_column("outbox.about = 'appointment'"),
        OutboxItem.about_id == appointment.id,
        OutboxItem.tenant_id == appointment.tenant_id,
    )
    return [_sent(one) for one in db.session.scalars(mine.order_by(OutboxItem.id.desc()).limit(SHOWN))]


def cost_of(sent: Sequence[Sent]) -> int:
    """Cents that they cost, as far as the provider has told."""
    return sum(one.cost_cents or 0 for one in sent)


def not_reached(tenant_id: int) -> list[Sent]:
    """What reached nobody and nobody has seen to, the newest first, with whose visit it was about."""
    mine = select(OutboxItem).where(NOT_REACHED.waits, OutboxItem.tenant_id == tenant_id)
    items = list(db.session.scalars(mine.order_by(OutboxItem.id.desc()).limit(SHOWN)))
    visits = {
        one.id: one
        for one in db.session.scalars(
            select(Appointment).where(
                Appointment.id.in_({item.about_id for item in items if item.about_id}),
                Appointment.tenant_id == tenant_id,
            )
        )
    }
    return [_sent(one, visits.get(one.about_id or 0)) for one in items]


def count_not_reached(tenant_id: int) -> int:
    """How many; beyond SHOWN it does not matter."""
    mine = select(OutboxItem.id).where(NOT_REACHED.waits, OutboxItem.tenant_id == tenant_id)
    return len(db.session.scalars(mine.order_by(OutboxItem.id.desc()).limit(SHOWN)).all())


def _sent(one: OutboxItem, visit: Appointment | None = None) -> Sent:
    try:
        payload = write.payload_of(one)
    except (vault.CannotOpen, ValueError):
        payload = {}
    to = str(payload.get("to", ""))
    what = next((part for part in one.key.split("/")[3:4]), "")
    return Sent(
        one.id, one.kind, what, phone.for_people(to) if one.kind == "sms" and to else to,
        str(payload.get("text", "")), _state(one), one.last_error, one.done_at or one.created_at, one.cost_cents,
        visit, people.name_of(visit.patient) if visit is not None else "",
    )  # fmt: skip


def _state(one: OutboxItem) -> str:
    if one.delivery:
        return one.delivery
    return {OutboxState.NEW: "waiting", OutboxState.DONE: "sent", OutboxState.DEAD: "failed"}.get(
        OutboxState(one.state), "skipped"
    )


def _unreached(tenant_id: int, item_id: int) -> OutboxItem:
    """Raises NotFound, Conflict where somebody saw to it meanwhile."""
    mine = select(OutboxItem).where(OutboxItem.tenant_id == tenant_id, OutboxItem.id == item_id)
    item = db.session.scalars(mine.with_for_update()).one_or_none()
    if item is None or item.about != "appointment":
        raise NotFound(_("There is no such message here."))
    if item.delivery != "failed":
        raise Conflict(_("Somebody has seen to this message already."))
    return item


def settle(tenant_id: int, item_id: int, *, actor: str) -> None:
    """The desk has told them another way. The caller commits. Raises NotFound, Conflict."""
    item = _unreached(tenant_id, item_id)
    item.delivery = SETTLED
    chain.record(tenant_id, "message", item.id, "told_by_hand", actor=actor, why=item.last_error)


def send_again(tenant_id: int, item_id: int, *, channel: str, actor: str) -> None:
    """Send the same words to where the patient is reached now, by sms or email. The caller commits and enqueues OUTBOX.

    Raises NotFound, Conflict, and Refused where that channel does not lead to them.
    """
    item = _unreached(tenant_id, item_id)
    visit = db.session.get(Appointment, item.about_id)
    if visit is None or visit.tenant_id != tenant_id:
        raise NotFound(_("There is no such message here."))
    to, text = notifications.contact_of(visit.patient, visit.tenant), str(write.payload_of(item)["text"])
    key = f"appointment/{visit.id}/again/{item.id}"
    if channel == "sms" and to.msisdn:
        tell.by_sms(tenant_id, key, msisdn=to.msisdn, text=text, locale=to.locale, expires_at=visit.ends_at)
    elif channel == "email" and to.address:
        letter = tell.Letter(to.address, _("Your appointment"), text, sender=visit.tenant.name)
        tell.by_letter(tenant_id, key, letter, locale=to.locale, expires_at=visit.ends_at)
    else:
        raise Refused(_("There is no address or number for this. Add one to the patient first."))
    item.delivery = SETTLED
    chain.record(tenant_id, "message", item.id, "sent_again", actor=actor, why=item.last_error)
