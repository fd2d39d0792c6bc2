"""The life of a prompt: it rings, somebody answers or nobody does, money moves, callbacks are owed."""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from portal.simulator.api import faults
from portal.simulator.engine import behaviours, callbacks, hand_payments, receipts, sms_text, transactions
from portal.simulator.engine.behaviours import Behaviour
from portal.simulator.engine.customers import customer, send_sms
from portal.simulator.engine.organisations import numbers_of
from portal.simulator.engine.store import Store

LIFE_S = 180.0  # captured prompts close themselves after one to three minutes
REPEAT_S = 120.0  # the same amount from the same customer within this time is "rule limited"
LATE_S = 60.0
CALLBACK_S = 0.3
MAX_PROMPT_CHARACTERS = 182
MOST_COPIES = 20


def ring(
    store: Store,
    *,
    organisation: sqlite3.Row,
    receiver: sqlite3.Row,
    kind: str,
    msisdn: str,
    amount_cents: int,
    reference: str,
    description: str,
    callback_url: str,
    behaviour: Behaviour,
) -> sqlite3.Row | None:
    """The new prompt on the phone; None if one is open there already."""
    with store.transaction():
        if open_prompt(store, msisdn) is not None:
            return None
        now = store.timestamp()
        life_s = float(store.setting("prompt_seconds", LIFE_S))
        if behaviour.answer == "timeout":
            life_s = behaviour.after_s
        elif behaviour.code is not None:
            life_s = max(life_s, behaviour.after_s + 30)
        push_id = store.insert(
            "pushes",
            merchant_request_id=receipts.request_id(),
            checkout_request_id=receipts.checkout_request_id(store, msisdn=msisdn),
            organisation_id=organisation["id"],
            receiver_id=receiver["id"],
            msisdn=msisdn,
            amount_cents=amount_cents,
            reference=reference,
            description=description,
            callback_url=callback_url,
            created_at=now,
            expires_at=now + life_s,
            state="ringing",
            behaviour=behaviours.dump(behaviour),
        )
        customer(store, msisdn)
        stopped = _stopped_before_ringing(store, receiver, kind, msisdn, amount_cents, reference)
        if stopped:
            store.add_job("answer", {"push_id": push_id, "code": stopped}, after_s=0.5)
        elif behaviour.code is None:
            store.add_job("answer", {"push_id": push_id, "code": "1037"}, after_s=life_s)
        elif behaviour.callback == "first":
            settle(store, push_id, behaviour.code)
        elif behaviour.callback == "failedThenPaid":
            store.add_job("answer", {"push_id": push_id, "code": "1037"}, after_s=behaviour.after_s)
        else:
            store.add_job("answer", {"push_id": push_id, "code": behaviour.code}, after_s=behaviour.after_s)
        return store.must("SELECT * FROM pushes WHERE id = ?", push_id)


def _stopped_before_ringing(
    store: Store, receiver: sqlite3.Row, kind: str, msisdn: str, amount_cents: int, reference: str
) -> str | None:
    wants_till = kind == "CustomerBuyGoodsOnline"
    if wants_till != (receiver["kind"] == "BUYGOODS"):
        return "2028"
    asked = sms_text.ksh(amount_cents)
    text = f"Do you want to pay {asked} to {receiver['name']} Account no. {reference}? Enter M-PESA PIN:"
    if len(text) > MAX_PROMPT_CHARACTERS:
        return "1025"
    repeated = store.one(
        "SELECT 1 FROM pushes WHERE msisdn = ? AND receiver_id = ? AND amount_cents = ? AND result_code = '0'"
        " AND settled_at > ?",
        msisdn,
        receiver["id"],
        amount_cents,
        store.timestamp() - REPEAT_S,
    )
    return "17" if repeated else None


def open_prompt(store: Store, msisdn: str) -> sqlite3.Row | None:
    """The prompt that is on the phone's screen now."""
    return store.one(
        "SELECT pushes.*, organisations.name AS business, organisations.kind AS business_kind FROM pushes"
        " JOIN organisations ON organisations.id = pushes.receiver_id"
        " WHERE msisdn = ? AND state = 'ringing' AND expires_at > ? ORDER BY pushes.id DESC LIMIT 1",
        msisdn,
        store.timestamp(),
    )


def answer_job(store: Store, payload: dict[str, Any]) -> None:
    """What the phone does by itself when its time has come."""
    settle(store, payload["push_id"], payload["code"], late_success=payload.get("late_success", False))


