"""The bodies that M-Pesa posts, in the shapes captured from real callbacks."""

import hashlib
import sqlite3
from typing import Any

from portal.kernel import clock
from portal.kernel.money import kes
from portal.simulator.engine.store import instant


def stk(
    *,
    merchant_request_id: str,
    checkout_request_id: str,
    code: str,
    description: str,
    amount_cents: int = 0,
    receipt: str = "",
    paid_at: float = 0.0,
    msisdn: str = "",
    as_text: bool = False,
) -> dict[str, Any]:
    """An STK callback: five items on success, Balance without a Value; no CallbackMetadata on failure."""
    callback: dict[str, Any] = {
        "MerchantRequestID": merchant_request_id,
        "CheckoutRequestID": checkout_request_id,
        "ResultCode": code if as_text else number_or_text(code),
        "ResultDesc": description,
    }
    if code == "0":
        callback["CallbackMetadata"] = {
            "Item": [
                {"Name": "Amount", "Value": amount_cents / 100},
                {"Name": "MpesaReceiptNumber", "Value": receipt},
                {"Name": "Balance"},
                {"Name": "TransactionDate", "Value": int(clock.daraja_timestamp(instant(paid_at)))},
                {"Name": "PhoneNumber", "Value": int(msisdn)},
            ]
        }
    return {"Body": {"stkCallback": callback}}


def c2b(
    *,
    is_till: bool,
    shortcode: str,
    receipt: str,
    at: float,
    amount_cents: int,
    account: str,
    msisdn: str,
    name: str,
    version: int,
    balance_cents: int | None = None,
    third_party_id: str = "",
) -> dict[str, Any]:
    """A validation request (no balance) or a confirmation. Version 1 hashes the phone, version 2 masks it."""
    names = name.split(" ")
    return {
        "TransactionType": "Customer Merchant Payment" if is_till else "Pay Bill",
        "TransID": receipt,
        "TransTime": clock.daraja_timestamp(instant(at)),
        "TransAmount": two_decimals(amount_cents),
        "BusinessShortCode": shortcode,
        "BillRefNumber": "" if is_till else account,
        "InvoiceNumber": "",
        "OrgAccountBalance": "" if balance_cents is None else two_decimals(balance_cents),
        "ThirdPartyTransID": third_party_id,
        "MSISDN": f"{msisdn[:4]} ***** {msisdn[-3:]}" if version == 2 else hashlib.sha256(msisdn.encode()).hexdigest(),
        "FirstName": names[0],
        "MiddleName": "",
        "LastName": "" if version == 2 else names[-1],
    }


def result(
    *,
    code: str,
    description: str,
    conversation_id: str,
    originator_id: str,
    transaction_id: str,
    parameters: list[tuple[str, Any]] | None = None,
    reference: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The answer to B2C, reversal, status and balance; a failure has no ResultParameters."""
    body: dict[str, Any] = {
        "ResultType": 0,
        "ResultCode": number_or_text(code),
        "ResultDesc": description,
        "OriginatorConversationID": originator_id,
        "ConversationID": conversation_id,
        "TransactionID": transaction_id,
    }
    if parameters:
        items = [{"Key": key} if value is None else {"Key": key, "Value": value} for key, value in parameters]
        body["ResultParameters"] = {"ResultParameter": items}
    body["ReferenceData"] = {"ReferenceItem": reference or {"Key": "Occasion"}}
    return {"Result": body}


def party(msisdn: str, name: str) -> str:
    """`254712345678 - JOHN DOE`."""
    return f"{msisdn} - {name}"


def organisation_party(organisation: sqlite3.Row) -> str:
    """`600000 - ORG NAME`."""
    return f"{organisation['store_number'] or organisation['shortcode']} - {organisation['name']}"


def two_decimals(amount_cents: int) -> str:
    """`5.00`."""
    sign = "-" if amount_cents < 0 else ""
    return f"{sign}{abs(amount_cents) // 100}.{abs(amount_cents) % 100:02d}"


def plain_number(amount_cents: int) -> int | float:
    """A JSON number, whole where it can be."""
    return kes(amount_cents)


def number_or_text(code: str) -> int | str:
    """Result codes are numbers unless they are not: `1032`, `"SFC_IC0003"`."""
    return int(code) if code.isdigit() else code
