"""The counter of a seller: big buttons, a drawer, and nothing else. What is sold there is a code for cash."""

import secrets
from collections.abc import Callable
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user

from portal.hotspot import packages
from portal.hotspot.vouchers import counter, drawers
from portal.hotspot.vouchers.models import Drawer, Voucher
from portal.kernel import queue
from portal.kernel.db import db, owned, transaction
from portal.kernel.errors import NotFound, Refused
from portal.staff import buttons
from portal.staff.guard import actor, needs, read_id
from portal.staff.vouchers import sheet
from portal.tenants.models import Tenant
from portal.users import permissions, team
from portal.users.permissions import SEE_MONEY, SELL_VOUCHERS, WORK_HOTSPOT
from portal.web.language import said

LONGEST_KEY = 80
SHOWN = 20


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/sell", "sell", counter_page)
    bp.add_url_rule("/sell", "sell_one", sell_one, methods=["POST"])
    bp.add_url_rule("/sell/printed", "sell_printed", sell_printed, methods=["POST"])
    bp.add_url_rule("/sell/open", "drawer_open", open_drawer, methods=["POST"])
    bp.add_url_rule("/sell/close", "drawer_close", close_page)
    bp.add_url_rule("/sell/close", "drawer_count", close_drawer, methods=["POST"])
    bp.add_url_rule("/sell/report", "drawer_own", own_report)
    bp.add_url_rule("/sell/codes/<uid>", "sold", sold_code)
    bp.add_url_rule("/sell/codes/<uid>/print", "sold_print", print_code)
    bp.add_url_rule("/drawers", "drawers", list_reports)
    bp.add_url_rule("/drawers/<int:number>", "drawer", one_report)


def _drawer() -> Drawer | None:
    return drawers.current(g.tenant.id, current_user.id)


@needs(SELL_VOUCHERS)
def counter_page() -> ResponseReturnValue:
    """One button a package; before that the drawer, which is opened with what lies in it."""
    drawer = _drawer()
    return render_template(
        "staff/sell.html",
        drawer=drawer,
        packages=packages.for_counter(g.tenant.id),
        sold=drawers.sold_in(drawer)[:SHOWN] if drawer else [],
        key=secrets.token_hex(16),
        last_report=drawers.latest_of(g.tenant.id, current_user.id),
    )


def _key() -> str:
    return f"sell/{current_user.id}/" + (request.form.get("key") or secrets.token_hex(16))[:LONGEST_KEY]


@needs(SELL_VOUCHERS)
def open_drawer() -> ResponseReturnValue:
    """Begin with what lies in the drawer."""
    tenant_id, user_id, who = g.tenant.id, current_user.id, actor()

    def work() -> str:
        float_cents = drawers.read_cash(request.form.get("float", ""))
        drawers.open_drawer(tenant_id, user_id, float_cents=float_cents, actor=who)
        return ""

    return buttons.do(work, then=url_for("staff.sell"))


@needs(SELL_VOUCHERS)
def sell_one() -> ResponseReturnValue:
    """A new code for cash."""
    uid = request.form.get("package", "")
    return _sell(
        lambda tenant, drawer, **who: counter.sell(tenant, drawer, packages.for_sale(tenant.id, uid), **who),
    )


@needs(SELL_VOUCHERS)
def sell_printed() -> ResponseReturnValue:
    """A code from a printed sheet, for cash."""
    typed = request.form.get("code", "")[:40]
    return _sell(lambda tenant, drawer, **who: counter.sell_printed(tenant, drawer, typed, **who))


def _sell(work: Callable[..., Voucher]) -> ResponseReturnValue:
    tenant_id, user_id, who, key = g.tenant.id, current_user.id, actor(), _key()
    try:
        with transaction():
            drawer = drawers.current(tenant_id, user_id)
            if drawer is None:
                raise Refused(_("Open your drawer first."))
            voucher = work(db.session.get_one(Tenant, tenant_id), drawer, user_id=user_id, actor=who, key=key)
            uid = voucher.uid
    except Refused as error:
        flash(said(error.message), "danger")
        return redirect(url_for("staff.sell"), 303)
    queue.enqueue(queue.PAID)
    return redirect(url_for("staff.sold", uid=uid), 303)


def _own(uid: str) -> Voucher:
    """A voucher that this person sold; anybody's for who works at the hotspot. Raises NotFound."""
    voucher = owned(Voucher, g.tenant.id, uid=uid)
    drawer = db.session.get(Drawer, voucher.drawer_id) if voucher.drawer_id else None
    is_own = drawer is not None and drawer.user_id == current_user.id
    if not is_own and not permissions.allows(g.role, WORK_HOTSPOT):
        raise NotFound(_("There is no such code here. Check each letter."))
    return voucher


@needs(SELL_VOUCHERS)
def sold_code(uid: str) -> ResponseReturnValue:
    """The code that was sold, as large as it can be, and its slip."""
    voucher = _own(uid)
    return render_template("staff/sold.html", voucher=voucher, qr=sheet.qr_of(g.tenant, voucher))


@needs(SELL_VOUCHERS)
def print_code(uid: str) -> ResponseReturnValue:
    """Its slip, for paper of 58 or 80 mm, or A4."""
    return sheet.page(g.tenant, [_own(uid)], paper=request.args.get("paper", "58"))


@needs(SELL_VOUCHERS)
def close_page() -> ResponseReturnValue:
    """The count: what should be there is told afterwards."""
    return render_template("staff/drawer_close.html", drawer=_drawer())


@needs(SELL_VOUCHERS)
def close_drawer() -> ResponseReturnValue:
    """Count, close, and see the report."""
    tenant_id, user_id, who = g.tenant.id, current_user.id, actor()
    try:
        with transaction():
            drawer = drawers.current(tenant_id, user_id)
            if drawer is None:
                raise Refused(_("This drawer is closed already."))
            counted_cents = drawers.read_cash(request.form.get("counted", ""))
            note = request.form.get("note", "").replace("\0", "")
            drawers.close(drawer, counted_cents=counted_cents, note=note, actor=who)
    except Refused as error:
        flash(said(error.message), "danger")
        return redirect(url_for("staff.drawer_close"), 303)
    return redirect(url_for("staff.drawer_own"), 303)


@needs(SELL_VOUCHERS)
def own_report() -> ResponseReturnValue:
    """The last report of who is signed in."""
    report = drawers.latest_of(g.tenant.id, current_user.id)
    if report is None:
        return redirect(url_for("staff.sell"), 303)
    return render_template("staff/drawer.html", report=report, seller=current_user.name)


@needs(SEE_MONEY)
def list_reports() -> ResponseReturnValue:
    """What was counted, drawer by drawer."""
    items, cursor = drawers.reports(g.tenant.id, before_id=read_id("cursor"))
    names = team.names_of(one.user_id for one in items)
    return render_template(
        "staff/drawers.html",
        rows=[_row(one, names) for one in items],
        next_url=url_for("staff.drawers", cursor=cursor) if cursor else None,
    )


def _row(report: Any, names: dict[int, str]) -> dict[str, Any]:
    return {
        "report": report,
        "seller": names.get(report.user_id, ""),
        "url": url_for("staff.drawer", number=report.number),
    }


@needs(SEE_MONEY)
def one_report(number: int) -> ResponseReturnValue:
    """One report, as it was counted."""
    report = drawers.report(g.tenant.id, number)
    return render_template(
        "staff/drawer.html", report=report, seller=team.names_of([report.user_id]).get(report.user_id)
    )