def settle(store: Store, push_id: int, code: str, *, late_success: bool = False) -> sqlite3.Row | None:
    """The prompt's end with result `code`, or with what M-Pesa makes of it (no funds, limit); the push's row.

    None if it had ended before: the first answer counts. late_success: a push that failed is paid after all.
    """
    with store.transaction():
        state = "settled" if late_success else "ringing"
        push = store.one(
            "SELECT * FROM pushes WHERE id = ? AND state = ? AND coalesce(result_code, '') != '0'",
            push_id,
            state,
        )
        if push is None:
            return None
        receiver = store.must("SELECT * FROM organisations WHERE id = ?", push["receiver_id"])
        receipt = ""
        if code == "0":
            code = transactions.why_not(store, push["msisdn"], push["amount_cents"]) or "0"
        if code == "0":
            transaction = transactions.collect(
                store,
                receiver=receiver,
                msisdn=push["msisdn"],
                amount_cents=push["amount_cents"],
                reference=push["reference"],
                channel="STK",
            )
            receipt = transaction["receipt"]
        elif code == "1":
            text = sms_text.no_funds(
                amount_cents=push["amount_cents"],
                business=receiver["name"],
                balance_cents=customer(store, push["msisdn"])["balance_cents"],
            )
            send_sms(store, push["msisdn"], text)
        elif code == "2001":
            send_sms(store, push["msisdn"], sms_text.wrong_pin())
        store.run(
            "UPDATE pushes SET state = 'settled', result_code = ?, result_desc = ?, receipt"
            " = ?, settled_at = ? WHERE id = ?",
            code,
            behaviours.describe(code),
            receipt,
            store.timestamp(),
            push_id,
        )
        settled = store.must("SELECT * FROM pushes WHERE id = ?", push_id)
        _announce(store, settled)
        return settled


def body_of(push: sqlite3.Row, *, amount_cents: int | None = None, as_text: bool = False) -> dict[str, Any]:
    """The callback that a settled push deserves."""
    return callbacks.stk(
        merchant_request_id=push["merchant_request_id"],
        checkout_request_id=push["checkout_request_id"],
        code=push["result_code"],
        description=push["result_desc"],
        amount_cents=push["amount_cents"] if amount_cents is None else amount_cents,
        receipt=push["receipt"],
        paid_at=push["settled_at"],
        msisdn=push["msisdn"],
        as_text=as_text,
    )


@dataclass(slots=True)
class _Plan:
    """How the callback of one push goes out."""

    delay_s: float
    copies: int
    amount_cents: int
    is_lost: bool


def _announce(store: Store, push: sqlite3.Row) -> None:
    behaviour = Behaviour(**json.loads(push["behaviour"]))
    organisation = store.must("SELECT * FROM organisations WHERE id = ?", push["organisation_id"])
    paid = push["result_code"] == "0"
    way = behaviour.callback if paid else "normal"
    plan = _plan_by_behaviour(way, push["amount_cents"])
    _spoil(store, plan, numbers_of(organisation), paid=paid)

    if not plan.is_lost:
        body = body_of(push, amount_cents=plan.amount_cents, as_text=way == "stringCode")
        payload = {
            "url": push["callback_url"],
            "body": body,
            "door": "STK callback",
            "msisdn": push["msisdn"],
        }
        for copy in range(plan.copies):
            store.add_job("post", payload, after_s=plan.delay_s + copy * 0.5)
    if paid and way != "none":
        echo_s = 0.0 if way == "echoFirst" else plan.delay_s + CALLBACK_S
        hand_payments.owe_confirmation(store, push["receipt"], after_s=echo_s)
    if behaviour.callback == "failedThenPaid" and push["result_code"] == "1037":
        store.add_job("answer", {"push_id": push["id"], "code": "0", "late_success": True}, after_s=15)


def _plan_by_behaviour(way: str, amount_cents: int) -> _Plan:
    delays_s = {"first": 0.0, "late": LATE_S, "echoFirst": 2.0}
    if way == "wrongAmount":
        amount_cents += -100 if amount_cents > 100 else 100
    return _Plan(delays_s.get(way, CALLBACK_S), 2 if way == "twice" else 1, amount_cents, way == "none")


def _spoil(store: Store, plan: _Plan, shortcodes: set[str], *, paid: bool) -> None:
    """The faults that were ordered, on top of what the phone does."""
    if faults.take(store, "noCallback", shortcodes=shortcodes):
        plan.is_lost = True
        return
    if late := faults.take(store, "lateCallback", shortcodes=shortcodes):
        plan.delay_s = late.value or LATE_S
    if duplicate := faults.take(store, "duplicateCallback", shortcodes=shortcodes):
        plan.copies = min(MOST_COPIES, max(2, int(duplicate.value or 2)))
    if paid and (stated := faults.take(store, "callbackAmount", shortcodes=shortcodes)):
        plan.amount_cents = round((1 if stated.value is None else stated.value) * 100)
    if faults.take(store, "outOfOrder", shortcodes=shortcodes):
        plan.delay_s += _held_back_s(store)


def _held_back_s(store: Store) -> float:
    """Every other callback waits four seconds, so that the one after it overtakes it."""
    is_odd = bool(store.setting("held_back", False))
    store.keep("held_back", not is_odd)
    return 0.0 if is_odd else 4.0
