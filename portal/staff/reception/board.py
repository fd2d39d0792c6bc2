"""The board: everybody of the day, who is here, who has paid, and the money as it arrives."""

from datetime import date, timedelta
from typing import Any

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user
from sqlalchemy import select

from portal.clinic import invoices
from portal.clinic.models import Appointment, Branch, Invoice
from portal.clinic.reception import board, queue_tickets, shifts
from portal.clinic.reception.board import View
from portal.gateways import messages
from portal.kernel import clock, queue
from portal.kernel.db import db
from portal.kernel.money import format_kes
from portal.kernel.phone import as_shown
from portal.payments import matching, placing, search
from portal.payments.models import Payment
from portal.payments.states import PaymentState
from portal.staff import audit_words, buttons, today
from portal.staff.guard import actor, needs
from portal.staff.reception import rows
from portal.staff.reception.rows import Seen, may
from portal.users.permissions import PLACE_MONEY, RECORD_MANUAL, SEE_CLINIC, SEE_MONEY, WORK_CLINIC

STRIP_ROWS, SUGGESTIONS = 12, 2
ONE_DAY = timedelta(days=1)


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/board", "board", show)
    bp.add_url_rule("/board/live", "board_live", live)
    bp.add_url_rule("/board/claim/<uid>", "desk_claim_page", claim_page)
    bp.add_url_rule("/board/claim/<uid>", "desk_claim", claim, methods=["POST"])


def read_day(given: str) -> date:
    """The day that the address names; today where it names none."""
    now = clock.nairobi(clock.now()).date()
    try:
        day = date.fromisoformat(given) if given else now
    except ValueError:
        return now
    return day if abs(day - now) < timedelta(days=3_660) else now


def _view() -> tuple[View, Branch | None]:
    wanted = request.args.get("branch", "")
    mine = select(Branch).where(Branch.tenant_id == g.tenant.id, Branch.uid == wanted)
    branch = db.session.scalars(mine).one_or_none() if wanted else None
    return View(g.tenant.id, read_day(request.values.get("day", "")), branch_id=branch.id if branch else None), branch


def branches(tenant_id: int) -> list[Branch]:
    """The places that are open, in their order."""
    mine = select(Branch).where(Branch.tenant_id == tenant_id, Branch.closed_at.is_(None))
    return list(db.session.scalars(mine.order_by(Branch.position, Branch.name)))


@needs(SEE_CLINIC, looks_at="appointments")
def show() -> ResponseReturnValue:
    """What the reception keeps open all day."""
    view, branch = _view()
    seen = rows.seen_now(view)
    return render_template("staff/reception/board.html", **_shown(view, branch, seen))


def _shown(view: View, branch: Branch | None, seen: Seen) -> dict[str, Any]:
    found = board.rows(view)
    now = clock.nairobi(clock.now()).date()
    desk = queue_tickets.desk_of(view.branch_id)
    places, items = branches(g.tenant.id), strip()

    def on(day: date, place: Branch | None = branch) -> str:
        return url_for("staff.board", day=None if day == now else day, branch=place.uid if place else None)

    words = request.args.get("q", "")[:60]
    place = branch.uid if branch else None
    return {
        "rows": [one for one in rows.shown(found) if rows.says(one, words)],
        "sums": board.sums(found),
        "seen": str(seen),
        "page": "board",
        "words": words,
        "place": place,
        "poll_url": url_for("staff.board_live", day=view.first, branch=place, q=words or None),
        "elsewhere_url": url_for("staff.payments", q=words) if words and may(SEE_MONEY) else None,
        "day": view.first,
        "is_today": view.first == now,
        "days": {
            "before": on(view.first - ONE_DAY),
            "after": on(view.first + ONE_DAY),
            "now": on(now),
            "same": on(view.first),
        },
        "places": [{"name": one.name, "url": on(view.first, one), "is_here": one is branch} for one in places],
        "everywhere_url": on(view.first, None) if branch else None,
        "shift": shifts.of(g.tenant.id, current_user.id),
        "items": items,
        "to_claim_cents": sum(one["unplaced_cents"] for one in items if one["claim_url"]),
        "may_work": may(WORK_CLINIC),
        "may_shift": may(RECORD_MANUAL),
        "walk_in_url": url_for("staff.new_invoice"),
        "screen_url": url_for(
            "queue.screen", slug=g.tenant.slug, token=queue_tickets.screen_token(g.tenant.id, desk),
            branch=branch.uid if branch else None,
        ),
    }  # fmt: skip


