"""What a business brings from its earlier system: customers with their balances, open invoices, payments of the past.

Three CSV files, each with a heading line, with commas or semicolons:
    customers      name, phone, balance (KES that they have with the business; may be empty)
    invoices       number, name, phone (may be empty), description, amount (KES)
    transactions   receipt, amount (KES), phone (may be empty), account (may be empty), time (2026-11-21 14:05, Nairobi)

Everything is checked before anything is written, and every mistake is named with its file and line. What is written
is found again by its phone, number or receipt, so the same files, or corrected ones, change nothing twice. Balances
and past payments are test money or real money, as the business takes it on that day: brought in test mode, they are
brought again after going live.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from portal.audit import chain
from portal.clinic import invoices
from portal.gateways import client_factory, messages
from portal.kernel import clock, money
from portal.kernel.db import transaction
from portal.kernel.errors import Refused
from portal.kernel.phone import normalise_msisdn
from portal.payments import imported_payments, matching
from portal.payments.booking import IncomingPayment
from portal.payments.wallets import wallets
from portal.tenants.models import Tenant

HEADINGS = {
    "customers": ("name", "phone", "balance"),
    "invoices": ("number", "name", "phone", "description", "amount"),
    "transactions": ("receipt", "amount", "phone", "account", "time"),
}
MAY_BE_EMPTY = {"balance", "phone", "account"}
MOST_ROWS, BATCH_ROWS, MOST_PROBLEMS = 200_000, 200, 50
_NUMBER = re.compile(r"[A-Z0-9]{3,9}", re.ASCII)
_OUR_NAMES = re.compile(r"C[0-9]+", re.ASCII)  # what a payer types to pay into a wallet
_RECEIPT = re.compile(r"[A-Z0-9]{8,12}", re.ASCII)
Row = dict[str, Any]


@dataclass
class Plan:
    """What the files hold, row by row, and what is wrong with them: nothing is written while something is."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        return ", ".join(f"{len(rows)} {kind}" for kind, rows in self.rows.items()) or "nothing"


def check(tenant: Tenant, files: dict[str, bytes]) -> Plan:
    """Read and check these files (kind -> content). Writes nothing."""
    plan = Plan()
    for kind in (kind for kind in HEADINGS if kind in files):
        plan.rows[kind] = []
        seen: set[str] = set()
        for line, given in _lines(kind, files[kind], plan.problems):
            row = _read(kind, line, given, plan.problems)
            if row is None:
                continue
            if row["key"] in seen:
                plan.problems.append(f"{kind}, line {line}: {given[_key_of(kind)]} is there twice.")
            seen.add(row["key"])
            plan.rows[kind].append(row)
    plan.problems += _beyond_us(tenant, plan.rows)
    return plan


def is_test(tenant: Tenant) -> bool:
    """Whether what is brought now counts as test money."""
    return client_factory.environment_of(tenant.id) == "sandbox"


def write(tenant: Tenant, plan: Plan, *, actor: str) -> dict[str, int]:
    """Write it in batches, each in its own transaction; how many of each kind were new. Raises Refused."""
    if plan.problems:
        raise Refused("Nothing was written: first correct what is wrong.", code="invalid_file")
    new = dict.fromkeys(plan.rows, 0)
    for kind, rows in plan.rows.items():
        for start in range(0, len(rows), BATCH_ROWS):
            with transaction():
                new[kind] += sum(_WRITERS[kind](tenant, row, actor) for row in rows[start : start + BATCH_ROWS])
    with transaction():
        chain.record(tenant.id, "tenant", tenant.id, "imported", actor=actor, details=dict(new))
    return new


def _lines(kind: str, content: bytes, problems: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        problems.append(f"{kind}: this is no CSV file in UTF-8.")
        return
    first = text.partition("\n")[0]
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=";" if first.count(";") > first.count(",") else ","
    )
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
    if missing := [name for name in HEADINGS[kind] if name not in reader.fieldnames]:
        problems.append(f"{kind}: the heading {', '.join(missing)} is missing. It needs {', '.join(HEADINGS[kind])}.")
        return
    try:
        for number, given in enumerate(reader, 2):
            if number > MOST_ROWS:
                problems.append(f"{kind}: more than {MOST_ROWS} lines. Split the file.")
                return
            if any((value or "").strip() for value in given.values() if not isinstance(value, list)):
                yield number, {name: (given.get(name) or "").strip() for name in HEADINGS[kind]}
    except csv.Error as error:
        problems.append(f"{kind}: not a CSV file: {error}.")


def _key_of(kind: str) -> str:
    return {"customers": "phone", "invoices": "number", "transactions": "receipt"}[kind]


