"""The way back for who lost the code, or comes with another device: by the number that paid, through its SMS alone.

Decided: who asks is told the same, in the same time, whether the number has a pass or not: the same rows are written
either way, and a message that is to reach nobody is written as one that is over already.
"""

from datetime import timedelta

from portal.hotspot.models import AccessGrant
from portal.hotspot.passes import standing
from portal.kernel import clock, personal
from portal.kernel.db import new_uid
from portal.kernel.errors import Sentence as _
from portal.kernel.translations import render
from portal.notifications import phone_codes, tell
from portal.outbox import write
from portal.tenants.models import Tenant

PURPOSE = "hotspot pass"
_NOBODY = ("M" + "A" * 9, "a" * 8)


def send(tenant: Tenant, msisdn: str, *, locale: str) -> None:
    """Send this number the name and password of its pass, and a code to be let in by. The caller commits, then enqueues
    OUTBOX. A number without a pass, and one that was sent too many, gets nothing.
    """
    now = clock.now()
    code = phone_codes.issue(tenant.id, PURPOSE, msisdn)
    grants = standing.of_number(tenant.id, personal.phone_hash(msisdn, tenant.id))
    name, password = (grants[0].username, grants[0].password) if grants else _NOBODY
    text = _(
        "%(business)s: type %(code)s on the Wi-Fi page within 10 minutes. Name: %(name)s Password: %(password)s",
        business=tenant.name[:40],
        code=code or "000000",
        name=name,
        password=password,
    )
    is_due = bool(grants) and code is not None
    expires_at = now + phone_codes.VALID_FOR if is_due else now - timedelta(seconds=1)
    write.put(
        tenant.id, "sms", f"sms/pass/{new_uid()}", tell.sms_payload(msisdn, render(text, locale)), expires_at=expires_at
    )


def passes_by(tenant: Tenant, msisdn: str, code: str) -> list[AccessGrant]:
    """The number's access with time left, where this is the code that it was sent; else none. The caller commits."""
    is_right = phone_codes.redeem(tenant.id, PURPOSE, msisdn, code)
    grants = standing.of_number(tenant.id, personal.phone_hash(msisdn, tenant.id))
    return grants if is_right else []
