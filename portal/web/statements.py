"""A patient's statement as staff and the patient see it."""

from dataclasses import dataclass
from typing import Any

from flask import Response
from flask_babel import gettext as _

from portal.clinic.billing import statements
from portal.clinic.models import Patient
from portal.kernel import clock, money, personal
from portal.payments.wallets import wallets
from portal.web.downloads import csv_file
from portal.web.receipts import channel_word


@dataclass(frozen=True)
class Shown:
    """rows: {at, about, what, reference, amount_cents, balance_cents}. Totals in cents, without signs."""

    rows: list[dict[str, Any]]
    charged_cents: int
    off_cents: int
    paid_cents: int
    sent_back_cents: int
    due_cents: int
    credit_cents: int
    has_more: bool


def of_patient(patient: Patient, *, environment: str) -> Shown:
    """The statement of a patient, in the reader's language."""
    found = statements.of_patient(patient, environment=environment)
    rows: list[dict[str, Any]] = []
    balance_cents = 0
    for one in found.entries:
        balance_cents += one.amount_cents
        rows.append(
            {
                "at": one.at,
                "about": one.about,
                "what": _what(one),
                "reference": one.reference,
                "amount_cents": one.amount_cents,
                "balance_cents": balance_cents,
            }
        )
    return Shown(
        rows=rows,
        charged_cents=found.total_cents("charged"),
        off_cents=found.total_cents("discount", "credit_note", "taken_off", "void"),
        paid_cents=found.total_cents("paid"),
        sent_back_cents=found.total_cents("sent_back"),
        due_cents=found.due_cents,
        credit_cents=_credit(patient, environment),
        has_more=found.has_more,
    )


def _credit(patient: Patient, environment: str) -> int:
    msisdn = personal.open_phone(patient.phone_sealed, patient.tenant_id)
    customer = wallets.find_by_phone(patient.tenant_id, msisdn) if msisdn else None
    return wallets.balance_cents(customer, environment) if customer else 0


def _what(one: statements.Entry) -> str:
    words = {
        "charged": _("Invoice"),
        "discount": _("Discount"),
        "credit_note": _("Credit note"),
        "taken_off": _("Taken off: given back"),
        "void": _("Void"),
        "sent_back": _("Sent back"),
    }
    return words.get(one.kind) or _("Paid, %(method)s", method=channel_word(one.channel))


def csv(found: Shown) -> Response:
    """The rows for a spreadsheet; times on the clinic's clock."""
    rows = (
        (
            f"{clock.nairobi(one['at']):%Y-%m-%d %H:%M}",
            one["about"],
            one["what"],
            one["reference"],
            money.kes(one["amount_cents"]),
            money.kes(one["balance_cents"]),
        )
        for one in found.rows
    )
    heads = (_("Time"), _("Invoice"), _("What"), _("Reference"), _("Amount in KES"), _("Still due in KES"))
    return csv_file(heads, rows, name="statement.csv")
