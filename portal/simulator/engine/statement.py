"""An organisation's statement as CSV, in the three layouts that M-Pesa's portals export."""

import csv
import io
import sqlite3
from datetime import timedelta
from typing import Any

from portal.kernel import clock
from portal.simulator.engine.settlements import reason_type
from portal.simulator.engine.store import Store, instant

LEGACY = (
    "Receipt No.",
    "Completion Time",
    "Initiation Time",
    "Details",
    "Transaction Status",
    "Paid In",
    "Withdrawn",
    "Balance",
    "Balance Confirmed",
    "Reason Type",
    "Other Party Info",
    "Linked Transaction ID",
    "A/C No.",
    "Currency",
)
NEWER = (
    "Receipt No",
    "Completion Time",
    "Details",
    "Transaction Status",
    "Paid In (KSHs)",
    "Withdrawn (KSHs)",
    "Balance (KSHs)",
)
STORE = (
    "STORE_NAME",
    "RECEIPT_NUMBER",
    "ACCOUNT_TYPE_NAME",
    "TRANSACTION_TYPE",
    "START_TIMESTAMP",
    "TRANSACTION_PARTY_DETAILS",
    "CREDIT_AMOUNT",
    "DEBIT_AMOUNT",
    "BALANCE",
    "LINKED_TRANSACTION_ID",
)


def export(store: Store, organisation: sqlite3.Row, *, layout: str) -> tuple[str, str]:
    """(file name, text). layout: `1` organisation portal, `2` newer export, `3` till's daily extract."""
    account = "working" if organisation["kind"] == "BUYGOODS" else "utility"
    rows = store.all(
        "SELECT * FROM transactions WHERE organisation_id = ? AND account = ? ORDER BY at DESC, id DESC",
        organisation["id"],
        account,
    )
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    now = clock.nairobi(store.now())
    first = clock.nairobi(instant(rows[-1]["at"])) if rows else now - timedelta(days=1)
    shortcode = organisation["shortcode"]
    if layout == "1":
        _write_legacy(
            writer,
            organisation,
            rows,
            first_text=f"{first:%d-%m-%Y} 00:00:00",
            now_text=f"{now:%d-%m-%Y %H:%M:%S}",
        )
        name = f"{shortcode}_{now:%Y%m%d}.csv"
    elif layout == "3":
        _write_store(writer, organisation, rows)
        name = f"daily_{shortcode}_{now:%Y%m%d}.csv"
    else:
        _write_newer(writer, rows)
        name = f"Statements for {shortcode} from {first:%Y-%m-%d} to {now:%Y-%m-%d}.csv"
    return name, out.getvalue()


def _write_legacy(
    writer: Any,
    organisation: sqlite3.Row,
    rows: list[sqlite3.Row],
    *,
    first_text: str,
    now_text: str,
) -> None:
    paid_in = sum(row["amount_cents"] for row in rows if row["amount_cents"] > 0)
    withdrawn = sum(row["amount_cents"] for row in rows if row["amount_cents"] < 0)
    is_till = organisation["kind"] == "BUYGOODS"
    held = organisation["working_cents"] if is_till else organisation["utility_cents"]
    opening, closing = held - paid_in - withdrawn, held
    writer.writerow(["Account Holder:", organisation["name"]])
    writer.writerow(["Short Code:", organisation["shortcode"]])
    writer.writerow(["Account:", "Merchant Account" if is_till else "Utility Account"])
    writer.writerow(["Time Period:", f"From {first_text} To {now_text}"])
    writer.writerow(["Operator:", "simulator", "Organization:", organisation["name"], "Date of Report:", now_text])
    totals = {"Opening Balance:": opening, "Closing Balance:": closing, "Available Balance:": closing}
    totals |= {"Total Paid In:": paid_in, "Total Withdrawn:": withdrawn}
    writer.writerow([cell for label, value in totals.items() for cell in (label, _plain(value))])
    writer.writerow(LEGACY)
    for row in rows:
        time = f"{clock.nairobi(instant(row['at'])):%d-%m-%Y %H:%M:%S}"
        is_in = row["amount_cents"] > 0
        writer.writerow(
            [
                row["receipt"],
                time,
                time,
                _details(row),
                "Completed",
                _plain(row["amount_cents"]) if is_in else "",
                "" if is_in else _plain(row["amount_cents"]),
                _plain(row["balance_cents"]),
                "TRUE",
                _charge_name(row) if row["role"] == "charge" else reason_type(row),
                "SP" if row["role"] == "charge" else f"{_masked(row['msisdn'])} - {row['party']}",
                row["linked_receipt"],
                row["reference"],
                "KES",
            ]
        )


def _write_newer(writer: Any, rows: list[sqlite3.Row]) -> None:
    writer.writerow(NEWER)
    for row in rows:
        is_in = row["amount_cents"] > 0
        writer.writerow(
            [
                row["receipt"],
                f"{clock.nairobi(instant(row['at'])):%d/%m/%Y %H:%M:%S}",
                _details(row),
                "Completed",
                _grouped(row["amount_cents"]) if is_in else "",
                "" if is_in else _grouped(row["amount_cents"]),
                _grouped(row["balance_cents"]),
            ]
        )


def _write_store(writer: Any, organisation: sqlite3.Row, rows: list[sqlite3.Row]) -> None:
    writer.writerow(STORE)
    for row in rows:
        is_in = row["amount_cents"] > 0
        writer.writerow(
            [
                organisation["name"],
                row["receipt"],
                "Merchant Account" if row["account"] == "working" else "Utility Account",
                _charge_name(row) if row["role"] == "charge" else reason_type(row),
                f"{clock.nairobi(instant(row['at'])):%Y-%m-%d %H:%M:%S}",
                "SP" if row["role"] == "charge" else f"{_masked(row['msisdn'])} - {row['party']}",
                _plain(row["amount_cents"]) if is_in else "",
                "" if is_in else _plain(abs(row["amount_cents"])),
                _plain(row["balance_cents"]),
                row["linked_receipt"],
            ]
        )


def _details(row: sqlite3.Row) -> str:
    if row["role"] == "charge":
        return _charge_name(row)
    way = "to" if row["amount_cents"] < 0 else "from"
    kind = {"Pay Utility": "Pay Bill"}.get(reason_type(row), reason_type(row))
    account = f" Acc. {row['reference']}" if row["reference"] else ""
    return f"{kind} {way} {_masked(row['msisdn'])} - {row['party']}{account}"


def _charge_name(row: sqlite3.Row) -> str:
    return "Pay merchant Charge" if row["account"] == "working" else "Pay Bill Charge"


def _masked(msisdn: str) -> str:
    return f"{msisdn[:5]}****{msisdn[-3:]}"


def _plain(amount_cents: int) -> str:
    sign = "-" if amount_cents < 0 else ""
    return f"{sign}{abs(amount_cents) // 100}.{abs(amount_cents) % 100:02d}"


def _grouped(amount_cents: int) -> str:
    sign = "-" if amount_cents < 0 else ""
    return f"{sign}{abs(amount_cents) // 100:,}.{abs(amount_cents) % 100:02d}"
