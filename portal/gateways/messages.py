"""What M-Pesa sends us, read into values: STK callbacks, C2B, results, timeouts, pulled rows.

Nothing here trusts its input: whatever the body, the answer is a dataclass or `Malformed`, whose text names
what was wrong. Money is integer cents, times are aware UTC, text is safe to store. That a message can be read
does not make it true: M-Pesa signs nothing, so who sent it, and whether we asked, is decided by the caller.
Source: Safaricom's Daraja documentation and callbacks captured between 2017 and 2024.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

from portal import clock, money
from portal.errors import Refused

MAX_BODY_BYTES = 64 * 1024
MAX_DEPTH = 12
Body = bytes | str | Mapping[str, Any]


class Malformed(ValueError):
    """The message is not what M-Pesa sends. `reason`: which part, and what was wrong with it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


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


@dataclass(frozen=True)
class PayerId:
    """Who paid, as far as M-Pesa says: the whole number, a masked one, a hash, or nothing useful."""

    kind: Literal["full", "masked", "hashed", "missing"]
    text: str = field(repr=False)


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


@dataclass(frozen=True)
class ApiResult:
    """The end of a B2C payment, reversal, status or balance request.

    parameters, reference: M-Pesa's names as `key_of` writes them -> text, empty where M-Pesa gave no value.
    """

    result_code: str
    result_desc: str
    conversation_id: str
    originator_conversation_id: str
    transaction_id: str
    parameters: dict[str, str] = field(repr=False)
    reference: dict[str, str] = field(repr=False)

    @property
    def is_success(self) -> bool:
        return self.result_code == "0"

    def text(self, name: str) -> str:
        """The parameter in any of M-Pesa's spellings of its name, or an empty text."""
        return self.parameters.get(key_of(name), "")

    def cents(self, name: str) -> int | None:
        """The parameter as cents; None if it is missing or no amount."""
        return _lenient_cents(self.text(name))

    def instant(self, name: str) -> datetime | None:
        """The parameter as a UTC instant; None if it is missing or no time."""
        return _instant(self.text(name))


@dataclass(frozen=True)
class TimeoutNotice:
    """M-Pesa gave up waiting for its own result: the outcome is unknown, which is not a failure."""

    conversation_id: str
    originator_conversation_id: str


@dataclass(frozen=True)
class AccountBalance:
    """One line of an account balance."""

    account: str
    currency: str
    current_cents: int | None
    available_cents: int | None
    reserved_cents: int | None
    uncleared_cents: int | None


@dataclass(frozen=True)
class PulledTransaction:
    """One row of Pull Transactions."""

    receipt: str
    amount_cents: int
    occurred_at: datetime | None
    payer: PayerId
    transaction_type: str
    account: str
    sender: str = field(default="", repr=False)
    organisation: str = ""


def read_json(body: Body) -> dict[str, Any]:
    """The JSON object in `body`, numbers with a point as Decimal. Raises Malformed.

    Refused: more than 64 KB, more than 12 levels, NaN, a name twice in one object, anything but an object.
    """
    if isinstance(body, bytes | str):
        if len(body) > MAX_BODY_BYTES or (
            isinstance(body, str) and len(body.encode("utf-8", "replace")) > MAX_BODY_BYTES
        ):
            raise Malformed(f"The body is over {MAX_BODY_BYTES} bytes.")
        try:
            body = json.loads(
                body, parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_refuse_twins
            )
        except Malformed:
            raise
        except (ValueError, RecursionError, ArithmeticError) as error:
            raise Malformed("The body is not JSON.") from error
    if not isinstance(body, Mapping):
        raise Malformed("The body is not a JSON object.")
    _check_values(body)
    return dict(body)


def parse_stk_callback(body: Body) -> StkCallback:
    """The callback of an STK push. Raises Malformed, also for a success whose amount is not above zero."""
    callback = _object(_object(read_json(body), "Body"), "stkCallback")
    code = _code(callback, "ResultCode")
    items = _items(callback)
    amount_cents = _cents(items["Amount"], "Amount") if items.get("Amount") is not None else None
    receipt = items.get("MpesaReceiptNumber")
    success = code == "0"
    if success and amount_cents is not None and amount_cents <= 0:
        raise Malformed("The Amount of a success is not above zero.")
    return StkCallback(
        merchant_request_id=_id(callback, "MerchantRequestID", required=False),
        checkout_request_id=_id(callback, "CheckoutRequestID"),
        result_code=code,
        result_desc=_text(callback.get("ResultDesc"), limit=500),
        amount_cents=amount_cents if success else None,
        receipt=_receipt(receipt, "MpesaReceiptNumber") if success and receipt is not None else None,
        occurred_at=_instant(items.get("TransactionDate")),
        msisdn=_msisdn(items.get("PhoneNumber")),
    )


