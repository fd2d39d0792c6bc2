"""One row of the day: how it is shown, what may be done in it, and how the page learns that it changed."""

import secrets
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from flask import current_app, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from portal.audit import chain
from portal.clinic import appointments, invoices, people
from portal.clinic.models import Appointment
from portal.clinic.reception import arrivals, board, queue_tickets, shifts
from portal.clinic.reception.board import Row, View
from portal.gateways import result_codes
from portal.kernel import clock, money, personal, queue
from portal.kernel.db import transaction
from portal.kernel.errors import NotFound, Refused
from portal.kernel.phone import for_screens
from portal.payments import manual, status
from portal.payments.models import Payment, Push, Transaction
from portal.payments.states import PaymentState
from portal.payments.stk.push_states import OPEN, State
from portal.payments.stk.pushes import describe
from portal.staff import today
from portal.staff.appointments import is_now
from portal.users import permissions
from portal.users.permissions import (
    APPROVE_APPOINTMENTS,
    PLACE_MONEY,
    RECORD_MANUAL,
    REQUEST_PAYMENT,
    WORK_CLINIC,
)
from portal.web.language import said

KEY_DIGITS = 6
CHANGE_SHOWN = timedelta(minutes=1)
_RINGS = OPEN | {State.UNCONFIRMED}


@dataclass(frozen=True)
class Seen:
    """What the browser has: {row: its version} in the page's order, and the version of the strip of money.

    It travels as one word of letters, digits and hyphens, for a page of hundreds of rows asks every three seconds.
    """

    rows: dict[str, str] = field(default_factory=dict)
    money: str = ""

    @classmethod
    def read(cls, word: str) -> "Seen":
        """What this word says; nothing was seen where it is none of ours."""
        packed, _dot, money_version = word.partition(".")
        step = KEY_DIGITS + board.VERSION_DIGITS
        parts = [packed[at : at + step] for at in range(0, len(packed), step)]
        return cls({one[:KEY_DIGITS]: one[KEY_DIGITS:] for one in parts}, money_version)

    @classmethod
    def of(cls, versions: Sequence[tuple[str, str]], money_version: str) -> "Seen":
        return cls({key[:KEY_DIGITS]: version for key, version in versions}, money_version)

    def __str__(self) -> str:
        return "".join(f"{key}{version}" for key, version in self.rows.items()) + f".{self.money}"

    def with_row(self, row: Row) -> "Seen":
        """The same, once this row was exchanged."""
        key = row.key[:KEY_DIGITS]
        return Seen(self.rows | {key: board.version_of(row)} if key in self.rows else self.rows, self.money)


def seen_now(view: View) -> Seen:
    """What a page of this view shows at this moment."""
    others = zlib.crc32(repr(_my_shift()).encode())
    return Seen.of(board.versions(view), f"{today.money_version(g.tenant.id)}-{others}")


