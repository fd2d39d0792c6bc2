"""Everything that Mlango asks of M-Pesa, one method a question."""

import base64
import binascii
import json
from datetime import datetime
from typing import Literal

import structlog

from portal.gateways.daraja.encoding import Answer, as_number, clean, is_zero, stk_password, whole_shillings, word_of
from portal.gateways.daraja.errors import ConfigurationRefused, DarajaError, OutcomeUnknown, Rejected, Throttled
from portal.gateways.daraja.transport import DarajaTransport
from portal.gateways.daraja.types import ConnectionOk, RequestAccepted, StkAccepted, StkAnswer, StkPrompt
from portal.gateways.messages import PulledTransaction, parse_pulled
from portal.gateways.result_codes import explain
from portal.kernel import clock

_log = structlog.get_logger(__name__)
PUSH_READ_S = 30.0
REFERENCE_LENGTH, DESCRIPTION_LENGTH, BANK_ACCOUNT_LENGTH, REMARKS_LENGTH = 12, 13, 20, 100


class DarajaClient(DarajaTransport):
    """Daraja for one gateway. session: the process's shared one if left out; sleep: between repeats."""

    def stk_push(self, prompt: StkPrompt) -> StkAccepted:
        """Prompt one phone. Not idempotent: calling twice prompts twice. Raises NotSent, OutcomeUnknown."""
        path = "/mpesa/stkpush/v1/processrequest"
        account = self._account
        amount = whole_shillings(prompt.amount_shillings, path)
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
        checkout_request_id = word_of(body, "CheckoutRequestID")
        if not checkout_request_id:
            raise self._unknown(path, "Daraja accepted the prompt without naming it.", body)
        return StkAccepted(checkout_request_id, word_of(body, "MerchantRequestID"), word_of(body, "CustomerMessage"))

    def stk_query(self, checkout_request_id: str, *, passkey: str | None = None) -> StkAnswer:
        """What became of a prompt. Whatever is not a known, final answer is `pending`. Raises NotSent.

        A 1037 in the first minute has been seen before the payer paid: the caller decides when to believe it.
        passkey: another than the gateway's, to see whether M-Pesa looks at it.
        """
        path = "/mpesa/stkpushquery/v1/query"
        payload = {**self._signature(path, passkey), "CheckoutRequestID": checkout_request_id}
        try:
            body = self._post(path, payload, repeat=True)
        except (OutcomeUnknown, Throttled) as error:
            return StkAnswer("pending", error.code, error.text or error.message)
        code = word_of(body, "ResultCode")
        desc = self._redact(word_of(body, "ResultDesc") or word_of(body, "ResponseDescription"))
        if not code or (word_of(body, "ResponseCode") and not is_zero(body.get("ResponseCode"))):
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
        return word_of(body, "ResponseDescription")

    def simulate_c2b(self, *, msisdn: str, amount_shillings: int, account: str, version: str = "v2") -> str:
        """Have the sandbox pay by hand; gives Safaricom's description. Raises DarajaError."""
        path = f"/mpesa/c2b/{version}/simulate"
        if self._account.environment != "sandbox":
            raise ConfigurationRefused("Only the sandbox simulates payments. Use a sandbox gateway.", path=path)
        till = self._account.sub_type == "BUYGOODS"
        payload = {
            "ShortCode": as_number(self._account.shortcode),
            "CommandID": "CustomerBuyGoodsOnline" if till else "CustomerPayBillOnline",
            "Amount": whole_shillings(amount_shillings, path),
            "Msisdn": as_number(msisdn),
            "BillRefNumber": None if till else account,
        }
        body = self._post(path, payload)
        self._check_accepted(path, body, refused=Rejected)
        return word_of(body, "ResponseDescription")

    def dynamic_qr(self, *, merchant_name: str, reference: str, amount_shillings: int, size_px: int = 300) -> bytes:
        """A PNG that the M-Pesa app reads to pay this gateway. Raises DarajaError."""
        path = "/mpesa/qrcode/v1/generate"
        account = self._account
        bank = account.sub_type == "BANK"
        payload = {
            "MerchantName": merchant_name,
            "RefNo": account.account_number if bank else reference,
            "Amount": whole_shillings(amount_shillings, path),
            "TrxCode": "BG" if account.sub_type == "BUYGOODS" else "PB",
            "CPI": account.shortcode,
            "Size": str(size_px),
        }
        body = self._post(path, payload, repeat=True)
        try:
            image = base64.b64decode(word_of(body, "QRCode"), validate=True)
        except (binascii.Error, ValueError):
            image = b""
        if not image.startswith(b"\x89PNG\r\n\x1a\n"):
            raise self._unknown(path, "Daraja gave no QR image.", body)
        return image

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
            "Amount": whole_shillings(amount_shillings, path),
            "PartyA": self._account.payout_shortcode,
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
            "Amount": whole_shillings(amount_shillings, path),
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
        is_pay_out: bool = False,
    ) -> RequestAccepted:
        """Ask about a receipt or, for want of one, about a request of ours. Raises DarajaError.

        is_pay_out: ask as the shortcode that pays out, which may be another than the one that is paid.
        """
        path = "/mpesa/transactionstatus/v1/query"
        payload = {
            **self._asking(path, "TransactionStatusQuery", remarks, result_url, timeout_url),
            "PartyA": self._account.payout_shortcode if is_pay_out else self._account.business_shortcode,
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
        status = word_of(body, "ResponseStatus") or word_of(body, "Response Status") or word_of(body, "ResponseCode")
        if status not in ("1000", "1001") and not is_zero(status):
            raise self._rejected(path, body, status)
        return word_of(body, "ResponseDescription")

    def pull_transactions(
        self, *, start: datetime, end: datetime, offset: int = 0
    ) -> tuple[list[PulledTransaction], int]:
        """A page of the last 48 hours' transactions, and how many of its rows are unreadable. Raises DarajaError.

        offset: rows to skip.
        """
        path = "/pulltransactions/v1/query"
        payload = {
            "ShortCode": self._account.business_shortcode,
            "StartDate": clock.nairobi(start).strftime("%Y-%m-%d %H:%M:%S"),
            "EndDate": clock.nairobi(end).strftime("%Y-%m-%d %H:%M:%S"),
            "OffSetValue": str(offset),
        }
        body = self._post(path, payload, repeat=True)
        code = word_of(body, "ResponseCode")
        if code == "1001":
            return [], 0
        if code != "1000" and not is_zero(code):
            raise self._rejected(path, body, code)
        rows, unreadable = parse_pulled(body.get("Response"))
        if unreadable:
            _log.warning("pulled_rows_unreadable", gateway_id=self._account.gateway_id, count=unreadable)
        return rows, unreadable

    def test_connection(self) -> ConnectionOk:
        """Sign on anew, whatever is cached. Raises SignOnFailed, Unreachable or Throttled."""
        fresh = self._sign_on()
        self._tokens.put(self._token_key, fresh)
        return ConnectionOk(self._account.environment, fresh.expires_in_s)

    def _signature(self, path: str, passkey: str | None = None) -> Answer:
        account = self._account
        if not account.passkey:
            raise ConfigurationRefused("The gateway has no passkey. Enter the one from Go-Live.", path=path)
        timestamp = clock.daraja_timestamp(clock.now())
        return {
            "BusinessShortCode": account.business_shortcode,
            "Password": stk_password(account.business_shortcode, passkey or account.passkey, timestamp),
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

    def _asking(self, path: str, command: str, remarks: str, result_url: str, timeout_url: str) -> Answer:
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
        self, path: str, payload: Answer, *, refused: type[DarajaError], repeat: bool = False
    ) -> RequestAccepted:
        body = self._post(path, payload, repeat=repeat)
        self._check_accepted(path, body, refused=refused)
        return RequestAccepted(
            word_of(body, "ConversationID"),
            word_of(body, "OriginatorConversationID") or word_of(body, "OriginatorCoversationID"),
            word_of(body, "ResponseDescription"),
        )

    def _check_accepted(self, path: str, body: Answer, *, refused: type[DarajaError]) -> None:
        """Raises `refused` for a ResponseCode other than zero, OutcomeUnknown for none."""
        code = word_of(body, "ResponseCode")
        if not code:
            raise self._unknown(path, "Daraja's answer has no ResponseCode.", body)
        if not is_zero(code):
            raise (
                self._rejected(path, body, code)
                if refused is Rejected
                else self._unknown(path, f"Daraja answered with ResponseCode {self._code_shown(code)}.", body)
            )

    def _rejected(self, path: str, body: Answer, code: str) -> Rejected:
        said = self._redact(word_of(body, "ResponseDescription") or word_of(body, "ResponseMessage"))
        known = self._known(path, 200, json.dumps(body, default=str).encode(), body) | {"code": code}
        return Rejected(f"M-Pesa did not accept the request: {self._words(code, said)}", **known)

    def _unknown(self, path: str, sentence: str, body: Answer) -> OutcomeUnknown:
        known = self._known(path, 200, json.dumps(body, default=str).encode(), body)
        return OutcomeUnknown(f"{sentence} It may have acted: the result is asked for, nothing is sent again.", **known)
