"""What a hotspot tells the one who paid: the way back in, in their language, in one message of 160 letters."""

from portal.hotspot import access
from portal.hotspot.models import AccessGrant
from portal.kernel import clock
from portal.kernel.errors import Sentence as _
from portal.kernel.translations import render
from portal.notifications import tell


def opened(grant: AccessGrant, *, business: str, msisdn: str, is_test: bool) -> None:
    """User name, password and end, to the phone that paid; told once. The caller commits, then rings OUTBOX."""
    purchase = grant.purchase
    sentences = [_("TEST, no real money.")] if is_test else []
    sentences.append(
        _(
            "%(business)s Wi-Fi. Name: %(name)s Password: %(password)s Valid until %(until)s.",
            business=business[:40],
            name=grant.username,
            password=access.password_of(grant),
            until=f"{clock.nairobi(grant.expires_at):%d/%m %H:%M}",
        )
    )
    text = " ".join(render(sentence, purchase.locale) for sentence in sentences)
    tell.by_sms(
        grant.tenant_id,
        f"access/{grant.id}/opened",
        msisdn=msisdn,
        text=text,
        locale=purchase.locale,
        expires_at=grant.expires_at,
    )
