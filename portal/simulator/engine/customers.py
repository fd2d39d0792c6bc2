"""The people with phones: a name, a balance, an inbox. Any Kenyan number exists as soon as it is used."""

import hashlib
import sqlite3
from datetime import timedelta
from typing import Any

from portal.kernel import clock
from portal.simulator.engine import behaviours
from portal.simulator.engine.store import Store

START_CENTS = 100_000_00
DAILY_LIMIT_CENTS = 500_000_00  # Safaricom's limit on what a customer sends in a day
_FIRST = ("WANJIRU", "OTIENO", "AMINA", "KAMAU", "NJERI", "BARAKA", "ACHIENG", "KIPCHOGE", "HALIMA", "MUTUA")
_LAST = (
    "MWANGI",
    "ODHIAMBO",
    "HASSAN",
    "KARIUKI",
    "WAFULA",
    "NDUTA",
    "CHEROTICH",
    "KILONZO",
    "OCHIENG",
    "MAINA",
)


def customer(store: Store, msisdn: str) -> sqlite3.Row:
    """The customer with this number, opened with KES 100,000 if it is new."""
    row = store.one("SELECT * FROM customers WHERE msisdn = ?", msisdn)
    if row is None:
        digest = hashlib.sha256(msisdn.encode()).digest()
        name = f"{_FIRST[digest[0] % len(_FIRST)]} {_LAST[digest[1] % len(_LAST)]}"
        store.run(
            "INSERT OR IGNORE INTO customers (msisdn, name, balance_cents) VALUES (?, ?, ?)",
            msisdn,
            name,
            START_CENTS,
        )
        row = store.must("SELECT * FROM customers WHERE msisdn = ?", msisdn)
    return row


def left_today_cents(store: Store, msisdn: str) -> int:
    """What the customer may still send before midnight in Nairobi."""
    midnight = clock.nairobi(store.now()).replace(hour=0, minute=0, second=0, microsecond=0)
    row = store.must(
        "SELECT coalesce(sum(amount_cents), 0) AS spent FROM transactions WHERE msisdn = ?"
        " AND at >= ? AND at < ?"
        " AND role = 'payment' AND kind = 'collection'",
        msisdn,
        midnight.timestamp(),
        (midnight + timedelta(days=1)).timestamp(),
    )
    return max(0, DAILY_LIMIT_CENTS - int(row["spent"]))


def send_sms(store: Store, msisdn: str, text: str) -> None:
    """Into the phone's inbox."""
    store.insert("messages", msisdn=msisdn, at=store.timestamp(), text=text)


def instruct(store: Store, msisdn: str, instruction: Any) -> None:
    """What the phone does with the next prompts; None: by its last two digits. Raises Refused if unknown."""
    read = None if instruction in (None, False, "") else behaviours.dump(behaviours.read_instruction(instruction))
    customer(store, msisdn)
    store.run("UPDATE customers SET instruction = ? WHERE msisdn = ?", read, msisdn)
