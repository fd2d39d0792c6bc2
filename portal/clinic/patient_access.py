"""A patient's own way in: a code, or a link, to the phone or e-mail address that the clinic knows. No password needed.

Decided: who shows a phone sees what that phone has booked, the whole family's, as whoever reads its messages does
anyway; and those whom these are guardians of. Another phone's patients are never shown for a name alone.
Decided: whether an address is known is told to nobody: only a known one is sent a code, and who asks reads the same in
the same time. The same rows are written either way; what is to reach nobody is written as one that is over already.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, select

from portal.clinic import people
from portal.clinic.models import Patient, PatientSignIn
from portal.kernel import clock, personal, vault
from portal.kernel.db import db, new_token
from portal.kernel.errors import Refused
from portal.kernel.errors import Sentence as _
from portal.kernel.phone import normalise_msisdn
from portal.notifications import phone_codes, tell
from portal.tenants.models import Tenant

PURPOSE = "patient sign-in"
STAYS_IN = timedelta(days=14)


@dataclass(frozen=True)
class Address:
    """Where a code goes. channel: phone or email; value: the number or the address; hash: what it is found by."""

    channel: str
    value: str
    hash: str


def read_address(tenant_id: int, typed: object) -> Address:
    """A phone number or an e-mail address. Raises Refused."""
    text = str(typed or "").strip()
    if "@" in text and len(text) <= 254:
        return Address("email", text, personal.email_hash(text, tenant_id))
    try:
        msisdn = normalise_msisdn(text)
    except Refused:
        raise Refused(_("Enter a phone number such as 0712 345 678, or an e-mail address.")) from None
    return Address("phone", msisdn, personal.phone_hash(msisdn, tenant_id))


def _of_address(tenant_id: int, channel: str, address_hash: str) -> list[Patient]:
    found = people.of_phone if channel == "phone" else people.of_email
    return found(tenant_id, address_hash)


def send_code(tenant: Tenant, address: Address, *, link: str, locale: str) -> None:
    """Send a code to an address that a patient here has; nothing to another one, nor to one that had too many. The
    caller commits, rings OUTBOX.

    link: the page on which it is typed; an e-mail leads there, a text message would grow threefold by it.
    """
    is_known = bool(_of_address(tenant.id, address.channel, address.hash))
    code = phone_codes.issue_to(tenant.id, PURPOSE, address.hash)
    text = _(
        "%(code)s opens your page at %(clinic)s for 10 minutes. Nobody from the clinic will ask you for it.",
        code=code or "000000", clinic=tenant.name,
    )  # fmt: skip
    now, key = clock.now(), f"sign_in/{new_token()}"
    until = now + phone_codes.VALID_FOR if is_known and code is not None else now - timedelta(seconds=1)
    if address.channel == "phone":
        tell.by_sms(tenant.id, key, msisdn=address.value, text=text, locale=locale, expires_at=until)
    else:
        subject = _("Your code for %(clinic)s", clinic=tenant.name)
        text = _("%(text)s Or open this page: %(url)s", text=text, url=f"{link}?code={code}")
        tell.by_email(
            tenant.id, key, address=address.value, subject=subject, text=text, locale=locale, expires_at=until
        )


def enter(tenant: Tenant, address: Address, code: str) -> str | None:
    """A session for who has the code: its token for the cookie; None for a wrong one. The caller commits either way."""
    if not phone_codes.redeem_of(tenant.id, PURPOSE, address.hash, code):
        return None
    now, token = clock.now(), new_token()
    mine = (PatientSignIn.tenant_id == tenant.id, PatientSignIn.address_hash == address.hash)
    db.session.execute(delete(PatientSignIn).where(*mine, PatientSignIn.expires_at <= now))
    db.session.add(
        PatientSignIn(
            tenant_id=tenant.id,
            digest=vault.digest(token),
            channel=address.channel,
            address_hash=address.hash,
            expires_at=now + STAYS_IN,
        )
    )
    db.session.flush()
    return token


def of_session(token: str) -> PatientSignIn | None:
    """The session of this token, or None where it has ended."""
    mine = select(PatientSignIn).where(PatientSignIn.digest == vault.digest(token))
    return db.session.scalars(mine.where(PatientSignIn.expires_at > clock.now())).one_or_none()


def leave(token: str) -> None:
    """End this session. The caller commits."""
    db.session.execute(delete(PatientSignIn).where(PatientSignIn.digest == vault.digest(token)))


def seen_by(sign_in: PatientSignIn) -> list[Patient]:
    """Whom this session may see: who has the phone or address, and whom they are guardians of."""
    own = _of_address(sign_in.tenant_id, sign_in.channel, sign_in.address_hash)
    return with_wards(own)


def of_user(user_id: int) -> list[Patient]:
    """Whom a person with a password may see: themselves, in each clinic, and whom they are guardians of."""
    own = select(Patient).where(Patient.user_id == user_id, Patient.erased_at.is_(None)).order_by(Patient.id)
    return with_wards(list(db.session.scalars(own)))


def with_wards(own: list[Patient]) -> list[Patient]:
    """These, and whom they are guardians of; each once."""
    return list({one.id: one for one in [*own, *people.wards_of(own)]}.values())
