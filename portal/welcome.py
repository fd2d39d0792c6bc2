"""Both doors together, where a tenant has both: who checks in at the clinic is given its Wi-Fi.

It stands above clinic and hotspot, which do not know each other. The pass belongs to the patient's phone, like a
voucher of that phone, and its name and password go there by SMS.
"""

import base64
import hashlib

from sqlalchemy import select

from portal.audit import chain
from portal.clinic.models import Appointment
from portal.hotspot import access, packages
from portal.hotspot.models import AccessGrant, Package
from portal.hotspot.notifications import key_of, way_in
from portal.hotspot.places import Bid
from portal.kernel import personal
from portal.kernel.db import db
from portal.kernel.errors import NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.notifications import tell
from portal.tenants.models import Tenant


def package_of(tenant: Tenant) -> Package | None:
    """What is given at check-in, or None where nothing is."""
    if not (tenant.is_clinic and tenant.is_hotspot and tenant.checkin_package_uid):
        return None
    try:
        package = packages.get(tenant.id, tenant.checkin_package_uid)
    except NotFound:
        return None
    return package if package.service == "hotspot" and package.withdrawn_at is None else None


def choose(tenant: Tenant, package_uid: str, *, actor: str) -> None:
    """Give this package at check-in from now on; "" for none. The caller commits. Raises NotFound, Refused."""
    if package_uid:
        package = packages.get(tenant.id, package_uid)
        if package.service != "hotspot" or package.withdrawn_at is not None:
            raise Refused(_("Choose a Wi-Fi package that is sold."), code="invalid_fields", fields={"package": ""})
    tenant.checkin_package_uid = package_uid
    chain.record(tenant.id, "tenant", tenant.id, "checkin_package_set", actor=actor, new=package_uid)


def wifi_for(tenant: Tenant, visit: Appointment, *, actor: str) -> AccessGrant | None:
    """The patient's pass for this visit: made once, found again; None where none is given or no phone is known.

    The caller commits, then enqueues OUTBOX and SPREAD. Two who check one visit in at once meet at its row.
    """
    package = package_of(tenant)
    msisdn = personal.open_phone(visit.patient.phone_sealed, tenant.id) if package is not None else None
    if package is None or msisdn is None:
        return None
    db.session.execute(select(Appointment.id).where(Appointment.id == visit.id).with_for_update())
    username = _name_for(visit)
    given = select(AccessGrant).where(AccessGrant.tenant_id == tenant.id, AccessGrant.username == username)
    before = db.session.scalars(given).one_or_none()
    if before is not None:
        return before
    owner_hash = personal.phone_hash(msisdn, tenant.id)
    bid = Bid(tenant.id, package, owner_hash=owner_hash)
    opened = access.issue(bid, origin="staff", actor=actor, username=username)
    text = way_in(
        business=tenant.name, name=opened.username, password=opened.password, until=opened.expires_at,
        is_test=False, locale=tenant.locale,
    )  # fmt: skip
    ends_at = opened.expires_at
    tell.by_sms(tenant.id, key_of(opened.id), msisdn=msisdn, text=text, locale=tenant.locale, expires_at=ends_at)
    return opened


def _name_for(visit: Appointment) -> str:
    """One name a visit, so that the database itself gives each visit one pass."""
    return "V" + base64.b32encode(hashlib.sha256(f"visit/{visit.uid}".encode()).digest()[:6]).decode().rstrip("=")
