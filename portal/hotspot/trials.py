"""A free trial: once for each phone, which shows by an SMS that it is there. New MAC addresses cost nothing; phones do.

Decided: its user name is made of the number's keyed hash, so the database itself has each number once; and who has
one running finds it again by a new code.
"""

import base64

from portal.hotspot import access, packages
from portal.hotspot.models import AccessGrant
from portal.hotspot.places import Bid
from portal.kernel import personal
from portal.kernel.db import db, new_uid
from portal.kernel.errors import NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.kernel.translations import render
from portal.notifications import phone_codes, tell
from portal.outbox import write
from portal.tenants.models import Tenant

PURPOSE = "hotspot trial"


def send_code(tenant: Tenant, msisdn: str, *, locale: str) -> None:
    """Send this phone the figures that begin its trial. The caller commits, then enqueues OUTBOX.

    Whether it had one already is told only to who has the figures. A phone that was sent too many gets nothing.
    """
    code = phone_codes.issue(tenant.id, PURPOSE, msisdn)
    if code is None:
        return
    text = _("%(business)s: type %(code)s on the Wi-Fi page within 10 minutes.", business=tenant.name[:40], code=code)
    write.put(tenant.id, "sms", f"sms/trial/{new_uid()}", tell.sms_payload(msisdn, render(text, locale)))


def begin(
    tenant: Tenant, msisdn: str, code: str, *, mac: str = "", browser_hash: str = "", site_id: int | None = None
) -> AccessGrant | None:
    """The trial of this phone, where these are its figures; None where they are not. The caller commits either way.

    Raises NotFound where no trial is offered, Refused where the phone has had its own. Two at once meet at the code's
    row, which is held until the commit.
    """
    package = packages.trial(tenant.id, site_id=site_id)
    if package is None:
        raise NotFound(_("There is no free trial here at the moment."), code="no_trial")
    if not phone_codes.redeem(tenant.id, PURPOSE, msisdn, code):
        return None
    owner = personal.phone_hash(msisdn, tenant.id)
    username = "T" + base64.b32encode(bytes.fromhex(owner)[:10]).decode()
    before = db.session.query(AccessGrant).filter_by(tenant_id=tenant.id, username=username).one_or_none()
    if before is not None:
        if before.is_open:
            return before
        raise Refused(_("This number has had its free trial."), code="trial_over")
    bid = Bid(tenant.id, package, mac=mac, browser_hash=browser_hash, owner_hash=owner)
    return access.issue(bid, origin="trial", actor="trial", username=username)