def _read(kind: str, line: int, given: dict[str, str], problems: list[str]) -> Row | None:
    """The row with its values, or None and a sentence for each mistake."""
    row: Row = {}
    wrong = [
        f"{name}: fill it in."
        for name in HEADINGS[kind]
        if not given[name] and name not in MAY_BE_EMPTY - {_key_of(kind)}
    ]
    for name, text in given.items():
        if not text:
            row[name] = None
            continue
        try:
            row[name] = _VALUES.get(name, _text)(text)
        except (Refused, ValueError) as error:
            wrong.append(f"{name}: {error}")
    problems += [f"{kind}, line {line}: {sentence}" for sentence in wrong]
    row["key"] = row.get(_key_of(kind))
    return None if wrong else row


def _text(text: str) -> str:
    return text.replace("\0", "")[:80]


def _amount(text: str) -> int:
    amount_cents = money.cents(text)
    if amount_cents <= 0:
        raise ValueError("more than 0, please.")
    return amount_cents


def _balance(text: str) -> int:
    balance_cents = money.cents(text)
    if balance_cents < 0:
        raise ValueError("a debt is no balance: bring it as an open invoice.")
    return balance_cents


def _number(text: str) -> str:
    number = messages.normalise_account(text)
    if not _NUMBER.fullmatch(number):
        raise ValueError("3 to 9 letters and digits, as a payer types it.")
    return number


def _receipt(text: str) -> str:
    receipt = text.upper()
    if not _RECEIPT.fullmatch(receipt):
        raise ValueError("8 to 12 letters and digits, such as UKL1ABCD23.")
    return receipt


def _time(text: str) -> datetime:
    for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%d/%m/%Y %H:%M", "%d-%m-%Y %H:%M:%S", "%Y-%m-%dT%H:%M:%S"):
        try:
            at = datetime.strptime(text, form).replace(tzinfo=clock.NAIROBI)
        except ValueError:
            continue
        if at > clock.now():
            raise ValueError("it has not come yet.")
        return at
    raise ValueError("write it like 2026-11-21 14:05.")


_VALUES: dict[str, Callable[[str], Any]] = {
    "phone": normalise_msisdn, "balance": _balance, "amount": _amount, "number": _number, "receipt": _receipt,
    "time": _time,
}  # fmt: skip


def _beyond_us(tenant: Tenant, rows: dict[str, list[Row]]) -> list[str]:
    """What is right in itself and cannot be written here."""
    found = []
    for purpose in ("", "clinic"):
        try:
            client_factory.choose(tenant.id, purpose)
        except Refused as error:
            return [f"{tenant.slug}: {error}"]
    for row in rows.get("invoices", []):
        if _OUR_NAMES.fullmatch(row["number"]):
            found.append(f"invoices: {row['number']} is how customers' accounts are called. Give it another number.")
        try:
            money.payable_cents(money.kes(row["amount"]), limit_cents=tenant.push_limit_cents)
        except Refused as error:
            found.append(f"invoices: {row['number']}: {error}")
        known = matching.named(tenant.id, row["number"])
        if known is not None and (known.purpose != "clinic" or known.amount_cents != row["amount"]):
            found.append(f"invoices: {row['number']} is something else here already. Give it another number.")
    return found


def _write_customer(tenant: Tenant, row: Row, _actor: str) -> bool:
    is_new = wallets.find_by_phone(tenant.id, row["phone"]) is None
    customer = wallets.customer_of_phone(tenant.id, row["phone"], name=row["name"])
    if row["balance"]:
        imported_payments.open_balance(customer, client_factory.choose(tenant.id, "").environment, row["balance"])
    return is_new


def _write_invoice(tenant: Tenant, row: Row, actor: str) -> bool:
    if matching.named(tenant.id, row["number"]) is not None:
        return False
    line = {"kind": "other", "description": row["description"], "amount": money.kes(row["amount"])}
    payer = {"name": row["name"], "phone": row["phone"] or ""}
    invoices.issue(tenant, lines=[line], payer=payer, number=row["number"], actor=actor)
    return True


def _write_transaction(tenant: Tenant, row: Row, actor: str) -> bool:
    incoming = IncomingPayment(
        channel=imported_payments.CHANNEL,
        amount_cents=row["amount"],
        occurred_at=row["time"],
        receipt=row["receipt"],
        account=row["account"] or "",
        msisdn=row["phone"],
    )
    return imported_payments.record_past(client_factory.choose(tenant.id, ""), incoming, actor=actor)


_WRITERS: dict[str, Callable[[Tenant, Row, str], bool]] = {
    "customers": _write_customer, "invoices": _write_invoice, "transactions": _write_transaction,
}  # fmt: skip
