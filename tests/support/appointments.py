"""Appointments at the clinic."""

from collections import Counter
from datetime import timedelta
from typing import Any

from portal.clinic.models import Clinician
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.users.models import User
from tests.support.daraja import new_phone
from tests.support.product import Product

_visits: Counter[int] = Counter()  # each has a time of its own: a clinician sees one patient at a time


def book(product: Product, kind: str = "virtual", price: Any = 1_500, **changes: Any) -> Any:
    before = _visits[id(product)]
    _visits[id(product)] += 1
    api = product.api("brian")
    patient = api.post(
        "/api/patients", json={"name": "Achieng", "phone": new_phone(), "email": "achieng@example.com"}
    ).json
    clinician = api.get("/api/clinicians").json["items"][0]
    body = {
        "patientId": patient["id"],
        "clinicianId": clinician["id"],
        "kind": kind,
        "startsAt": (clock.now() + timedelta(days=2, minutes=50 * before)).isoformat(),
        "durationMinutes": 45,
        "price": price,
    }
    return api.post("/api/appointments", json=body | changes)


def is_wanjirus(product: Product) -> None:
    """The clinician signs in as Wanjiru."""
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        user = db.session.query(User).filter_by(email="wanjiru@mlima.test").one()
        db.session.query(Clinician).filter_by(tenant_id=tenant_id).update({"user_id": user.id})
