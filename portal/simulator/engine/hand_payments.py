"""Customers who pay a paybill or till by hand, and C2B's two calls: validation and confirmation."""

import json
import sqlite3
from dataclasses import dataclass

from portal.simulator.api import faults
from portal.simulator.engine import callback_sender, callbacks, receipts, sms_text, transactions
from portal.simulator.engine.customers import customer, send_sms
from portal.simulator.engine.organisations import numbers_of, payee
from portal.simulator.engine.store import Store

VALIDATION_S = 8.0  # after this M-Pesa does what ResponseType says


@dataclass(frozen=True, slots=True)
class Outcome:
    accepted: bool
    receipt: str | None
    message: str


def pay_by_hand(store: Store, *, msisdn: str, shortcode: str, account: str, amount_cents: int) -> Outcome:
    """Lipa na M-Pesa from the phone's menu: validation, money, SMS, confirmation. The message is the SMS."""
    receiver = payee(store, shortcode)
    if receiver is None:
        return _told(store, msisdn, f"Failed. The business number {shortcode} does not exist.")
    urls = registered(store, receiver)
    receipt, third_party_id = receipts.next_receipt(store), ""
    if urls is not None and urls["validation_url"] and receiver["external_validation"]:
        code, third_party_id = _validate(store, receiver, urls, receipt, msisdn, account, amount_cents)
        if code != "0":
            text = sms_text.refused(amount_cents=amount_cents, business=receiver["name"], account=account, code=code)
            return _told(store, msisdn, text)
    with store.transaction():
        problem = transactions.why_not(store, msisdn, amount_cents)
        if problem == "1":
            balance_cents = customer(store, msisdn)["balance_cents"]
            text = sms_text.no_funds(amount_cents=amount_cents, business=receiver["name"], balance_cents=balance_cents)
            return _told(store, msisdn, text)
        if problem:
            return _told(store, msisdn, "Failed. You have reached the amount that you can transact within the day.")
        transaction = transactions.collect(
            store,
            receiver=receiver,
            msisdn=msisdn,
            amount_cents=amount_cents,
            reference=account,
            channel="HAND",
            receipt=receipt,
        )
        owe_confirmation(store, transaction["receipt"], after_s=0.1, third_party_id=third_party_id)
        newest = store.must("SELECT text FROM messages WHERE msisdn = ? ORDER BY id DESC LIMIT 1", msisdn)
        return Outcome(True, transaction["receipt"], newest["text"])


def pay_job(store: Store, payload: dict[str, object]) -> None:
    """The payment that a call of the simulate door asked for."""
    pay_by_hand(
        store,
        msisdn=str(payload["msisdn"]),
        shortcode=str(payload["shortcode"]),
        account=str(payload["account"]),
        amount_cents=int(str(payload["amount_cents"])),
    )


def registered(store: Store, receiver: sqlite3.Row) -> sqlite3.Row | None:
    """The URLs registered for an organisation."""
    return store.one("SELECT * FROM c2b_urls WHERE organisation_id = ?", receiver["id"])


def owe_confirmation(store: Store, receipt: str, *, after_s: float, third_party_id: str = "") -> None:
    """Queue a collection's confirmation, if anybody registered for it. Inside the booking's transaction."""
    transaction = store.must("SELECT * FROM transactions WHERE receipt = ? AND role = 'payment'", receipt)
    receiver = store.must("SELECT * FROM organisations WHERE id = ?", transaction["organisation_id"])
    urls = registered(store, receiver)
    if urls is None or faults.take(store, "c2bLost", shortcodes=numbers_of(receiver)):
        return
    body = callbacks.c2b(
        is_till=receiver["kind"] == "BUYGOODS",
        shortcode=urls["shortcode"],
        receipt=receipt,
        at=transaction["at"],
        amount_cents=transaction["amount_cents"],
        account=transaction["reference"],
        msisdn=transaction["msisdn"],
        name=transaction["party"],
        version=urls["version"],
        balance_cents=transaction["balance_cents"],
        third_party_id=third_party_id,
    )
    payload = {
        "url": urls["confirmation_url"],
        "body": body,
        "door": "C2B confirmation",
        "msisdn": transaction["msisdn"],
    }
    store.add_job("post", payload, after_s=after_s)


def _validate(
    store: Store,
    receiver: sqlite3.Row,
    urls: sqlite3.Row,
    receipt: str,
    msisdn: str,
    account: str,
    amount_cents: int,
) -> tuple[str, str]:
    """(result code, the listener's ThirdPartyTransID). No answer in time: the registered default."""
    body = callbacks.c2b(
        is_till=receiver["kind"] == "BUYGOODS",
        shortcode=urls["shortcode"],
        receipt=receipt,
        at=store.timestamp(),
        amount_cents=amount_cents,
        account=account,
        msisdn=msisdn,
        name=customer(store, msisdn)["name"],
        version=urls["version"],
    )
    status, text = callback_sender.post(
        store, urls["validation_url"], body, door="C2B validation", msisdn=msisdn, timeout_s=VALIDATION_S
    )
    try:
        answer = json.loads(text) if status == 200 else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or answer.get("ResultCode") is None:
        return ("0" if urls["response_type"] == "Completed" else "C2B00016"), ""
    code = str(answer["ResultCode"]).strip()
    return ("0" if code and not code.strip("0") else code), str(answer.get("ThirdPartyTransID") or "")


def _told(store: Store, msisdn: str, text: str) -> Outcome:
    customer(store, msisdn)
    send_sms(store, msisdn, text)
    return Outcome(False, None, text)