def parse_c2b(body: Body) -> C2bPayment:
    """A C2B validation request or confirmation: they share one shape. Raises Malformed."""
    fields = read_json(body)
    amount_cents = _cents(fields.get("TransAmount"), "TransAmount")
    if amount_cents <= 0:
        raise Malformed("TransAmount is not above zero.")
    shortcode = _text(fields.get("BusinessShortCode"))
    if not re.fullmatch(r"[0-9]{4,12}", shortcode):
        raise Malformed("BusinessShortCode is not a number of 4 to 12 digits.")
    balance = _text(fields.get("OrgAccountBalance"))
    return C2bPayment(
        transaction_type=_text(fields.get("TransactionType")),
        receipt=_receipt(fields.get("TransID"), "TransID"),
        amount_cents=amount_cents,
        occurred_at=_instant(fields.get("TransTime")),
        shortcode=shortcode,
        account=_text(fields.get("BillRefNumber"), strip=False),
        payer=payer_id(fields.get("MSISDN")),
        first_name=_text(fields.get("FirstName")),
        middle_name=_text(fields.get("MiddleName")),
        last_name=_text(fields.get("LastName")),
        org_balance_cents=_lenient_cents(balance),
        third_party_id=_text(fields.get("ThirdPartyTransID")),
        invoice_number=_text(fields.get("InvoiceNumber")),
    )


def parse_result(body: Body) -> ApiResult:
    """What a ResultURL receives. Raises Malformed, also without any conversation id to find it by."""
    result = _object(read_json(body), "Result")
    ids = _conversation(result)
    return ApiResult(
        result_code=_code(result, "ResultCode"),
        result_desc=_text(result.get("ResultDesc"), limit=500),
        conversation_id=ids.conversation_id,
        originator_conversation_id=ids.originator_conversation_id,
        transaction_id=_text(result.get("TransactionID")).upper(),
        parameters=_pairs(result.get("ResultParameters"), "ResultParameter"),
        reference=_pairs(result.get("ReferenceData"), "ReferenceItem"),
    )


def parse_timeout(body: Body) -> TimeoutNotice:
    """The ids in whatever a QueueTimeOutURL receives, at the top or in `Result`. Raises Malformed."""
    fields = read_json(body)
    inner = next((value for name, value in fields.items() if key_of(name) == "result"), None)
    merged = {**fields, **inner} if isinstance(inner := _single(inner), Mapping) else fields
    return _conversation(merged)


def parse_balances(text: str) -> list[AccountBalance]:
    """The accounts in an `AccountBalance` parameter; a part that is no number becomes None."""
    accounts = []
    for line in text[:8000].split("&"):
        name, *rest = (part.strip() for part in line.split("|"))
        if name and rest:
            currency, *amounts = [*rest, "", "", "", "", ""][:5]
            accounts.append(AccountBalance(name, currency, *(_lenient_cents(amount) for amount in amounts)))
    return accounts


def parse_pulled(rows: object) -> tuple[list[PulledTransaction], int]:
    """The rows of a Pull answer, and how many were unreadable. `rows`: arrays of arrays, or that as text."""
    if isinstance(rows, str):
        try:
            rows = json.loads(rows, parse_float=Decimal)
        except (ValueError, RecursionError):
            return [], 1
    read, unreadable = [], 0
    for row in _flatten(rows):
        try:
            read.append(_pulled(row))
        except Malformed:
            unreadable += 1
    return read, unreadable


def payer_id(value: object) -> PayerId:
    """What M-Pesa says about the payer, classified. It is text: never a key to look people up by."""
    text = _text(value, limit=128)
    bare = re.sub(r"[\s+-]", "", text)
    if local := re.fullmatch(r"(?:254|0)?([17][0-9]{8})", bare):
        return PayerId("full", "254" + local.group(1))
    if re.fullmatch(r"[0-9a-fA-F]{40,64}", bare):
        return PayerId("hashed", bare.lower())
    if re.fullmatch(r"[0-9*xX•]{4,20}", bare) and re.search(r"[*xX•]", bare) and re.search(r"[0-9]", bare):
        return PayerId("masked", text)
    return PayerId("missing", text)