@needs(SEE_CLINIC, looks_at="appointments")
def live() -> ResponseReturnValue:
    """The rows that are different from what the page has, with sums and money; 204 where nothing is."""
    view, branch = _view()
    if "HX-Request" not in request.headers:
        return redirect(url_for("staff.board"), 302)
    before, now = Seen.read(request.args.get("seen", "")), rows.seen_now(view)
    if before == now:
        return "", 204
    page = _shown(view, branch, now)
    page |= rows.changes(before, now, page["rows"])
    page["has_new_money"] = before.money != now.money
    return render_template("staff/reception/_live.html", **page)


def strip() -> list[dict[str, Any]]:
    """Money as it arrives, each with what it is for; what has no home with what it may be for."""
    arrived = today.arrived_money(g.tenant.id, STRIP_ROWS)
    homeless = [one for one in arrived if one.unallocated_cents] if may(PLACE_MONEY) else []
    likely = matching.suggestions(homeless, most=SUGGESTIONS) if homeless else {}
    whose = _whose([payment for found in likely.values() for payment in found])
    return [
        item
        | {
            "unplaced_cents": one.unallocated_cents,
            "claim_url": url_for("staff.desk_claim", uid=one.uid) if one in homeless else None,
            "suggestions": [
                {"reference": payment.reference, "label": whose.get(payment.id) or audit_words.title_of(payment)}
                for payment in likely.get(one.id, [])
            ],
        }
        for one, item in zip(arrived, today.items_of(arrived), strict=True)
    ]


def _whose(payments: list[Payment]) -> dict[int, str]:
    """{payment: whose invoice it is, in the words of the board}"""
    ids = [one.id for one in payments]
    found = select(Invoice, Appointment).outerjoin(Appointment, Appointment.invoice_id == Invoice.id)
    rows_found = db.session.execute(found.where(Invoice.payment_id.in_(ids))).all() if ids else []
    return {invoice.payment_id: _named(invoice, visit) for invoice, visit in rows_found}


def _named(invoice: Invoice, visit: Appointment | None) -> str:
    name = invoices.payer_name(invoice)
    return f"{name}, {clock.nairobi(visit.starts_at):%H:%M}" if visit else name


@needs(PLACE_MONEY)
def claim_page(uid: str) -> ResponseReturnValue:
    """Whose money this is: everybody of today who owes, and what it may be for."""
    item = search.by_uid(g.tenant.id, uid)
    likely = matching.suggestions([item], most=5)[item.id]
    owing = [
        one
        for one in board.rows(View(g.tenant.id, read_day("")))
        if one.payment and one.payment.state == PaymentState.OPEN and one.payment.environment == item.environment
    ]
    first = {one.id for one in likely}
    todays = [one.payment for one in owing if one.payment and one.payment.id not in first]
    choices = [*likely, *todays]
    whose = _whose(choices)
    return render_template(
        "staff/reception/claim.html",
        item=today.items_of([item])[0] | {"unplaced_cents": item.unallocated_cents, "account": as_shown(item.account)},
        choices=[
            {
                "reference": one.reference,
                "label": whose.get(one.id) or audit_words.title_of(one),
                "due_cents": one.due_cents,
                "is_likely": one.id in first,
            }
            for one in choices
        ],
        action_url=url_for("staff.desk_claim", uid=uid),
        back_url=url_for("staff.board"),
    )


@needs(PLACE_MONEY)
def claim(uid: str) -> ResponseReturnValue:
    """This money is for that invoice. Of two who say so at once one is told that it is placed."""

    def work() -> str:
        reference = messages.normalise_account(request.form.get("reference", "")[:40])
        given_cents = placing.place(g.tenant.id, uid, reference, actor=actor())
        return _("%(amount)s placed on %(reference)s.", amount=format_kes(given_cents), reference=reference)

    return buttons.do(work, then=url_for("staff.board"), ring=queue.PAID)
