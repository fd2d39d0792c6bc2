"""A typed client of Daraja, Safaricom's M-Pesa API. One instance serves one gateway.

Errors are named for what the caller must do next:

    DarajaError
    ├── NotSent                   M-Pesa did nothing, certainly: it may be sent again later
    │   ├── Unreachable           no connection or no sign-on server: try again
    │   ├── SignOnFailed          keys or app refused: an administrator must act
    │   ├── Rejected              M-Pesa named a mistake in the request (`field`)
    │   ├── ConfigurationRefused  passkey, shortcode, initiator or product is wrong: an administrator must act
    │   ├── Throttled             too fast: wait `retry_after_s`
    │   └── SubscriberBusy        another session is open on the phone: wait `retry_after_s`
    └── OutcomeUnknown            it may have happened: ask, never send again
        └── DuplicateConversation the first request with this id exists: look that one up

Decided that what is not known to be refused is unknown: a 5xx, a page of HTML or a lost answer may hide a
prompt that rang, so only a closed list of answers counts as not sent.
Decided that a prompt, a pay-out and a reversal are never repeated here, except once after a refused token,
which M-Pesa checks before it acts. Sign-on, queries and registrations are repeated up to three times.
Source: Safaricom's Daraja documentation, and answers captured by integrators where the two differ.
"""

import base64
import binascii
import json
import os
import random
import re
import ssl
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Literal, TypeVar

import requests
import structlog
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth

from portal import clock
from portal.errors import PortalError
from portal.gateways.messages import PulledTransaction, parse_pulled
from portal.gateways.results import explain
from portal.gateways.tokens import FreshToken, TokenKey, TokenStore

CONNECT_S = 5.0
READ_S = 20.0
PUSH_READ_S = 30.0
REPEATS = 3
POOL = 32
FIRST_PAUSE_S = 0.5
THROTTLE_PAUSE_S = 30
BUSY_PHONE_S = 60
MAX_ANSWER_BYTES = 4 * 1024 * 1024
KEPT_TEXT = 2048
REFERENCE_LENGTH, DESCRIPTION_LENGTH, BANK_ACCOUNT_LENGTH, REMARKS_LENGTH = 12, 13, 20, 100
DEFAULT_TOKEN_S = 3599
TOKEN_CODES = frozenset({"404.001.03", "400.003.01", "401.002.01", "401.003.01"})
THROTTLE_CODES = frozenset({"500.003.02", "500.003.03"})
THROTTLE_WORDS = ("spike arrest", "quota violation", "system is busy")
UNSURE_4XX = frozenset({408, 409, 425, 499})  # a proxy may say these after it passed the request on
_Answer = dict[str, Any]
_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class DarajaError(PortalError):
    """Base.

    message: for an administrator, with the remedy. text: what M-Pesa said, without secrets and phone numbers.
    code: M-Pesa's errorCode or ResponseCode, empty if it gave none; http_status: None if there was no answer.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str = "",
        http_status: int | None = None,
        code: str = "",
        text: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.http_status = http_status
        self.code = code
        self.text = text
        self.request_id = request_id


class NotSent(DarajaError):
    """M-Pesa did nothing, certainly. It may be sent again once the cause is gone."""


class Unreachable(NotSent):
    """No connection, or no sign-on. Nothing was sent: try again later."""


class SignOnFailed(NotSent):
    """The consumer key and secret, or the app, were refused. An administrator must act."""


class ConfigurationRefused(NotSent):
    """A value in the gateway's settings is wrong or missing. An administrator must act."""


class Rejected(NotSent):
    """M-Pesa named a mistake in the request. `field`: M-Pesa's name for it, empty if it gave none."""

    def __init__(self, message: str, *, field: str = "", **known: Any) -> None:
        super().__init__(message, **known)
        self.field = field


class Throttled(NotSent):
    """Too many requests. `retry_after_s`: seconds to wait."""

    def __init__(self, message: str, *, retry_after_s: int = THROTTLE_PAUSE_S, **known: Any) -> None:
        super().__init__(message, **known)
        self.retry_after_s = retry_after_s


class SubscriberBusy(NotSent):
    """The phone has another M-Pesa session open. `retry_after_s`: seconds to wait."""

    retry_after_s = BUSY_PHONE_S


class OutcomeUnknown(DarajaError):
    """It may have happened. Ask M-Pesa; never send it again."""


class DuplicateConversation(OutcomeUnknown):
    """A request with this OriginatorConversationID exists. Look that one up; never pay again."""


