"""What goes in and what comes back, as plain values."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class DarajaAccount:
    """A gateway as plain values. Its text shows no secret.

    environment: sandbox or production. sub_type: PAYBILL, BUYGOODS or BANK.
    BUYGOODS: `shortcode` is the till, `store_number` the head office's number that owns the passkey.
    BANK: `shortcode` is the bank's PayBill, `store_number` owns the passkey, `account_number` gets the money.
    security_credential: base64, ready to send, or None. b2c_shortcode: empty for the shortcode itself.
    """

    gateway_id: int
    environment: str
    base_url: str
    consumer_key: str = field(repr=False)
    consumer_secret: str = field(repr=False)
    shortcode: str
    store_number: str = ""
    account_number: str = field(default="", repr=False)
    sub_type: str = "PAYBILL"
    passkey: str = field(default="", repr=False)
    initiator_name: str = ""
    security_credential: str | None = field(default=None, repr=False)
    b2c_shortcode: str = ""

    @property
    def business_shortcode(self) -> str:
        """The number that owns the passkey and that Daraja knows as the organisation."""
        return self.shortcode if self.sub_type == "PAYBILL" else self.store_number or self.shortcode

    @property
    def payout_shortcode(self) -> str:
        """The number that pays out, and that M-Pesa knows its pay-outs by."""
        return self.b2c_shortcode or self.business_shortcode


@dataclass(frozen=True)
class StkPrompt:
    """One prompt to one phone. reference: up to 12, description: up to 13 characters are sent."""

    msisdn: str = field(repr=False)
    amount_shillings: int
    reference: str
    description: str
    callback_url: str = field(repr=False)


@dataclass(frozen=True)
class StkAccepted:
    """The prompt is on its way; nothing is paid yet."""

    checkout_request_id: str = field(repr=False)  # ends in the payer's phone number
    merchant_request_id: str
    customer_message: str


@dataclass(frozen=True)
class StkAnswer:
    """What a query says about a prompt. It never states the amount or the receipt."""

    state: Literal["paid", "pending", "failed"]
    result_code: str
    result_desc: str


@dataclass(frozen=True)
class RequestAccepted:
    """A request is queued; its result comes to the result URL. Find it by conversation_id first."""

    conversation_id: str
    originator_conversation_id: str
    description: str


@dataclass(frozen=True)
class ConnectionOk:
    """The keys work. `expires_in_s`: how long Daraja says the new token lasts."""

    environment: str
    expires_in_s: int
