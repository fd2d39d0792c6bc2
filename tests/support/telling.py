"""What was told: messages as they wait in the outbox, and visits that came as far as being told of."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from portal.clinic import reminders
from portal.clinic.models import Appointment
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from portal.payments.models import Payment
from tests.support.appointments import book
from tests.support.daraja import receipt
from tests.support.product import Product


def told(product: Product, kind: str = "sms", part: str = "") -> list[str]:
    """The texts of a kind whose key has this part, in order."""
    return [letter["text"] for letter in letters(product, kind, part)]


def letters(product: Product, kind: str = "email", part: str = "") -> list[dict[str, Any]]:
    """The same, whole."""
    with product.inside():
        found = db.session.query(OutboxItem).filter_by(kind=kind).order_by(OutboxItem.id)
        return [payload_of(one) for one in found if part in one.key]


def states(product: Product, part: str) -> list[str]:
    """The states of the messages whose key has this part."""
    with product.inside():
        return [one.state for one in db.session.query(OutboxItem).order_by(OutboxItem.id) if part in one.key]


def confirmed(product: Product, *, in_hours: float = 48, kind: str = "onsite", number: int = 5) -> dict[str, Any]:
    """A visit that is paid; its id, and what the API says of it."""
    begins = clock.now() + timedelta(hours=in_hours)
    uid = book(product, kind, startsAt=begins.isoformat()).json["id"]
    answer = product.api("wanjiru").post(f"/api/appointments/{uid}/approve")
    assert answer.status_code == 200, answer.text
    product.callback(product.pushed(answer.json["paymentId"]), receipt=receipt(number))
    product.settle()
    found: dict[str, Any] = product.api("wanjiru").get(f"/api/appointments/{uid}").json
    assert found["status"] == "confirmed"
    return found


def remind(product: Product) -> None:
    """What the worker would do now."""
    with product.app.app_context():
        reminders.remind()
        db.session.remove()


def phone_of(product: Product, uid: str) -> str:
    """The number that a visit's messages go to."""
    with product.inside():
        visit = db.session.scalars(select(Appointment).where(Appointment.uid == uid)).one()
        item = db.session.query(OutboxItem).filter_by(key=f"sms/appointment/{visit.id}/approved").one()
        return str(payload_of(item)["to"])


def change(product: Product, uid: str, **columns: Any) -> None:
    """Write columns of a visit as somebody else might."""
    with product.app.app_context(), transaction():
        db.session.query(Appointment).filter_by(uid=uid).update(columns)


def starts_of(product: Product, uid: str) -> datetime:
    with product.inside():
        return db.session.scalars(select(Appointment.starts_at).where(Appointment.uid == uid)).one()


def token_of(product: Product, uid: str) -> str:
    with product.inside():
        visit = db.session.scalars(select(Appointment).where(Appointment.uid == uid)).one()
        assert visit.invoice is not None
        return db.session.get_one(Payment, visit.invoice.payment_id).token
