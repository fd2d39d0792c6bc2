"""How a queued request ends: the money it moves and the Result that M-Pesa posts."""

import json
import sqlite3
from typing import Any

from portal.kernel import clock
from portal.simulator.api import faults
from portal.simulator.engine import callbacks, receipts, transactions
from portal.simulator.engine.behaviours import describe
from portal.simulator.engine.callbacks import plain_number, two_decimals
from portal.simulator.engine.customers import customer
from portal.simulator.engine.organisations import numbers_of
from portal.simulator.engine.store import Store, instant

LEAST_PAYOUT_CENTS, MOST_PAYOUT_CENTS, MOST_HELD_CENTS = 10_00, 250_000_00, 500_000_00
_SUBMIT = "https://internalsandbox.safaricom.co.ke/mpesa/{}results/v1/submit"
Parameters = list[tuple[str, Any]]


class _Failed(Exception):
    """Ends a request with a result code."""

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(code)
        self.code, self.description = code, description or describe(code)


def settle_job(store: Store, payload: dict[str, Any]) -> None:
    """Carry out one request and owe its result, in one transaction. A second run finds it done."""
    with store.transaction():
        request = store.must("SELECT * FROM requests WHERE id = ?", payload["request_id"])
        if request["result_code"] is not None:
            return
        details = json.loads(request["body"])
        organisation = store.must("SELECT * FROM organisations WHERE id = ?", request["organisation_id"])
        shortcodes = numbers_of(organisation)
        parameters: Parameters = []
        transaction_id, code, description = receipts.filler_receipt(store.now()), "0", describe("0")
        try:
            if details["verdict"] != "0":
                raise _Failed(details["verdict"])
            if ordered := faults.take(store, "resultCode", shortcodes=shortcodes):
                raise _Failed(str(int(ordered.value or 17)))
            done = {"b2c": _pay_out, "reversal": _reverse, "status": _status, "balance": _balance}[request["kind"]]
            found_id, parameters = done(store, request, organisation, details)
            transaction_id = found_id or transaction_id
        except _Failed as failure:
            code, description = failure.code, failure.description
        store.run(
            "UPDATE requests SET result_code = ?, receipt = ? WHERE id = ?",
            code,
            transaction_id if parameters and request["kind"] in ("b2c", "reversal") else None,
            request["id"],
        )
        body = callbacks.result(
            code=code,
            description=description,
            conversation_id=request["conversation_id"],
            originator_id=request["originator_conversation_id"],
            transaction_id=transaction_id,
            parameters=parameters,
            reference=_reference(request["kind"], details),
        )
        _owe(store, request, details, body, shortcodes)


def _owe(
    store: Store, request: sqlite3.Row, details: dict[str, Any], body: dict[str, Any], shortcodes: set[str]
) -> None:
    names = {
        "b2c": "B2C",
        "reversal": "Reversal",
        "status": "Transaction status",
        "balance": "Account balance",
    }
    door, url = f"{names[request['kind']]} result", details["ResultURL"]
    if faults.take(store, "resultLost", shortcodes=shortcodes):
        return
    if faults.take(store, "timeoutInsteadOfResult", shortcodes=shortcodes):
        # No source shows this body; the ids are what a client can use. The request was carried out.
        url, door = details["QueueTimeOutURL"], f"{names[request['kind']]} timeout"
        body = callbacks.result(
            code="100000001",
            description="The request timed out in the queue.",
            conversation_id=request["conversation_id"],
            originator_id=request["originator_conversation_id"],
            transaction_id=receipts.filler_receipt(store.now()),
            reference=_reference(request["kind"], details),
        )
        body["Result"]["ResultType"] = 1
    store.add_job("post", {"url": url, "body": body, "door": door, "msisdn": details.get("msisdn", "")})


def _reference(kind: str, details: dict[str, Any]) -> dict[str, Any]:
    if kind == "status":
        occasion = details.get("occasion")
        return {"Key": "Occasion", "Value": occasion} if occasion else {"Key": "Occasion"}
    short = {"b2c": "b2c", "reversal": "reversal", "balance": "ab"}[kind]
    return {"Key": "QueueTimeoutURL", "Value": _SUBMIT.format(short)}


