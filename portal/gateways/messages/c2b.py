"""Money paid by hand."""

import re
from dataclasses import dataclass, field
from datetime import datetime

from portal.gateways.messages.fields import (
    Body,
    Malformed,
    cents_of,
    instant_of,
    lenient_cents,
    read_json,
    receipt_of,
    text_of,
)
from portal.gateways.messages.payer import PayerId, payer_id


@dataclass(frozen=True)
class C2bPayment:
    """Money paid by hand, or the question whether to take it. `account`: as the payer typed it."""

    transaction_type: str
    receipt: str
    amount_cents: int
    occurred_at: datetime | None
    shortcode: str
    account: str
    payer: PayerId
    first_name: str = field(default="", repr=False)
    middle_name: str = field(default="", repr=False)
    last_name: str = field(default="", repr=False)
    org_balance_cents: int | None = field(default=None, repr=False)
    third_party_id: str = ""
    invoice_number: str = ""


def parse_c2b(body: Body) -> C2bPayment:
    """A C2B validation request or confirmation: they share one shape. Raises Malformed."""
    fields = read_json(body)
    amount_cents = cents_of(fields.get("TransAmount"), "TransAmount")
    if amount_cents <= 0:
        raise Malformed("TransAmount is not above zero.")
    shortcode = text_of(fields.get("BusinessShortCode"))
    if not re.fullmatch(r"[0-9]{4,12}", shortcode):
        raise Malformed("BusinessShortCode is not a number of 4 to 12 digits.")
    balance = text_of(fields.get("OrgAccountBalance"))
    return C2bPayment(
        transaction_type=text_of(fields.get("TransactionType")),
        receipt=receipt_of(fields.get("TransID"), "TransID"),
        amount_cents=amount_cents,
        occurred_at=instant_of(fields.get("TransTime")),
        shortcode=shortcode,
        account=text_of(fields.get("BillRefNumber"), strip=False),
        payer=payer_id(fields.get("MSISDN")),
        first_name=text_of(fields.get("FirstName")),
        middle_name=text_of(fields.get("MiddleName")),
        last_name=text_of(fields.get("LastName")),
        org_balance_cents=lenient_cents(balance),
        third_party_id=text_of(fields.get("ThirdPartyTransID")),
        invoice_number=text_of(fields.get("InvoiceNumber")),
    )