def changes(before: Seen, now: Seen, shown_rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a poll brings: `changed` rows, or None where others are on the list and all of them come."""
    if list(before.rows) != list(now.rows):
        return {"changed": None}
    other = {key for key, version in now.rows.items() if before.rows.get(key) != version}
    return {"changed": [one for one in shown_rows if one["key"][:KEY_DIGITS] in other]}


def _my_shift() -> tuple[int, int] | None:
    shift = shifts.of(g.tenant.id, current_user.id)
    return (shift.id, shift.float_cents) if shift else None


def may(permission: str) -> bool:
    """Whether who is signed in may do this here."""
    return permissions.allows(g.role, permission)


def shown(found: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows for their template, with what may be done in each by who is signed in."""
    undo, change = _undoable(found), _change(found)
    has_shift = shifts.of(g.tenant.id, current_user.id) is not None
    refused = g.get("refused", {})
    return [
        _shown(one, undo.get(one.key), has_shift=has_shift)
        | {"change_cents": change.get(one.key, 0)}
        | refused.get(one.key, {"problem": "", "typed": {}})
        for one in found
    ]


def says(row: dict[str, Any], words: str) -> bool:
    """Whether what was looked for stands in this row: a name, an invoice, an M-Pesa code, an amount, a number."""
    visit = row["visit"] or {}
    ticket = visit.get("ticket") or {}
    told = (
        row["patient"], row["number"], row["receipt"] or "", visit.get("clinician", ""),
        str(row["money"]["due_cents"] // money.CENTS), f"#{ticket.get('number', '')}",
    )  # fmt: skip
    said = " ".join(told).casefold()
    return all(one in said for one in words.casefold().replace(",", "").split())


def _change(found: Sequence[Row]) -> dict[str, int]:
    """{row: what is to be handed back} for a moment after cash was taken, by who is signed in: it stands in the row
    however often that changes meanwhile.
    """
    since = clock.now() - CHANGE_SHOWN
    last = {one.key: one.money[-1] for one in found if one.money}
    mine = {
        key: one
        for key, one in last.items()
        if one.channel == "cash" and one.recorded_by_id == current_user.id and one.created_at > since
    }
    change = shifts.change_of(mine.values())
    return {key: change[one.id] for key, one in mine.items() if one.id in change}


def _shown(row: Row, undo_money: dict[str, str] | None, *, has_shift: bool) -> dict[str, Any]:
    visit, payment = row.visit, row.payment
    return {
        "key": row.key,
        "is_bill": visit is None,
        "patient": people.name_of(visit.patient) if visit else invoices.payer_name(row.invoice),  # type: ignore[arg-type]
        "number": row.invoice.number if row.invoice else "",
        "money": _money(row),
        "push": _push(row.push) if row.push and payment and payment.state == PaymentState.OPEN else None,
        "receipt": row.receipt,
        "url": url_for("staff.patient", uid=visit.patient.uid) if visit else None,
        "invoice_url": url_for("staff.invoice", number=row.invoice.number) if row.invoice else None,
        "pay": _ways_to_pay(row, has_shift=has_shift),
        "receipt_urls": _receipt_urls(row),
        "undo_money": undo_money,
        "visit": _visit(visit, row) if visit else None,
        "form_key": secrets.token_hex(12),
    }


def _receipt_urls(row: Row) -> dict[str, str | None] | None:
    """Where the receipt is printed and sent; None where nothing is paid on it."""
    if row.invoice is None or not row.invoice.payment.allocated_cents:
        return None
    return {
        "print": url_for("staff.invoice_print", number=row.invoice.number),
        "send": url_for("staff.desk_send", token=row.invoice.payment.token) if may(WORK_CLINIC) else None,
    }


def _money(row: Row) -> dict[str, Any]:
    """Paid, a part of it, or due, at a glance."""
    payment, invoice = row.payment, row.invoice
    if payment is None or invoice is None:
        return {"word": None, "due_cents": 0}
    if invoice.voided_at:
        return {"word": "void", "due_cents": 0}
    if payment.state == PaymentState.PAID:
        return {"word": status.status_word(payment, None), "due_cents": 0}
    if payment.state != PaymentState.OPEN:
        return {"word": "void", "due_cents": 0}
    return {"word": "part_paid" if payment.allocated_cents else "due", "due_cents": payment.due_cents}


def _push(push: Push) -> dict[str, Any]:
    """The request on a phone, in the row that it is for."""
    failed = push.result_code if push.state not in (*_RINGS, State.SUCCEEDED) else None
    return {
        "state": push.state,
        "phone": describe(push),
        "at": push.sent_at or push.created_at,
        "why": result_codes.explain(failed).for_staff if failed else push.failure,
        "is_ringing": push.state in _RINGS,
    }


def _ways_to_pay(row: Row, *, has_shift: bool) -> dict[str, Any] | None:
    """What the desk can do about what is due; None where nothing is."""
    payment = row.payment
    if payment is None or payment.state != PaymentState.OPEN or (row.invoice and row.invoice.voided_at):
        return None
    token = payment.token
    return {
        "push_url": url_for("staff.desk_push", token=token) if may(REQUEST_PAYMENT) else None,
        "phone": _phone_shown(payment, row.push),
        "cash_url": url_for("staff.desk_cash", token=token) if may(RECORD_MANUAL) and has_shift else None,
        "shift_url": url_for("staff.shift") if may(RECORD_MANUAL) and not has_shift else None,
        "message_url": url_for("staff.desk_message", token=token) if may(PLACE_MONEY) else None,
        "page_url": url_for("pay.show", token=token),
    }


def _phone_shown(payment: Payment, push: Push | None) -> str:
    """The number that is asked where none is typed: the one asked last, else the payer's."""
    msisdn = personal.open_phone((push or payment).phone_sealed, payment.tenant_id)
    return for_screens(msisdn) if msisdn else ""


def _visit(visit: Appointment, row: Row) -> dict[str, Any]:
    def at(action: str, permission: str, *, when: bool) -> str | None:
        return url_for(f"staff.desk_{action}", uid=visit.uid) if when and may(permission) else None

    is_coming = visit.status in arrivals.COMING
    has_begun = visit.status == "started"
    is_in = visit.arrived_at is not None or visit.kind == "virtual"
    today_now = clock.nairobi(visit.starts_at).date() == clock.nairobi(clock.now()).date()
    ticket = row.ticket
    return {
        "uid": visit.uid,
        "starts_at": visit.starts_at,
        "day": clock.nairobi(visit.starts_at).date(),
        "ends_at": visit.ends_at,
        "clinician": visit.clinician.name,
        "service": visit.service.name if visit.service else "",
        "branch": visit.branch.name if visit.branch else "",
        "kind": visit.kind,
        "status": visit.status,
        "arrived_at": visit.arrived_at,
        "started_at": visit.started_at,
        "has_begun": has_begun,
        "is_attending": visit.attending_at is not None,
        "is_late": is_coming and today_now and visit.arrived_at is None and clock.now() > visit.starts_at,
        "ticket": {
            "number": ticket.number,
            "state": ticket.state,
            "room": ticket.room,
            "print_url": url_for("staff.ticket_print", uid=ticket.uid),
        }
        if ticket
        else None,
        "call_url": url_for("staff.ticket_call", uid=ticket.uid)
        if ticket and ticket.state in (queue_tickets.WAITING, queue_tickets.CALLED) and may(WORK_CLINIC)
        else None,
        "arrive_url": at("arrive", WORK_CLINIC, when=is_coming and today_now and not is_in),
        "undo_arrival_url": at("undo_arrival", WORK_CLINIC, when=is_coming and arrivals.may_undo(visit.arrived_at)),
        "approve_url": at("approve", APPROVE_APPOINTMENTS, when=visit.status == "pending_approval"),
        "decline_url": at("decline", APPROVE_APPOINTMENTS, when=visit.status == "pending_approval"),
        "start_url": at("start", WORK_CLINIC, when=_may_begin(visit)),
        "complete_url": at("complete", WORK_CLINIC, when=has_begun or (is_now(visit) and is_in)),
        "no_show_url": at("no_show", WORK_CLINIC, when=is_now(visit) and visit.arrived_at is None),
        "undo_url": at("undo", WORK_CLINIC, when=appointments.may_undo(visit)),
        "meeting_url": url_for("staff.meeting", uid=visit.uid)
        if visit.kind == "virtual" and visit.status in ("confirmed", "started")
        else None,
    }


def _may_begin(visit: Appointment) -> bool:
    """Whether the visit can begin: its patient is here, early or not; online, when its time comes."""
    is_in = visit.arrived_at is not None or (visit.kind == "virtual" and is_now(visit))
    return visit.status == "confirmed" and is_in


def _undoable(found: Sequence[Row]) -> dict[str, dict[str, str]]:
    """{row: how the last money in it is taken back} where who is signed in put it there moments ago."""
    undo: dict[str, dict[str, str]] = {}
    for row in found:
        payment, last = row.payment, row.money[-1] if row.money else None
        if payment is None or last is None or payment.refunded_cents or not _is_recent(payment, last):
            continue
        if last.provider == manual.PROVIDER:
            is_mine = last.recorded_by_id == current_user.id and may(RECORD_MANUAL)
        else:
            is_mine = may(PLACE_MONEY) and placed_by(payment, last) == f"user:{current_user.id}"
        if is_mine:
            undo_url = url_for("staff.desk_undo_money", token=payment.token)
            undo[row.key] = {"url": undo_url, "uid": last.uid, "is_cash": str(last.provider == manual.PROVIDER)}
    return undo


def _is_recent(payment: Payment, last: Transaction) -> bool:
    at = last.created_at if last.provider == manual.PROVIDER else payment.paid_at or last.created_at
    return arrivals.may_undo(at)


def placed_by(payment: Payment, last: Transaction) -> str | None:
    """Who gave this money to this payment, as the audit names them, where that was moments ago."""
    told = [
        one
        for one in chain.history(payment.tenant_id, ("payment", payment.id))
        if one.action in ("paid", "part_paid") and one.new == (last.receipt or "receipt to follow")
    ]
    return told[-1].actor if told and arrivals.may_undo(told[-1].created_at) else None


@dataclass(frozen=True)
class Done:
    """How it went. change_cents: to hand back."""

    sentence: str = ""
    change_cents: int = 0


def do(find: Callable[[], Row], work: Callable[[], Done], *, ring: queue.Job | None = None) -> ResponseReturnValue:
    """Do what a button of a row does, in one transaction; the row is shown again with how it went.

    find: the row, afterwards. What is refused stands in the row with what was typed, and nothing is changed.
    Raises NotFound.
    """
    done, problem = Done(), ""
    try:
        with transaction():
            done = work()
    except NotFound:
        raise
    except Refused as error:
        problem = said(error.message)
    else:
        if ring is not None:
            queue.enqueue(ring)
    row = find()
    if problem:
        g.refused = {row.key: {"problem": problem, "typed": request.form}}
    if "HX-Request" in request.headers:
        seen = Seen.read(request.form.get("seen", "")).with_row(row)
        page = render_template(
            "staff/reception/_answer.html",
            row=shown([row])[0],
            sentence=done.sentence,
            seen=str(seen),
            page=request.form.get("page", ""),
            day=request.form.get("day", ""),
        )
        return page, 422 if problem else 200
    if problem:  # without JavaScript the whole page comes back, with what was typed in its row
        whole: Any = current_app.view_functions[_page()]()
        return whole, 422
    if done.sentence:
        flash(done.sentence, "success")
    if done.change_cents:
        flash(money.format_kes(done.change_cents), "change")
    return redirect(_back_to(row), 303)


def _page() -> str:
    """The page that the form stood on."""
    return {"day": "staff.own_day", "week": "staff.own_week"}.get(request.form.get("page", ""), "staff.board")


def _back_to(row: Row) -> str:
    """The same, at its row."""
    day = request.form.get("day", "")[:10]
    is_day = len(day) == 10 and day.replace("-", "").isdecimal()
    return url_for(_page(), day=day if is_day else None, _anchor=f"row-{row.key}")