def _pay_out(store: Store, request: sqlite3.Row, payer: sqlite3.Row, details: dict[str, Any]) -> tuple[str, Parameters]:
    amount_cents, msisdn = details["amount_cents"], details["msisdn"]
    if payer["kind"] == "BANK":
        raise _Failed("2028")
    if amount_cents < LEAST_PAYOUT_CENTS:
        raise _Failed("2")
    if amount_cents > MOST_PAYOUT_CENTS:
        raise _Failed("3")
    if amount_cents > payer["utility_cents"]:
        raise _Failed("1")
    if customer(store, msisdn)["balance_cents"] + amount_cents > MOST_HELD_CENTS:
        raise _Failed("8")
    transaction = transactions.disburse(
        store,
        payer=payer,
        msisdn=msisdn,
        amount_cents=amount_cents,
        conversation_id=request["conversation_id"],
        originator_id=request["originator_conversation_id"],
    )
    after = store.must("SELECT * FROM organisations WHERE id = ?", payer["id"])
    completed = clock.nairobi(instant(transaction["at"]))
    return transaction["receipt"], [
        ("TransactionAmount", plain_number(amount_cents)),
        ("TransactionReceipt", transaction["receipt"]),
        ("ReceiverPartyPublicName", callbacks.party(msisdn, transaction["party"])),
        ("TransactionCompletedDateTime", f"{completed:%d.%m.%Y %H:%M:%S}"),
        ("B2CUtilityAccountAvailableFunds", after["utility_cents"] / 100),
        ("B2CWorkingAccountAvailableFunds", after["working_cents"] / 100),
        ("B2CRecipientIsRegisteredCustomer", "Y"),
        ("B2CChargesPaidAccountAvailableFunds", after["charges_cents"] / 100),
    ]


def _reverse(store: Store, request: sqlite3.Row, owner: sqlite3.Row, details: dict[str, Any]) -> tuple[str, Parameters]:
    original = _payment(store, details["receipt"], owner)
    if original is None or original["kind"] != "collection":
        raise _Failed("R000002")
    remaining_cents, amount_cents = transactions.remaining_cents(store, original), details["amount_cents"]
    if remaining_cents <= 0:
        raise _Failed("R000001")
    if amount_cents > remaining_cents:
        raise _Failed("25", "The amount is more than what is left of the original transaction.")
    if amount_cents > owner[f"{original['account']}_cents"]:
        raise _Failed("1")
    transaction = transactions.reverse(
        store,
        original,
        amount_cents=amount_cents,
        conversation_id=request["conversation_id"],
        originator_id=request["originator_conversation_id"],
    )
    name = "Merchant Account" if original["account"] == "working" else "Utility Account"
    balance = two_decimals(transaction["balance_cents"])
    return transaction["receipt"], [
        ("DebitAccountBalance", f"{name}|KES|{balance}|{balance}|0.00|0.00"),
        ("Amount", plain_number(amount_cents)),
        ("TransCompletedTime", int(clock.daraja_timestamp(instant(transaction["at"])))),
        ("OriginalTransactionID", original["receipt"]),
        ("Charge", 0),
        ("CreditPartyPublicName", callbacks.party(original["msisdn"], original["party"])),
        ("DebitPartyPublicName", callbacks.organisation_party(owner)),
    ]


