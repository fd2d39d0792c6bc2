"""A receipt as pages and printers show it: one for the payer's page, the counter's paper and the message."""

from typing import Any

import segno
from flask import url_for
from flask_babel import gettext as _
from markupsafe import Markup

from portal.clinic.billing import credit_notes, discounts, receipts
from portal.clinic.billing.receipts import Received
from portal.clinic.models import Invoice
from portal.kernel.phone import as_shown
from portal.payments.models import Payment
from portal.users import team
from portal.web.links import public_url

PAPERS = ("a5", "58")
ROLLS_MM = (200, 240, 280, 320, 400, 520, 800)  # lengths of a roll's receipt, each a page of receipts.css


def verify_url(invoice: Invoice) -> str:
    """Where anybody sees whether a receipt of this invoice is genuine."""
    return public_url() + url_for("receipts.verify", token=invoice.verify_token)


def channel_word(channel: str) -> str:
    """How money came, in words."""
    by_hand = {
        "cash": _("Cash"), "bank": _("Bank transfer"), "card": _("Card"), "other": _("Other"),
        receipts.WALLET: _("Credit"),
    }  # fmt: skip
    return by_hand.get(channel, "M-Pesa")


def shown(payment: Payment, invoice: Invoice | None) -> dict[str, Any]:
    """What the receipt of this payment shows."""
    parts, lines = receipts.received(payment), _lines(payment, invoice)
    less = reductions(invoice) if invoice else []
    named = [str(one.receipt or _("to follow")) for one in parts if one.channel != receipts.WALLET]
    return {
        "number": ", ".join(named),
        "invoice_number": invoice.number if invoice else "",
        "reference": _("Invoice %(number)s", number=invoice.number) if invoice else payment.title or payment.reference,
        "paid_at": max((one.at for one in parts), default=payment.paid_at),
        "amount_cents": payment.allocated_cents,
        "balance_cents": 0 if invoice and invoice.voided_at else payment.due_cents,
        "lines": lines,
        "reductions": less,
        "payer_shown": next((as_shown(one.payer_shown) for one in parts if one.payer_shown), ""),
        "method": ", ".join(dict.fromkeys(channel_word(one.channel) for one in parts)) or "M-Pesa",
        "receipts": [_part(one) for one in parts],
        "sent_back": [
            {"amount_cents": cents, "receipt": receipt or "", "at": at}
            for cents, receipt, at in receipts.sent_back(payment)
        ],
        "is_void": bool(invoice and invoice.voided_at),
        "served_by": _served_by(invoice, parts) if invoice else "",
        "qr": qr_of(verify_url(invoice)) if invoice else None,
        "verify_url": verify_url(invoice) if invoice else "",
        "prints": invoice.prints if invoice else 0,
        "roll_mm": roll_mm([str(one["description"]) for one in lines], rows=len(less) + 2 * len(parts)),
    }


def roll_mm(descriptions: list[str], *, rows: int) -> int:
    """How long the paper of a roll must be: what it holds beside its lines takes 160 mm, each row of text some 6."""
    wrapped = sum(1 + len(one) // 18 for one in descriptions)
    needed = 160 + 6 * (wrapped + rows)
    return next((one for one in ROLLS_MM if one >= needed), ROLLS_MM[-1])


def _part(one: Received) -> dict[str, Any]:
    return {
        "receipt": _("Credit") if one.channel == receipts.WALLET else one.receipt or _("to follow"),
        "amount_cents": one.amount_cents,
        "at": one.at,
        "method": channel_word(one.channel),
    }


def _lines(payment: Payment, invoice: Invoice | None) -> list[dict[str, Any]]:
    if invoice is None:
        return [{"description": payment.title, "quantity": 1, "amount_cents": payment.amount_cents}]
    return [
        {"description": line.description, "quantity": line.quantity, "amount_cents": line.amount_cents}
        for line in invoice.lines
    ]


def reductions(invoice: Invoice) -> list[dict[str, Any]]:
    """Discounts that hold and credit notes, as they stand below the lines."""
    given = [one for one in discounts.of_invoice(invoice.id) if one.status == discounts.APPROVED]
    less = [{"what": _("Discount"), "amount_cents": one.amount_cents} for one in given]
    less += [
        {"what": _("Credit note %(number)s", number=one.number), "amount_cents": one.amount_cents}
        for one in credit_notes.of_invoice(invoice.id)
    ]
    off_cents = receipts.taken_off_cents(invoice)
    return less + ([{"what": _("Given back by the clinic's terms"), "amount_cents": off_cents}] if off_cents else [])


def _served_by(invoice: Invoice, parts: list[Received]) -> str:
    """Who took the money at the desk, else who made the invoice."""
    ids: list[int | None] = [one.recorded_by_id for one in parts if one.recorded_by_id] or [invoice.served_by_id]
    return ", ".join(dict.fromkeys(team.names_of(ids).values()))


def qr_of(link: str) -> Markup:
    """The picture of an address, to stand in a page."""
    drawn = segno.make(link, error="m", micro=False)
    return Markup(drawn.svg_inline(border=2, svgclass="qr", lineclass="qr-line", omitsize=True))  # noqa: S704 - segno's own
