"""What a hotspot tells the one who paid: the way back in, in their language, in one message of 160 letters."""

from flask_babel import force_locale
from flask_babel import gettext as _

from portal.hotspot import access
from portal.hotspot.models import AccessGrant
from portal.kernel import clock
from portal.notifications import tell


def opened(grant: AccessGrant, *, business: str, msisdn: str, is_test: bool) -> None:
    """User name, password and end, to the phone that paid; told once. The caller commits, then rings OUTBOX."""
    purchase = grant.purchase
    with force_locale(purchase.locale):
        text = _(
            "%(business)s Wi-Fi. Name: %(name)s Password: %(password)s Valid until %(until)s.",
            business=business[:40],
            name=grant.username,
            password=access.password_of(grant),
            until=f"{clock.nairobi(grant.expires_at):%d/%m %H:%M}",
        )
        if is_test:
            text = _("TEST, no real money.") + " " + text
    tell.by_sms(grant.tenant_id, f"access/{grant.id}/opened", msisdn=msisdn, text=text, expires_at=grant.expires_at)
