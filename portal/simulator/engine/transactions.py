"""Money that moves: one row, one receipt, balances that follow. Call inside `store.transaction()`."""

import sqlite3

from portal.simulator.engine import receipts, sms_text
from portal.simulator.engine.customers import customer, left_today_cents, send_sms
from portal.simulator.engine.store import Store, instant


def why_not(store: Store, msisdn: str, amount_cents: int) -> str | None:
    """Result code that stops the customer's payment: `1` no funds, `4` daily limit; None if nothing does."""
    if amount_cents > customer(store, msisdn)["balance_cents"]:
        return "1"
    return "4" if amount_cents > left_today_cents(store, msisdn) else None


def collection_charge_cents(amount_cents: int) -> int:
    """What the organisation is charged: nothing up to KES 200, then 0.55 %, at most KES 200."""
    return 0 if amount_cents <= 200_00 else min(200_00, amount_cents * 55 // 10_000)


def disbursement_charge_cents(amount_cents: int) -> int:
    """What the organisation is charged for paying out."""
    steps = ((1_500_00, 5_00), (5_000_00, 9_00), (20_000_00, 11_00))
    return next((charge for limit, charge in steps if amount_cents <= limit), 13_00)


def collect(
    store: Store,
    *,
    receiver: sqlite3.Row,
    msisdn: str,
    amount_cents: int,
    reference: str,
    channel: str,
    receipt: str = "",
) -> sqlite3.Row:
    """The customer's payment, booked, with its SMS. channel: `STK` or `HAND`. The caller has asked `why_not`.

    receipt: the number that the validation request named, if there was one.
    """
    payer = customer(store, msisdn)
    at, receipt = store.timestamp(), receipt or receipts.next_receipt(store)
    is_till = receiver["kind"] == "BUYGOODS"
    store.run("UPDATE customers SET balance_cents = balance_cents - ? WHERE msisdn = ?", amount_cents, msisdn)
    _book(
        store,
        receiver["id"],
        receipt=receipt,
        role="payment",
        kind="collection",
        channel=channel,
        account="working" if is_till else "utility",
        msisdn=msisdn,
        party=payer["name"],
        reference="" if is_till else reference,
        amount_cents=amount_cents,
        at=at,
    )
    charge_cents = collection_charge_cents(amount_cents)
    if charge_cents and receiver["kind"] != "BANK":
        _book(
            store,
            receiver["id"],
            receipt=receipt,
            role="charge",
            kind="charge",
            channel=channel,
            account="working" if is_till else "utility",
            msisdn=msisdn,
            party="SP",
            reference="",
            amount_cents=-charge_cents,
            at=at,
        )
    left_cents, payer = left_today_cents(store, msisdn), customer(store, msisdn)
    if is_till:
        text = sms_text.paid_till(
            receipt,
            amount_cents=amount_cents,
            business=receiver["name"],
            at=instant(at),
            balance_cents=payer["balance_cents"],
            left_cents=left_cents,
        )
    else:
        text = sms_text.paid_paybill(
            receipt,
            amount_cents=amount_cents,
            business=receiver["name"],
            account=reference,
            at=instant(at),
            balance_cents=payer["balance_cents"],
            left_cents=left_cents,
        )
    send_sms(store, msisdn, text)
    return store.must("SELECT * FROM transactions WHERE receipt = ? AND role = 'payment'", receipt)


def disburse(
    store: Store,
    *,
    payer: sqlite3.Row,
    msisdn: str,
    amount_cents: int,
    conversation_id: str,
    originator_id: str,
) -> sqlite3.Row:
    """The organisation's payment to a customer, booked, with its SMS. The caller has checked the balance."""
    receiver = customer(store, msisdn)
    at, receipt = store.timestamp(), receipts.next_receipt(store)
    store.run("UPDATE customers SET balance_cents = balance_cents + ? WHERE msisdn = ?", amount_cents, msisdn)
    _book(
        store,
        payer["id"],
        receipt=receipt,
        role="payment",
        kind="disbursement",
        channel="API",
        account="utility",
        msisdn=msisdn,
        party=receiver["name"],
        reference="",
        amount_cents=-amount_cents,
        at=at,
        conversation_id=conversation_id,
        originator_conversation_id=originator_id,
    )
    _book(
        store,
        payer["id"],
        receipt=receipt,
        role="charge",
        kind="charge",
        channel="API",
        account="charges",
        msisdn=msisdn,
        party="SP",
        reference="",
        amount_cents=-disbursement_charge_cents(amount_cents),
        at=at,
    )
    text = sms_text.received(
        receipt,
        amount_cents=amount_cents,
        business=payer["name"],
        at=instant(at),
        balance_cents=receiver["balance_cents"] + amount_cents,
    )
    send_sms(store, msisdn, text)
    return store.must("SELECT * FROM transactions WHERE receipt = ? AND role = 'payment'", receipt)


def remaining_cents(store: Store, original: sqlite3.Row) -> int:
    """What of a payment has not been reversed yet."""
    row = store.must(
        "SELECT coalesce(sum(amount_cents), 0) AS back FROM transactions"
        " WHERE linked_receipt = ? AND kind = 'reversal'",
        original["receipt"],
    )
    return int(original["amount_cents"]) + int(row["back"])


def reverse(
    store: Store, original: sqlite3.Row, *, amount_cents: int, conversation_id: str, originator_id: str
) -> sqlite3.Row:
    """Money of a collection on its way back, booked, with its SMS."""
    at, receipt = store.timestamp(), receipts.next_receipt(store)
    payer = customer(store, original["msisdn"])
    store.run(
        "UPDATE customers SET balance_cents = balance_cents + ? WHERE msisdn = ?",
        amount_cents,
        payer["msisdn"],
    )
    _book(
        store,
        original["organisation_id"],
        receipt=receipt,
        role="payment",
        kind="reversal",
        channel="API",
        account=original["account"],
        msisdn=payer["msisdn"],
        party=payer["name"],
        reference=original["reference"],
        amount_cents=-amount_cents,
        at=at,
        conversation_id=conversation_id,
        originator_conversation_id=originator_id,
        linked_receipt=original["receipt"],
    )
    text = sms_text.reversed_payment(
        receipt,
        original=original["receipt"],
        amount_cents=amount_cents,
        at=instant(at),
        balance_cents=payer["balance_cents"] + amount_cents,
    )
    send_sms(store, payer["msisdn"], text)
    return store.must("SELECT * FROM transactions WHERE receipt = ? AND role = 'payment'", receipt)


def _book(store: Store, organisation_id: int, *, account: str, amount_cents: int, **columns: object) -> int:
    """Change one account of an organisation and write the row; the account's new balance in cents."""
    column = {"utility": "utility_cents", "working": "working_cents", "charges": "charges_cents"}[account]
    before = store.must("SELECT * FROM organisations WHERE id = ?", organisation_id)
    balance_cents = int(before[column]) + amount_cents
    store.update("organisations", organisation_id, **{column: balance_cents})
    store.insert(
        "transactions",
        organisation_id=organisation_id,
        account=account,
        amount_cents=amount_cents,
        balance_cents=balance_cents,
        **columns,
    )
    return balance_cents