def payer_matches(payer: PayerId, msisdn: str) -> bool | None:
    """Whether the payer can be `msisdn` (2547XXXXXXXX); None if M-Pesa says too little to tell.

    For a masked number True means only that the digits shown fit: many phones do.
    """
    if payer.kind == "full":
        return payer.text == msisdn
    if payer.kind == "hashed":
        algorithm = {64: "sha256", 40: "sha1"}.get(len(payer.text))
        if algorithm is None:
            return None
        return hmac.compare_digest(hashlib.new(algorithm, msisdn.encode()).hexdigest(), payer.text)
    if payer.kind == "masked":
        return _fits_mask(re.sub(r"[^0-9*]", "", re.sub(r"[xX•]", "*", payer.text)), msisdn)
    return None


def normalise_account(text: object) -> str:
    """The account as it is compared: upper case, without spaces and `- _ # . / :`."""
    return re.sub(r"[\s\-_#./:]+", "", _text(text)).upper()


def looks_like_receipt(text: object) -> bool:
    """Whether it has the form of today's receipt numbers: 10 characters, the first a letter."""
    receipt = _text(text).upper()
    return bool(re.fullmatch(r"[A-Z][A-Z0-9]{9}", receipt)) and not receipt.endswith("0000000")  # failures' filler


def receipt_date(receipt: object) -> date | None:
    """The day (Nairobi) that the first three characters spell, or None. Only ever a reason to warn.

    Not documented by Safaricom; it held for 72 of 75 receipts whose day was known (2017 to 2026).
    """
    code = _text(receipt).upper()
    form = re.fullmatch(r"([A-Z])([A-L])([1-9A-V])[A-Z0-9]{7}", code)
    if not form:
        return None
    year, month, day = 2006 + ord(code[0]) - 65, ord(code[1]) - 64, int(code[2], 32)
    try:
        return date(year, month, day)
    except ValueError:
        return None


def key_of(name: object) -> str:
    """M-Pesa's name for a field without its changes of spelling: `Finalized Time` is `finalisedtime`."""
    bare = re.sub(r"[^a-z0-9]", "", str(name).lower())
    return bare.replace("finalized", "finalised").replace("coversation", "conversation")


def _refuse_constant(name: str) -> None:
    raise Malformed(f"{name} is not a number.")


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("A name stands twice in one object.")
    return found


def _check_values(value: object) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        if any(isinstance(child, float | Decimal) and not Decimal(child).is_finite() for child in level):
            raise Malformed("A number is infinite or none at all.")
        level = [
            child
            for parent in level
            if isinstance(parent, Mapping | list)
            for child in (parent.values() if isinstance(parent, Mapping) else parent)
        ]
        if not level:
            return
    raise Malformed(f"The body is nested over {MAX_DEPTH} levels.")