def _status(store: Store, request: sqlite3.Row, owner: sqlite3.Row, details: dict[str, Any]) -> tuple[str, Parameters]:
    transaction = _payment(store, details["receipt"], owner) if details["receipt"] else None
    if transaction is None and details["looked_for"]:
        earlier = store.one(
            "SELECT * FROM requests WHERE ? IN (originator_conversation_id, conversation_id)"
            " AND organisation_id = ?"
            " AND kind IN ('b2c', 'reversal') ORDER BY id DESC LIMIT 1",
            details["looked_for"],
            owner["id"],
        )
        if earlier is not None and earlier["receipt"]:
            transaction = _payment(store, earlier["receipt"], owner)
        elif earlier is not None and earlier["result_code"] is not None:
            return "", _failed_request(earlier, owner)
    if transaction is None:
        raise _Failed("R000002")
    org, person = callbacks.organisation_party(owner), callbacks.party(transaction["msisdn"], transaction["party"])
    is_incoming = transaction["amount_cents"] > 0
    is_reversed = transaction["kind"] == "collection" and transactions.remaining_cents(store, transaction) <= 0
    time = int(clock.daraja_timestamp(instant(transaction["at"])))
    charge = store.one(
        "SELECT amount_cents FROM transactions WHERE receipt = ? AND role = 'charge'", transaction["receipt"]
    )
    return "", [
        ("DebitPartyName", person if is_incoming else org),
        ("CreditPartyName", org if is_incoming else person),
        ("OriginatorConversationID", transaction["originator_conversation_id"]),
        ("InitiatedTime", time),
        ("CreditPartyCharges", two_decimals(-charge["amount_cents"]) if charge and is_incoming else None),
        ("DebitAccountType", "MMF Account For Customer" if is_incoming else "Utility Account"),
        ("TransactionReason", None),
        ("ReasonType", reason_type(transaction)),
        ("TransactionStatus", "Reversed" if is_reversed else "Completed"),
        ("FinalisedTime", time),
        ("Amount", plain_number(abs(transaction["amount_cents"]))),
        ("ConversationID", transaction["conversation_id"]),
        ("ReceiptNo", transaction["receipt"]),
    ]


def _failed_request(earlier: sqlite3.Row, owner: sqlite3.Row) -> Parameters:
    details = json.loads(earlier["body"])
    return [
        ("DebitPartyName", callbacks.organisation_party(owner)),
        ("CreditPartyName", details.get("msisdn", "")),
        ("OriginatorConversationID", earlier["originator_conversation_id"]),
        ("InitiatedTime", int(clock.daraja_timestamp(instant(earlier["at"])))),
        ("TransactionReason", describe(earlier["result_code"])),
        ("TransactionStatus", "Failed"),
        ("Amount", plain_number(details.get("amount_cents", 0))),
        ("ConversationID", earlier["conversation_id"]),
        ("ReceiptNo", None),
    ]


def _balance(store: Store, request: sqlite3.Row, owner: sqlite3.Row, details: dict[str, Any]) -> tuple[str, Parameters]:
    first = "Merchant Account" if owner["kind"] == "BUYGOODS" else "Working Account"
    accounts = (
        (first, owner["working_cents"]),
        ("Float Account", 0),
        ("Utility Account", owner["utility_cents"]),
        ("Charges Paid Account", owner["charges_cents"]),
        ("Organization Settlement Account", 0),
    )
    lines = [f"{name}|KES|{two_decimals(amount)}|{two_decimals(amount)}|0.00|0.00" for name, amount in accounts]
    return "", [
        ("AccountBalance", "&".join(lines)),
        ("BOCompletedTime", int(clock.daraja_timestamp(store.now()))),
    ]


def _payment(store: Store, receipt: str, owner: sqlite3.Row) -> sqlite3.Row | None:
    """The organisation's own transaction with this receipt; other people's do not exist for it."""
    return store.one(
        "SELECT * FROM transactions WHERE receipt = ? AND role = 'payment' AND organisation_id = ?",
        receipt,
        owner["id"],
    )


def reason_type(transaction: sqlite3.Row) -> str:
    """M-Pesa's name for the kind of transaction, as status results and statements print it."""
    if transaction["kind"] == "disbursement":
        return "Business Payment to Customer via API"
    if transaction["kind"] == "reversal":
        return "Transaction Reversal via API"
    if transaction["account"] == "working":
        return "Customer Merchant Payment"
    return "Pay Bill Online" if transaction["channel"] == "STK" else "Pay Utility"
