"""What M-Pesa sends us, as Safaricom writes it, and what it answers at the HTTP boundary; phones and receipts."""

import itertools
from dataclasses import dataclass
from typing import Any

from portal.kernel import clock

DARAJA = "http://daraja.test"


ACCEPTED = {
    "CheckoutRequestID": "ws_CO_1",
    "MerchantRequestID": "m-1",
    "ResponseCode": "0",
    "ResponseDescription": "ok",
    "CustomerMessage": "ok",
}


_phones = itertools.count(1)


def new_phone(ending: str = "00") -> str:
    """A phone number that no other test uses; the ending chooses how the simulator's phone behaves."""
    return f"2547{next(_phones):06d}{ending}"


def receipt(number: int, letter: str = "U") -> str:
    """A receipt number that looks like M-Pesa's."""
    return f"{letter}KL{number:07d}"


@dataclass
class Pushed:
    """A push as a test needs it. amount: shillings."""

    push_id: int
    token: str
    checkout_id: str
    amount: int
    msisdn: str
    reference: str


def stk_body(
    pushed: Pushed,
    *,
    code: int | str = 0,
    receipt: str = "UKL1ABCD23",
    amount: Any = None,
    checkout_id: str | None = None,
) -> dict[str, Any]:
    """An STK callback as Safaricom writes it."""
    callback: dict[str, Any] = {
        "MerchantRequestID": f"m-{pushed.push_id}",
        "CheckoutRequestID": checkout_id or pushed.checkout_id,
        "ResultCode": code,
        "ResultDesc": "The service request is processed successfully." if code == 0 else "Said so.",
    }
    if code == 0:
        callback["CallbackMetadata"] = {
            "Item": [
                {"Name": "Amount", "Value": float(pushed.amount if amount is None else amount)},
                {"Name": "MpesaReceiptNumber", "Value": receipt},
                {"Name": "Balance"},
                {"Name": "TransactionDate", "Value": int(clock.daraja_timestamp(clock.now()))},
                {"Name": "PhoneNumber", "Value": int(pushed.msisdn)},
            ]
        }
    return {"Body": {"stkCallback": callback}}


def c2b_body(
    *, receipt: str, amount: Any, account: str, shortcode: str = "600111", msisdn: str = "2547 ***** 126"
) -> dict[str, Any]:
    """A C2B confirmation as Safaricom writes it."""
    return {
        "TransactionType": "Pay Bill", "TransID": receipt, "TransTime": clock.daraja_timestamp(clock.now()),
        "TransAmount": f"{amount:.2f}", "BusinessShortCode": shortcode, "BillRefNumber": account, "InvoiceNumber": "",
        "OrgAccountBalance": "25.00", "ThirdPartyTransID": "", "MSISDN": msisdn, "FirstName": "JOHN", "MiddleName": "", "LastName": "",
    }  # fmt: skip
