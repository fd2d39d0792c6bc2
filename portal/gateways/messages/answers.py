"""What a ResultURL and a QueueTimeOutURL receive: pay-outs, reversals, status, balances."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from portal.gateways.messages.fields import (
    Body,
    Malformed,
    code_in,
    entries_of,
    id_in,
    instant_of,
    key_of,
    lenient_cents,
    object_in,
    read_json,
    single,
    text_of,
)


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
        return lenient_cents(self.text(name))

    def instant(self, name: str) -> datetime | None:
        """The parameter as a UTC instant; None if it is missing or no time."""
        return instant_of(self.text(name))


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


def parse_result(body: Body) -> ApiResult:
    """What a ResultURL receives. Raises Malformed, also without any conversation id to find it by."""
    result = object_in(read_json(body), "Result")
    ids = _conversation(result)
    return ApiResult(
        result_code=code_in(result, "ResultCode"),
        result_desc=text_of(result.get("ResultDesc"), limit=500),
        conversation_id=ids.conversation_id,
        originator_conversation_id=ids.originator_conversation_id,
        transaction_id=text_of(result.get("TransactionID")).upper(),
        parameters=_pairs(result.get("ResultParameters"), "ResultParameter"),
        reference=_pairs(result.get("ReferenceData"), "ReferenceItem"),
    )


def parse_timeout(body: Body) -> TimeoutNotice:
    """The ids in whatever a QueueTimeOutURL receives, at the top or in `Result`. Raises Malformed."""
    fields = read_json(body)
    inner = next((value for name, value in fields.items() if key_of(name) == "result"), None)
    merged = {**fields, **inner} if isinstance(inner := single(inner), Mapping) else fields
    return _conversation(merged)


def parse_balances(text: str) -> list[AccountBalance]:
    """The accounts in an `AccountBalance` parameter; a part that is no number becomes None."""
    accounts = []
    for line in text[:8000].split("&"):
        name, *rest = (part.strip() for part in line.split("|"))
        if name and rest:
            currency, *amounts = [*rest, "", "", "", "", ""][:5]
            accounts.append(AccountBalance(name, currency, *(lenient_cents(amount) for amount in amounts)))
    return accounts


def _pairs(holder: object, name: str) -> dict[str, str]:
    holder = single(holder)
    if holder is None or holder in ("", []):
        return {}
    entries: object = holder
    if isinstance(holder, Mapping):
        entries = holder.get(name)
    pairs: dict[str, str] = {}
    for entry in entries_of(None if entries == "" else entries, name):
        key = key_of(text_of(entry.get("Key")))
        if key:
            pairs.setdefault(key, text_of(entry.get("Value"), limit=8000))  # a sample of Safaricom's has a key twice
    return pairs


def _conversation(fields: Mapping[str, Any]) -> TimeoutNotice:
    by_key = {key_of(name): value for name, value in fields.items()}
    notice = TimeoutNotice(
        id_in(by_key, "conversationid", required=False), id_in(by_key, "originatorconversationid", required=False)
    )
    if not notice.conversation_id and not notice.originator_conversation_id:
        raise Malformed("Neither ConversationID nor OriginatorConversationID is there.")
    return notice