def _single(value: object) -> object:
    """M-Pesa writes one thing as an object or as an array of one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _object(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = _single(parent.get(name))
    if not isinstance(found, Mapping):
        raise Malformed(f"{name} is missing or no object.")
    return found


def _entries(value: object, name: str) -> Iterator[Mapping[str, Any]]:
    """The objects of a list that may also be a single object, or missing."""
    for entry in value if isinstance(value, list) else ([] if value is None else [value]):
        if not isinstance(entry, Mapping):
            raise Malformed(f"{name} holds something that is no object.")
        yield entry


def _items(callback: Mapping[str, Any]) -> dict[str, Any]:
    metadata = _single(callback.get("CallbackMetadata"))
    if metadata is None or metadata == []:
        return {}
    if not isinstance(metadata, Mapping):
        raise Malformed("CallbackMetadata is no object.")
    items: dict[str, Any] = {}
    for entry in _entries(metadata.get("Item"), "Item"):
        name, value = _text(entry.get("Name")), entry.get("Value")
        if name in items and items[name] != value:
            raise Malformed(f"CallbackMetadata gives {name[:40]} twice, with different values.")
        items[name] = value
    return items


def _pairs(holder: object, name: str) -> dict[str, str]:
    holder = _single(holder)
    if holder is None or holder in ("", []):
        return {}
    entries: object = holder
    if isinstance(holder, Mapping):
        entries = holder.get(name)
    pairs: dict[str, str] = {}
    for entry in _entries(None if entries == "" else entries, name):
        key = key_of(_text(entry.get("Key")))
        if key:
            pairs.setdefault(key, _text(entry.get("Value"), limit=8000))  # a sample of Safaricom's has a key twice
    return pairs


def _conversation(fields: Mapping[str, Any]) -> TimeoutNotice:
    by_key = {key_of(name): value for name, value in fields.items()}
    notice = TimeoutNotice(
        _id(by_key, "conversationid", required=False), _id(by_key, "originatorconversationid", required=False)
    )
    if not notice.conversation_id and not notice.originator_conversation_id:
        raise Malformed("Neither ConversationID nor OriginatorConversationID is there.")
    return notice


def _text(value: object, *, limit: int = 160, strip: bool = True) -> str:
    """Text that any database takes: no control characters, no half characters. Numbers become text."""
    if value is None or isinstance(value, bool | Mapping | list):
        return ""
    if isinstance(value, Decimal):
        value = f"{value:f}" if value.is_finite() and -30 < value.adjusted() < 30 else ""
    text = str(value) if not isinstance(value, int) or abs(value) < 10**40 else ""
    text = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * limit])
    return (text.strip() if strip else text)[:limit]


def _id(fields: Mapping[str, Any], name: str, *, required: bool = True) -> str:
    value = fields.get(name)
    if value is None and not required:
        return ""
    text = (
        value.strip() if isinstance(value, str) else str(value) if type(value) is int and 0 <= value < 10**40 else None
    )
    if text is None or (required and not text) or not re.fullmatch(r"[\x21-\x7e]{0,128}", text):
        raise Malformed(f"{name} is missing, too long or no plain text.")
    return text


def _code(fields: Mapping[str, Any], name: str) -> str:
    text = re.sub(r"\.0+$", "", _text(fields.get(name), limit=41))
    if not re.fullmatch(r"-?[A-Za-z0-9_.]{1,40}", text):
        raise Malformed(f"{name} is missing or no code.")
    return "0" if not text.strip("0") else text


def _cents(value: object, name: str) -> int:
    try:
        return money.cents(_text(value))
    except (Refused, ArithmeticError) as error:
        raise Malformed(f"{name} is no amount of money.") from error


def _lenient_cents(text: str) -> int | None:
    try:
        return money.cents(text)
    except (Refused, ArithmeticError):
        return None


def _receipt(value: object, name: str) -> str:
    receipt = _text(value).upper()
    if not re.fullmatch(r"[A-Z0-9]{8,12}", receipt):
        raise Malformed(f"{name} is not a receipt number.")
    return receipt


def _msisdn(value: object) -> str | None:
    text = _text(value)
    digits = re.sub(r"[\s+]", "", text)
    return digits if re.fullmatch(r"[0-9]{12}", digits) else None


def _instant(value: object) -> datetime | None:
    text = _text(value)
    if re.fullmatch(r"20[0-9]{12}|[0-9]{2}\.[0-9]{2}\.20[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}", text):
        return clock.parse_daraja_timestamp(text)
    return None


def _pulled(row: object) -> PulledTransaction:
    if not isinstance(row, Mapping):
        raise Malformed("A pulled row is no object.")
    fields = {key_of(name): value for name, value in row.items()}
    amount_cents = _cents(fields.get("amount"), "amount")
    if amount_cents <= 0:
        raise Malformed("A pulled row's amount is not above zero.")
    return PulledTransaction(
        receipt=_receipt(fields.get("transactionid"), "transactionId"),
        amount_cents=amount_cents,
        occurred_at=_pulled_at(fields.get("trxdate")),
        payer=payer_id(fields.get("msisdn")),
        transaction_type=_text(fields.get("transactiontype")),
        account=_text(fields.get("billreference")),
        sender=_text(fields.get("sender")),
        organisation=_text(fields.get("organizationname")),
    )


def _pulled_at(value: object) -> datetime | None:
    """Safaricom's samples end in Z, and nobody says whether that is meant. Without a zone it is Nairobi's."""
    text = _text(value)
    if not text.startswith("20"):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return _instant(text)
    return (at if at.tzinfo else at.replace(tzinfo=clock.NAIROBI)).astimezone(UTC)


def _flatten(value: object, depth: int = 0) -> Iterator[object]:
    if isinstance(value, list) and depth < MAX_DEPTH:
        for entry in value:
            yield from _flatten(entry, depth + 1)
    elif value not in (None, ""):
        yield value


def _fits_mask(masked: str, msisdn: str) -> bool | None:
    if masked.startswith("0"):
        masked = "254" + masked[1:]
    elif re.match(r"[17](?![0-9]{9})", masked):
        masked = "254" + masked
    if not re.search(r"[0-9]", masked.removeprefix("254")):
        return None
    pattern = masked.replace("*", "[0-9]") if len(masked) == 12 else re.sub(r"\*+", "[0-9]+", masked)
    return re.fullmatch(pattern, msisdn) is not None
