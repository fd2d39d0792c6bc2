"""Kenyan mobile numbers: one form inside (`254712345678`), grouped for people, masked in logs.

The form is checked, not the number plan: operators are given new ranges every year, and to refuse a good
number here would be worse than to let M-Pesa refuse a bad one.
"""

import re

from portal.kernel.errors import Refused, Sentence

EXPECTED = Sentence("Enter a Kenyan mobile number such as 0712 345 678 or 0110 123 456.")
_FORMS = re.compile(r"(?:\+?254|0)?((?:7|1)\d{8})", re.ASCII)
_MASKED = re.compile(r"(?:254|0)?(\d*)[*xX•]+(\d*)", re.ASCII)
_SEPARATORS = re.compile(r"[\s\-().\u00a0\u200e\u202a\u202c]+")
TEST_MSISDN = "254708374149"  # Safaricom's public sandbox phone; it pays by itself on the simulator


def normalise_msisdn(text: object) -> str:
    """`2547XXXXXXXX` or `2541XXXXXXXX` of any form a Kenyan writes. Raises Refused with the form expected."""
    msisdn = _msisdn_in(text)
    if msisdn is None:
        raise Refused(EXPECTED, code="invalid_phone", fields={"phone": EXPECTED})
    return msisdn


def _msisdn_in(text: object) -> str | None:
    raw = str(text if text is not None else "")
    form = _FORMS.fullmatch(raw) or _FORMS.fullmatch(_SEPARATORS.sub("", raw))  # most are written plainly
    return "254" + form.group(1) if form else None


def mask(text: object) -> str:
    """All but the last four digits hidden: `********5678`. Source: promise A3."""
    digits = re.sub(r"\D", "", str(text or ""))
    return "*" * max(len(digits) - 4, 4) + digits[-4:] if len(digits) > 4 else "****"


def mask_checkout(checkout_request_id: str | None) -> str | None:
    """A CheckoutRequestID without the phone that it ends in: `ws_CO_21112026154212345*****4149`."""
    return f"{checkout_request_id[:-9]}*****{checkout_request_id[-4:]}" if checkout_request_id else None


def for_people(msisdn: str) -> str:
    """`0712 345 678` of `254712345678`."""
    local = "0" + msisdn[3:]
    return f"{local[:4]} {local[4:7]} {local[7:]}"


def for_screens(msisdn: str) -> str:
    """`0712…678`: enough for its owner to know it, on a page that others may see."""
    local = "0" + msisdn[3:]
    return f"{local[:4]}…{local[-3:]}"


def as_shown(text: str) -> str:
    """A number that M-Pesa masked in its own way, as we mask ours: `07…126` of `2547 ***** 126`; others as they are."""
    masked = _MASKED.fullmatch(re.sub(r"[\s+-]", "", text))
    if not masked or not any(masked.groups()):
        return text
    return f"{'0' + masked.group(1)[:3]}…{masked.group(2)[-3:]}"


def without_phone(text: str) -> str:
    """A text that a payer typed, kept readable; if it is a phone number, only what its owner knows it by."""
    msisdn = _msisdn_in(text)
    return text if msisdn is None else for_screens(msisdn)