class _TokenRefused(NotSent):
    """The token, not the request: renewed and sent once more before anyone hears of it."""


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


class _Bearer(AuthBase):
    """As `auth` and not a header, so that no .netrc of the machine can replace it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class DarajaClient:
    """Daraja for one gateway. session: the process's shared one if left out; sleep: between repeats."""

    def __init__(
        self,
        account: DarajaAccount,
        tokens: TokenStore,
        *,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._account = account
        self._tokens = tokens
        self._session = session or shared_session()
        self._sleep = sleep
        self._base_url = account.base_url.rstrip("/")
        self._token_key = TokenKey(
            account.gateway_id,
            account.environment,
            self._base_url,
            account.consumer_key,
            account.consumer_secret,
        )

    # ---- asking for money

    def stk_push(self, prompt: StkPrompt) -> StkAccepted:
        """Prompt one phone. Not idempotent: calling twice prompts twice. Raises NotSent, OutcomeUnknown."""
        path = "/mpesa/stkpush/v1/processrequest"
        account = self._account
        amount = _whole(prompt.amount_shillings, path)
        if account.sub_type == "BANK":
            reference = clean(account.account_number, BANK_ACCOUNT_LENGTH)
        else:
            reference = clean(prompt.reference, REFERENCE_LENGTH)
        payload = {
            **self._signature(path),
            "TransactionType": "CustomerBuyGoodsOnline" if account.sub_type == "BUYGOODS" else "CustomerPayBillOnline",
            "Amount": amount,
            "PartyA": prompt.msisdn,
            "PartyB": account.shortcode,
            "PhoneNumber": prompt.msisdn,
            "CallBackURL": prompt.callback_url,
            "AccountReference": reference,
            "TransactionDesc": clean(prompt.description, DESCRIPTION_LENGTH),
        }
        body = self._post(path, payload, read_s=PUSH_READ_S)
        self._check_accepted(path, body, refused=Rejected)
        checkout_request_id = _word(body, "CheckoutRequestID")
        if not checkout_request_id:
            raise self._unknown(path, "Daraja accepted the prompt without naming it.", body)
        return StkAccepted(checkout_request_id, _word(body, "MerchantRequestID"), _word(body, "CustomerMessage"))

    def stk_query(self, checkout_request_id: str) -> StkAnswer:
        """What became of a prompt. Whatever is not a known, final answer is `pending`. Raises NotSent.

        A 1037 in the first minute has been seen before the payer paid: the caller decides when to believe it.
        """
        path = "/mpesa/stkpushquery/v1/query"
        payload = {**self._signature(path), "CheckoutRequestID": checkout_request_id}
        try:
            body = self._post(path, payload, repeat=True)
        except (OutcomeUnknown, Throttled) as error:
            return StkAnswer("pending", error.code, error.text or error.message)
        code = _word(body, "ResultCode")
        desc = self._redact(_word(body, "ResultDesc") or _word(body, "ResponseDescription"))
        if not code or (_word(body, "ResponseCode") and not _is_zero(body.get("ResponseCode"))):
            return StkAnswer("pending", code, desc)
        meaning = explain(code)
        if meaning.kind == "paid":
            return StkAnswer("paid", "0", desc)
        # 17, 1025 and 9999 want a query before they are believed, and this is the query.
        final = meaning.kind in ("declined", "cancelled") or code in ("17", "1025", "9999")
        return StkAnswer("failed" if final else "pending", code, desc)

    def register_c2b_urls(
        self,
        confirmation_url: str,
        validation_url: str,
        response_type: Literal["Completed", "Cancelled"],
        version: Literal["v1", "v2"] = "v2",
    ) -> str:
        """Register where C2B payments are announced; gives Safaricom's description. Raises DarajaError.

        response_type: what M-Pesa does with a payment when the validation URL is silent.
        """
        path = f"/mpesa/c2b/{version}/registerurl"
        if self._account.sub_type == "BANK":
            raise ConfigurationRefused(
                "Money for a bank account never passes your shortcode, so there is nothing to register.",
                path=path,
            )
        payload = {
            "ShortCode": self._account.business_shortcode,
            "ResponseType": response_type,
            "ConfirmationURL": confirmation_url,
            "ValidationURL": validation_url,
        }
        body = self._post(path, payload, repeat=True)
        self._check_accepted(path, body, refused=Rejected)
        return _word(body, "ResponseDescription")

    def simulate_c2b(self, *, msisdn: str, amount_shillings: int, account: str, version: str = "v2") -> str:
        """Have the sandbox pay by hand; gives Safaricom's description. Raises DarajaError."""
        path = f"/mpesa/c2b/{version}/simulate"
        if self._account.environment != "sandbox":
            raise ConfigurationRefused("Only the sandbox simulates payments. Use a sandbox gateway.", path=path)
        till = self._account.sub_type == "BUYGOODS"
        payload = {
            "ShortCode": _number(self._account.shortcode),
            "CommandID": "CustomerBuyGoodsOnline" if till else "CustomerPayBillOnline",
            "Amount": _whole(amount_shillings, path),
            "Msisdn": _number(msisdn),
            "BillRefNumber": None if till else account,
        }
        body = self._post(path, payload)
        self._check_accepted(path, body, refused=Rejected)
        return _word(body, "ResponseDescription")

    def dynamic_qr(self, *, merchant_name: str, reference: str, amount_shillings: int, size_px: int = 300) -> bytes:
        """A PNG that the M-Pesa app reads to pay this gateway. Raises DarajaError."""
        path = "/mpesa/qrcode/v1/generate"
        account = self._account
        bank = account.sub_type == "BANK"
        payload = {
            "MerchantName": merchant_name,
            "RefNo": account.account_number if bank else reference,
            "Amount": _whole(amount_shillings, path),
            "TrxCode": "BG" if account.sub_type == "BUYGOODS" else "PB",
            "CPI": account.shortcode,
            "Size": str(size_px),
        }
        body = self._post(path, payload, repeat=True)
        try:
            image = base64.b64decode(_word(body, "QRCode"), validate=True)
        except (binascii.Error, ValueError):
            image = b""
        if not image.startswith(b"\x89PNG\r\n\x1a\n"):
            raise self._unknown(path, "Daraja gave no QR image.", body)
        return image

    # ---- moving and asking about money: acknowledged here, answered at the result URL

    def b2c_payment(
        self,
        *,
        originator_conversation_id: str,
        msisdn: str,
        amount_shillings: int,
        remarks: str,
        result_url: str,
        timeout_url: str,
        occasion: str = "",
        command: Literal["BusinessPayment", "SalaryPayment", "PromotionPayment"] = "BusinessPayment",
    ) -> RequestAccepted:
        """Send money to a phone. Raises NotSent or OutcomeUnknown; DuplicateConversation for a used id."""
        path = "/mpesa/b2c/v3/paymentrequest"
        name, credential = self._initiator(path)
        payload = {
            "OriginatorConversationID": originator_conversation_id,
            "InitiatorName": name,
            "SecurityCredential": credential,
            "CommandID": command,
            "Amount": _whole(amount_shillings, path),
            "PartyA": self._account.b2c_shortcode or self._account.business_shortcode,
            "PartyB": msisdn,
            "Remarks": clean(remarks, REMARKS_LENGTH),
            "QueueTimeOutURL": timeout_url,
            "ResultURL": result_url,
            "Occassion": clean(occasion, REMARKS_LENGTH) if occasion else "",  # Safaricom's spelling
        }
        return self._request(path, payload, refused=OutcomeUnknown)

    def reverse(
        self,
        *,
        receipt: str,
        amount_shillings: int,
        remarks: str,
        result_url: str,
        timeout_url: str,
        occasion: str = "",
    ) -> RequestAccepted:
        """Give a payment back to its payer, by its receipt. Raises NotSent, OutcomeUnknown."""
        path = "/mpesa/reversal/v1/request"
        payload = {
            **self._asking(path, "TransactionReversal", remarks, result_url, timeout_url),
            "TransactionID": receipt,
            "Amount": _whole(amount_shillings, path),
            "ReceiverParty": self._account.business_shortcode,
            "RecieverIdentifierType": "11",  # Safaricom's spelling: the right one is refused
            "Occasion": clean(occasion, REMARKS_LENGTH) if occasion else "",
        }
        return self._request(path, payload, refused=OutcomeUnknown)

    def transaction_status(
        self,
        *,
        transaction_id: str = "",
        originator_conversation_id: str = "",
        result_url: str,
        timeout_url: str,
        remarks: str = "Status",
        occasion: str = "",
    ) -> RequestAccepted:
        """Ask about a receipt or, for want of one, about a request of ours. Raises DarajaError."""
        path = "/mpesa/transactionstatus/v1/query"
        payload = {
            **self._asking(path, "TransactionStatusQuery", remarks, result_url, timeout_url),
            "PartyA": self._account.business_shortcode,
            "IdentifierType": "4",
            "Occasion": clean(occasion, REMARKS_LENGTH) if occasion else "",
        }
        if transaction_id:
            payload["TransactionID"] = transaction_id
        elif originator_conversation_id:  # two editions of the documentation name it differently
            payload["OriginatorConversationID"] = originator_conversation_id
            payload["OriginalConversationID"] = originator_conversation_id
        else:
            raise Rejected("Say which transaction: a receipt or our own id.", field="TransactionID", path=path)
        return self._request(path, payload, refused=Rejected, repeat=True)

    def account_balance(self, *, result_url: str, timeout_url: str, remarks: str = "Balance") -> RequestAccepted:
        """Ask for the shortcode's balances. Raises DarajaError."""
        path = "/mpesa/accountbalance/v1/query"
        payload = {
            **self._asking(path, "AccountBalance", remarks, result_url, timeout_url),
            "PartyA": self._account.business_shortcode,
            "IdentifierType": "4",
        }
        return self._request(path, payload, refused=Rejected, repeat=True)

    # ---- pull

    def pull_register(self, *, nominated_msisdn: str, callback_url: str) -> str:
        """Switch on Pull Transactions; already on is fine. Gives Safaricom's words. Raises DarajaError."""
        path = "/pulltransactions/v1/register"
        payload = {
            "ShortCode": self._account.business_shortcode,
            "RequestType": "Pull",
            "NominatedNumber": nominated_msisdn,
            "CallBackURL": callback_url,
        }
        body = self._post(path, payload, repeat=True)
        status = _word(body, "ResponseStatus") or _word(body, "Response Status") or _word(body, "ResponseCode")
        if status not in ("1000", "1001") and not _is_zero(status):
            raise self._rejected(path, body, status)
        return _word(body, "ResponseDescription")

    def pull_transactions(self, *, start: datetime, end: datetime, offset: int = 0) -> list[PulledTransaction]:
        """A page of the last 48 hours' transactions; offset: rows to skip. Raises DarajaError."""
        path = "/pulltransactions/v1/query"
        payload = {
            "ShortCode": self._account.business_shortcode,
            "StartDate": clock.nairobi(start).strftime("%Y-%m-%d %H:%M:%S"),
            "EndDate": clock.nairobi(end).strftime("%Y-%m-%d %H:%M:%S"),
            "OffSetValue": str(offset),
        }
        body = self._post(path, payload, repeat=True)
        code = _word(body, "ResponseCode")
        if code == "1001":
            return []
        if code != "1000" and not _is_zero(code):
            raise self._rejected(path, body, code)
        rows, unreadable = parse_pulled(body.get("Response"))
        if unreadable:
            _log.warning("pulled_rows_unreadable", gateway_id=self._account.gateway_id, count=unreadable)
        return rows

    # ---- sign-on

    def test_connection(self) -> ConnectionOk:
        """Sign on anew, whatever is cached. Raises SignOnFailed, Unreachable or Throttled."""
        fresh = self._sign_on()
        self._tokens.put(self._token_key, fresh)
        return ConnectionOk(self._account.environment, fresh.expires_in_s)

    def _sign_on(self) -> FreshToken:
        return self._repeat(self._sign_on_once)

    def _sign_on_once(self) -> FreshToken:
        path = "/oauth/v1/generate"
        auth = HTTPBasicAuth(self._account.consumer_key.encode(), self._account.consumer_secret.encode())
        try:
            status, headers, raw = self._exchange(
                "GET", f"{path}?grant_type=client_credentials", auth=auth, read_s=READ_S
            )
        except OutcomeUnknown as error:  # a token is no money: nothing else was sent
            raise Unreachable(error.message, path=path) from error
        body = _json_object(raw)
        known = self._known(path, status, raw, body)
        if throttled := self._throttled(body, status, headers, known):
            raise throttled
        token = _word(body, "access_token") if body and status == 200 else ""
        if token:
            return FreshToken(token, _seconds(body.get("expires_in") if body else None))
        if status in (400, 401, 403) and (body is not None or not raw.strip()):
            raise SignOnFailed(
                f"The consumer key or secret was refused by the {self._server} server. Copy both again from "
                "the app's page on the Daraja portal, and check that they belong to this environment.",
                **known,
            )
        raise Unreachable(
            f"M-Pesa's {self._server} server gave no token (HTTP {status}). Nothing was sent. Check the "
            "base URL; if it is right, try again in some minutes.",
            **known,
        )

    # ---- the one place where answers become errors

    def _post(self, path: str, payload: _Answer, *, repeat: bool = False, read_s: float = READ_S) -> _Answer:
        """The answer's JSON object. A refused token is renewed once; `repeat`: sending it again is safe."""
        for last in (False, True):
            token = self._tokens.get(self._token_key, self._sign_on)
            send = partial(self._send, path, payload, token, read_s)
            try:
                return self._repeat(send) if repeat else send()
            except _TokenRefused as refused:
                self._tokens.drop(self._token_key, token)
                if last:
                    raise SignOnFailed(
                        f"The {self._server} server gave a token and then refused it. The app may lack this "
                        "product, its Go-Live may be unfinished, or sandbox and production values are mixed. "
                        "If not, write to apisupport@safaricom.co.ke with the app's id and the shortcode.",
                        path=path,
                        http_status=refused.http_status,
                        code=refused.code,
                        text=refused.text,
                        request_id=refused.request_id,
                    ) from refused
        raise AssertionError("unreachable: the second refusal raises")

    def _send(self, path: str, payload: _Answer, token: str, read_s: float) -> _Answer:
        status, headers, raw = self._exchange("POST", path, auth=_Bearer(token), read_s=read_s, payload=payload)
        body = _json_object(raw)
        if 200 <= status < 300 and body is not None and not _error_code(body) and "fault" not in body:
            return body
        known = self._known(path, status, raw, body, token)
        raise self._error(status, headers, body, known)

    def _error(self, status: int, headers: dict[str, str], body: _Answer | None, known: dict[str, Any]) -> DarajaError:
        """The error for an answer that is no plain success. Code and words together decide it."""
        code, said = known["code"], _error_message(body).lower()
        if throttled := self._throttled(body, status, headers, known):
            return throttled
        if code in TOKEN_CODES or (status == 401 and not code.startswith("5")):
            return _TokenRefused("The token was refused.", **known)
        if special := self._special(code, said, known):
            return special
        if code.startswith("4") or (not code and 400 <= status < 500 and status not in UNSURE_4XX):
            return self._rejection(status, known)
        return OutcomeUnknown(
            f"M-Pesa's {self._server} server gave no clear answer ({f'HTTP {status} {code}'.strip()}). "
            "It may have acted: the result is asked for, nothing is sent again.",
            **known,
        )

    def _special(self, code: str, said: str, known: dict[str, Any]) -> DarajaError | None:
        """Answers that only their words tell apart."""
        for its_code, words, kind, message in _SPECIAL:
            if words in said and its_code in ("", code):
                shortcode = self._account.business_shortcode
                return kind(message.format(server=self._server, shortcode=shortcode), **known)
        return None

    def _rejection(self, status: int, known: dict[str, Any]) -> Rejected:
        if not known["code"]:
            return Rejected(
                f"M-Pesa's {self._server} server refused the request with HTTP {status} and no reason. Check "
                "the base URL, and ask Safaricom whether their firewall lets this server's address in.",
                **known,
            )
        named = re.search(r"(?i)\binvalid ([a-z]+)", known["text"]) if known["code"] == "400.002.02" else None
        if not named:
            return Rejected(f"M-Pesa refused the request: {known['code']} {known['text'][:200]}", **known)
        field = named.group(1)
        remedy = _FIELDS.get(field, "Correct it, then send again.")
        return Rejected(f"M-Pesa refused the field {field}. {remedy}", field=field, **known)

    def _throttled(
        self, body: _Answer | None, status: int, headers: dict[str, str], known: dict[str, Any]
    ) -> Throttled | None:
        said = _error_message(body).lower()
        named = known["code"] in THROTTLE_CODES or any(word in said for word in THROTTLE_WORDS)
        if status != 429 and not named:
            return None
        asked = re.fullmatch(r"[0-9]{1,4}", headers.get("retry-after", ""))
        wait_s = int(asked.group()) if asked else THROTTLE_PAUSE_S
        return Throttled(
            f"M-Pesa's {self._server} server is busy, or our limit is reached. Nothing was done. "
            f"Wait {wait_s} seconds.",
            retry_after_s=max(wait_s, 1),
            **known,
        )

    def _exchange(
        self, method: str, path: str, *, auth: AuthBase, read_s: float, payload: _Answer | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower case), body. Raises Unreachable if nothing was sent, else OutcomeUnknown."""
        bare_path = path.partition("?")[0]
        lost = OutcomeUnknown(
            f"The connection to M-Pesa's {self._server} server was lost before its answer. It may have "
            "acted: the result is asked for, nothing is sent again.",
            path=bare_path,
        )
        try:
            # A redirect is not followed: it could send a prompt twice.
            response = self._session.request(
                method,
                self._base_url + path,
                json=payload,
                auth=auth,
                timeout=(CONNECT_S, read_s),
                allow_redirects=False,
                stream=True,
            )
        except requests.RequestException as error:
            if isinstance(error, _BAD_ADDRESS):
                raise ConfigurationRefused(
                    "The gateway's base URL is not a web address. Correct it.", path=bare_path
                ) from error
            if _never_sent(error):
                raise Unreachable(
                    f"M-Pesa's {self._server} server could not be reached. Nothing was sent. Check this "
                    "server's internet connection and the gateway's base URL, then try again.",
                    path=bare_path,
                ) from error
            raise lost from error
        try:
            with response:
                raw = b""
                for chunk in response.iter_content(16 * 1024):
                    raw += chunk
                    if len(raw) > MAX_ANSWER_BYTES:
                        raise lost
        except requests.RequestException as error:
            raise lost from error
        return response.status_code, {name.lower(): value for name, value in response.headers.items()}, raw

    def _repeat(self, send: Callable[[], _T]) -> _T:
        """What `send` gives, repeated where the server was away or busy. Only for what is safe to repeat."""
        for attempt in range(REPEATS):
            try:
                return send()
            except (Unreachable, Throttled, OutcomeUnknown) as error:
                if isinstance(error, OutcomeUnknown) and error.http_status != 503:
                    raise
            self._sleep(FIRST_PAUSE_S * 2**attempt * random.uniform(1, 1.5))  # noqa: S311 (spreads load, keeps no secret)
        return send()

    # ---- parts

    @property
    def _server(self) -> str:
        return self._account.environment.upper()

    def _signature(self, path: str) -> _Answer:
        account = self._account
        if not account.passkey:
            raise ConfigurationRefused("The gateway has no passkey. Enter the one from Go-Live.", path=path)
        timestamp = clock.daraja_timestamp(clock.now())
        return {
            "BusinessShortCode": account.business_shortcode,
            "Password": stk_password(account.business_shortcode, account.passkey, timestamp),
            "Timestamp": timestamp,
        }

    def _initiator(self, path: str) -> tuple[str, str]:
        account = self._account
        if not account.initiator_name or not account.security_credential:
            raise ConfigurationRefused(
                "The gateway has no initiator. Enter the API operator's name, and its password with "
                "Safaricom's certificate or a ready security credential.",
                path=path,
            )
        return account.initiator_name, account.security_credential

    def _asking(self, path: str, command: str, remarks: str, result_url: str, timeout_url: str) -> _Answer:
        name, credential = self._initiator(path)
        return {
            "Initiator": name,
            "SecurityCredential": credential,
            "CommandID": command,
            "Remarks": clean(remarks, REMARKS_LENGTH),
            "ResultURL": result_url,
            "QueueTimeOutURL": timeout_url,
        }

    def _request(
        self, path: str, payload: _Answer, *, refused: type[DarajaError], repeat: bool = False
    ) -> RequestAccepted:
        body = self._post(path, payload, repeat=repeat)
        self._check_accepted(path, body, refused=refused)
        return RequestAccepted(
            _word(body, "ConversationID"),
            _word(body, "OriginatorConversationID") or _word(body, "OriginatorCoversationID"),
            _word(body, "ResponseDescription"),
        )

    def _check_accepted(self, path: str, body: _Answer, *, refused: type[DarajaError]) -> None:
        """Raises `refused` for a ResponseCode other than zero, OutcomeUnknown for none."""
        code = _word(body, "ResponseCode")
        if not code:
            raise self._unknown(path, "Daraja's answer has no ResponseCode.", body)
        if not _is_zero(code):
            raise (
                self._rejected(path, body, code)
                if refused is Rejected
                else self._unknown(path, f"Daraja answered with ResponseCode {code}.", body)
            )

    def _rejected(self, path: str, body: _Answer, code: str) -> Rejected:
        said = self._redact(_word(body, "ResponseDescription") or _word(body, "ResponseMessage"))
        known = self._known(path, 200, json.dumps(body, default=str).encode(), body) | {"code": code}
        return Rejected(f"M-Pesa did not accept the request: {code} {said}".strip(), **known)

    def _unknown(self, path: str, sentence: str, body: _Answer) -> OutcomeUnknown:
        known = self._known(path, 200, json.dumps(body, default=str).encode(), body)
        return OutcomeUnknown(f"{sentence} It may have acted: the result is asked for, nothing is sent again.", **known)

    def _known(self, path: str, status: int, raw: bytes, body: _Answer | None, token: str = "") -> dict[str, Any]:
        """What every error carries, redacted."""
        text = _error_message(body) or raw[: 4 * KEPT_TEXT].decode("utf-8", "replace")
        request_id = _word(body, "requestId") if body else ""
        return {
            "path": path,
            "http_status": status,
            "code": _error_code(body),
            "text": self._redact(text, token)[:KEPT_TEXT],
            "request_id": request_id[:64],
        }

    def _redact(self, text: str, token: str = "") -> str:
        account = self._account
        keys = (account.consumer_key, account.consumer_secret, account.passkey, account.security_credential)
        for secret in (token, *keys):
            if secret and len(secret) > 3:
                text = text.replace(secret, "[hidden]")
        return redact(text)


# errorCode (empty: any), words in lower case, error, message. 500.001.1001 alone has five meanings; what is
# not here is an unknown outcome.
_SPECIAL: tuple[tuple[str, str, type[DarajaError], str], ...] = (
    (
        "500.001.1001",
        "unable to lock subscriber",
        SubscriberBusy,
        "Another M-Pesa request is open on this phone. Have it closed, wait a minute, then send again.",
    ),
    (
        "500.001.1001",
        "wrong credentials",
        ConfigurationRefused,
        (
            "M-Pesa's {server} server refused the passkey for shortcode {shortcode}. Copy the passkey again, "
            "and check the shortcode; for a till it is the store number of Go-Live."
        ),
    ),
    (
        "500.001.1001",
        "merchant does not exist",
        ConfigurationRefused,
        (
            "M-Pesa's {server} server does not know the shortcode {shortcode} for this app. Check the "
            "shortcode (for a till, the store number) and that Go-Live is finished."
        ),
    ),
    (
        "500.002.1001",
        "duplicate",
        DuplicateConversation,
        "M-Pesa has a request with this id already. Look that one up; do not pay again.",
    ),
    (
        "500.003.1001",
        "already registered",
        ConfigurationRefused,
        (
            "Safaricom has addresses for this shortcode already. Change them on the Daraja portal under Self "
            "Services, URL Management, or write to apisupport@safaricom.co.ke."
        ),
    ),
    (
        "500.003.1001",
        "duplicate notification info",
        ConfigurationRefused,
        (
            "This shortcode's addresses are on Safaricom's older platform. Ask apisupport@safaricom.co.ke to "
            "remove them there, then register again."
        ),
    ),
    (
        "",
        "no apiproduct match",
        ConfigurationRefused,
        "The app on the Daraja portal does not have this product. Add it to the app, then try again.",
    ),
    (
        "",
        "responsecode 409 is treated as error",
        ConfigurationRefused,
        "Shortcode {shortcode} cannot take C2B: some are for prompts only. Use one that has the C2B product.",
    ),
)

_OPEN_ADDRESS = (
    "The portal's public address must be https, open to the internet and free of words such as mpesa, "
    "safaricom, query, exe, cmd or sql."
)
_SHORTCODE = "Check the shortcode; for a till enter the store number of Go-Live."
_FIELDS = {
    "BusinessShortCode": _SHORTCODE,
    "ShortCode": _SHORTCODE,
    "Timestamp": "Check this server's clock.",
    "Amount": "It must be whole shillings within M-Pesa's limits.",
    "PhoneNumber": "It must be a Safaricom number such as 254712345678.",
    "CallBackURL": _OPEN_ADDRESS,
    "ConfirmationURL": _OPEN_ADDRESS,
    "ValidationURL": _OPEN_ADDRESS,
    "ResultURL": _OPEN_ADDRESS,
    "QueueTimeOutURL": _OPEN_ADDRESS,
    "Remarks": "It must have 2 to 100 plain letters.",
    "InitiatorName": "Check the API operator's name in the gateway's settings.",
    "SecurityCredential": "Enter the initiator's password and certificate again.",
    "TransactionID": "Check the receipt number.",
}

_BAD_ADDRESS = (
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidHeader,
)
_HANDSHAKE_FAILURES = frozenset(
    {
        "CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE",
        "SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_PROTOCOL_VERSION", "TLSV1_UNRECOGNIZED_NAME",
    }
)  # fmt: skip


_sessions: dict[int, requests.Session] = {}


def shared_session() -> requests.Session:
    """This process's connections to Daraja, kept open between calls. It takes no cookies.

    By process, because a forked worker that wrote into its parent's TLS connection would garble both.
    """
    session = requests.Session()
    session.mount("https://", HTTPAdapter(pool_maxsize=POOL))
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return _sessions.setdefault(os.getpid(), session)


def stk_password(shortcode: str, passkey: str, timestamp: str) -> str:
    """Daraja's Password: base64 of the three, one after the other."""
    return base64.b64encode(f"{shortcode}{passkey}{timestamp}".encode()).decode("ascii")


def clean(text: str, limit: int) -> str:
    """`text` as it is sent: letters, digits, spaces, hyphens, at most `limit`; `Payment` if nothing is left.

    Other characters have made prompts fail without a word. Accents are dropped from their letters.
    """
    plain = unicodedata.normalize("NFKD", text)
    kept = " ".join(re.sub(r"[^A-Za-z0-9 -]", "", re.sub(r"\s", " ", plain)).split())
    return kept[:limit].strip() or "Payment"


def redact(text: str) -> str:
    """`text` without tokens, phone numbers and checkout ids, which end in the payer's number."""
    text = re.sub(r"(?i)(invalid access token\s*-\s*)\S+", r"\1[hidden]", text)
    text = re.sub(r"ws_CO_\w+", "ws_CO_[hidden]", text)
    text = re.sub(r"(?<![A-Za-z0-9])[A-Za-z0-9+/=]{28,}(?![A-Za-z0-9])", "[hidden]", text)
    return re.sub(r"(?<!\d)(?:\+?254|0)?([17])\d{5}(\d{3})(?!\d)", r"\1*****\2", text)


def _never_sent(error: requests.RequestException) -> bool:
    """Whether the failure is one of those that come before the request's first byte."""
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.ProxyError):
        return True
    causes = _causes(error)
    if isinstance(error, requests.exceptions.SSLError):
        inner = [cause for cause in causes if isinstance(cause, ssl.SSLError)]
        return all(
            isinstance(cause, ssl.SSLCertVerificationError) or getattr(cause, "reason", None) in _HANDSHAKE_FAILURES
            for cause in inner
        )
    before = (
        urllib3.exceptions.NewConnectionError,
        urllib3.exceptions.ConnectTimeoutError,
        ConnectionRefusedError,
    )
    return isinstance(error, requests.ConnectionError) and any(isinstance(cause, before) for cause in causes)


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(found) < 20:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and cause not in found:
            found.append(cause)
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
    return found


