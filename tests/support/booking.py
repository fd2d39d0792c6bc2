"""Booking by patients: a service on offer, its free times, the code that was sent, the visit."""

import re
from datetime import date, timedelta
from typing import Any

from portal.clinic import branches, services
from portal.clinic.models import Clinician
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.outbox.models import OutboxItem
from portal.outbox.write import payload_of
from tests.support.daraja import new_phone
from tests.support.product import Product

MONDAY_TO_SUNDAY = tuple((day, 8 * 60, 17 * 60) for day in range(7))


def offer(product: Product, slug: str = "mlima", **changes: Any) -> str:
    """A consultation of half an hour with everybody of the clinic, every day from 8 to 17; its id."""
    tenant_id = product.tenant_id(slug)
    with product.app.app_context(), transaction():
        everybody = db.session.query(Clinician).filter_by(tenant_id=tenant_id).all()
        for one in everybody:
            services.set_hours(one, MONDAY_TO_SUNDAY, actor="test")
            one.works_holidays = True
        terms = {"kinds": ("onsite", "virtual"), "notice_minutes": 0} | changes
        made = services.create(
            tenant_id, services.Offer("Consultation", 150_000, 30, **terms), by=everybody, actor="test"
        )
        return made.uid


def place_of(product: Product, slug: str = "mlima", name: str = "Westlands") -> str:
    """A place of the clinic; its id."""
    tenant_id = product.tenant_id(slug)
    with product.app.app_context(), transaction():
        return branches.add(tenant_id, name=name, address="Ring Road 4", actor="test").uid


def slots(product: Product, service: str, day: date | None = None, **query: Any) -> Any:
    first = day or clock.nairobi(clock.now()).date() + timedelta(days=1)
    asked = {"tenant": "mlima", "serviceId": service, "from": first.isoformat(), "to": first.isoformat()} | query
    return product.client().get("/api/portal/clinic/slots", query_string=asked)


def starts(product: Product, service: str, day: date | None = None, **query: Any) -> list[str]:
    return [one["startsAt"] for one in slots(product, service, day, **query).json["items"]]


def begin(product: Product, service: str, starts_at: str, **changes: Any) -> Any:
    given = {
        "tenant": "mlima", "serviceId": service, "startsAt": starts_at, "kind": "onsite", "name": "Achieng Otieno",
        "phone": new_phone(),
    } | changes  # fmt: skip
    return product.client().post("/api/portal/clinic/bookings", json=given)


def code_sent(product: Product) -> str:
    """The six digits of the last message."""
    with product.inside():
        sent = db.session.query(OutboxItem).filter(OutboxItem.about == "booking").order_by(OutboxItem.id.desc()).first()
        assert sent is not None
        found = re.search(r"\b(\d{6})\b", payload_of(sent)["text"])
        assert found is not None
        return found.group(1)


def confirm(product: Product, booking_id: str, code: str) -> Any:
    return product.client().post(f"/api/portal/clinic/bookings/{booking_id}/confirm", json={"code": code})


def booked(product: Product, service: str, starts_at: str, **changes: Any) -> Any:
    begun = begin(product, service, starts_at, **changes)
    assert begun.status_code == 202, begun.text
    answer = confirm(product, begun.json["bookingId"], code_sent(product))
    assert answer.status_code == 201, answer.text
    return answer.json
