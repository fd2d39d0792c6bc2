"""The end of a prompt."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from portal.gateways.messages.fields import (
    Body,
    Malformed,
    cents_of,
    code_in,
    entries_of,
    id_in,
    instant_of,
    is_object,
    msisdn_of,
    object_in,
    read_json,
    receipt_of,
    single,
    text_of,
)


@dataclass(frozen=True)
class StkCallback:
    """The end of one prompt. The last four are None where M-Pesa left them out, as it does on failures."""

    merchant_request_id: str
    checkout_request_id: str = field(repr=False)  # ends in the payer's phone number
    result_code: str
    result_desc: str
    amount_cents: int | None = None
    receipt: str | None = None
    occurred_at: datetime | None = None
    msisdn: str | None = field(default=None, repr=False)

    @property
    def is_success(self) -> bool:
        return self.result_code == "0"


def parse_stk_callback(body: Body) -> StkCallback:
    """The callback of an STK push. Raises Malformed, also for a success whose amount is not above zero."""
    callback = object_in(object_in(read_json(body), "Body"), "stkCallback")
    code = code_in(callback, "ResultCode")
    items = _items(callback)
    amount_cents = cents_of(items["Amount"], "Amount") if items.get("Amount") is not None else None
    receipt = items.get("MpesaReceiptNumber")
    success = code == "0"
    if success and amount_cents is not None and amount_cents <= 0:
        raise Malformed("The Amount of a success is not above zero.")
    return StkCallback(
        merchant_request_id=id_in(callback, "MerchantRequestID", required=False),
        checkout_request_id=id_in(callback, "CheckoutRequestID"),
        result_code=code,
        result_desc=text_of(callback.get("ResultDesc"), limit=500),
        amount_cents=amount_cents if success else None,
        receipt=receipt_of(receipt, "MpesaReceiptNumber") if success and receipt is not None else None,
        occurred_at=instant_of(items.get("TransactionDate")),
        msisdn=msisdn_of(items.get("PhoneNumber")),
    )


def _items(callback: Mapping[str, Any]) -> dict[str, Any]:
    metadata = single(callback.get("CallbackMetadata"))
    if metadata is None or metadata == []:
        return {}
    if not is_object(metadata):
        raise Malformed("CallbackMetadata is no object.")
    items: dict[str, Any] = {}
    for entry in entries_of(metadata.get("Item"), "Item"):
        name, value = text_of(entry.get("Name")), entry.get("Value")
        if name in items and items[name] != value:
            raise Malformed(f"CallbackMetadata gives {name[:40]} twice, with different values.")
        items[name] = value
    return items