def _json_object(raw: bytes) -> _Answer | None:
    try:
        body = json.loads(raw, parse_float=Decimal, parse_constant=lambda name: None)
    except (ValueError, RecursionError, ArithmeticError):
        return None
    return body if isinstance(body, dict) else None


def _word(body: _Answer | None, name: str) -> str:
    value = (body or {}).get(name)
    return str(value).strip() if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else ""


def _error_code(body: _Answer | None) -> str:
    return _word(body, "errorCode")[:32]


def _error_message(body: _Answer | None) -> str:
    """What M-Pesa or the gateway before it says: errorMessage, an Apigee fault, or a SOAP fault in JSON."""
    if body is None:
        return ""
    if message := _word(body, "errorMessage"):
        return message
    envelope = body.get("Envelope")
    inner = envelope.get("Body") if isinstance(envelope, dict) else None
    for fault in (body.get("fault"), inner.get("Fault") if isinstance(inner, dict) else None):
        if isinstance(fault, dict):
            return f"{_word(fault, 'faultstring')} {json.dumps(fault.get('detail'), default=str)}"
    return ""


def _is_zero(code: object) -> bool:
    return re.fullmatch(r"0+", str(code).strip()) is not None


def _whole(amount_shillings: int, path: str) -> int:
    if type(amount_shillings) is not int or amount_shillings < 1:
        raise Rejected(
            f"The amount {amount_shillings!r} is not whole shillings of at least 1.",
            field="Amount",
            path=path,
        )
    return amount_shillings


def _number(digits: str) -> int | str:
    return int(digits) if digits.isascii() and digits.isdecimal() else digits


def _seconds(expires_in: object) -> int:
    try:
        return int(str(expires_in))
    except ValueError:
        return DEFAULT_TOKEN_S
