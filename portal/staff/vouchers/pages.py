"""The staff's pages of vouchers."""

from typing import Any

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from wtforms import IntegerField, SelectField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Length, NumberRange, Optional

from portal.hotspot import live, packages
from portal.hotspot.vouchers import batches, codes
from portal.hotspot.vouchers.models import VoucherBatch
from portal.hotspot.vouchers.states import REDEEMABLE, VoucherState
from portal.kernel.db import transaction
from portal.kernel.money import format_kes
from portal.staff import buttons
from portal.staff.guard import actor, needs, read_id
from portal.staff.kept_forms import StaffForm
from portal.staff.vouchers import sheet
from portal.users import team
from portal.users.permissions import WORK_HOTSPOT

STATES = {
    "made": _l("Made"),
    "sold": _l("Sold"),
    "redeemed": _l("Used"),
    "void": _l("Void"),
    "expired": _l("Expired"),
}


class BatchForm(StaffForm):
    """Vouchers to be made."""

    package = SelectField(_l("Package"))
    count = IntegerField(
        _l("How many"),
        [InputRequired(_l("Enter how many.")), NumberRange(1, batches.MOST_AT_ONCE, _l("From 1 to 1,000."))],
        default=40,
        description=_l("One sheet of A4 holds 40."),
    )
    shelf_days = IntegerField(
        _l("Good for so many days until they are used"),
        [InputRequired(_l("Enter the days.")), NumberRange(1, batches.LONGEST_SHELF_DAYS, _l("From 1 to 1,825."))],
        default=batches.SHELF_DAYS,
    )
    note = StringField(_l("For whom (optional)"), [Optional(), Length(max=80)])


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/vouchers", "vouchers", list_batches)
    bp.add_url_rule("/vouchers", "vouchers_make", make, methods=["POST"])
    bp.add_url_rule("/vouchers/code", "voucher_look", look_up)
    bp.add_url_rule("/vouchers/code/void", "voucher_void", void_code, methods=["POST"])
    bp.add_url_rule("/vouchers/<uid>", "voucher_batch", show_batch)
    bp.add_url_rule("/vouchers/<uid>/print", "voucher_print", print_batch)
    bp.add_url_rule("/vouchers/<uid>/void", "voucher_batch_void", void_batch, methods=["POST"])


def _form(*, is_new: bool = False) -> BatchForm:
    form = BatchForm(formdata=None) if is_new else BatchForm()
    form.package.choices = [
        SelectChoice(one.uid, f"{one.name}, {format_kes(one.price_cents)}") for one in packages.for_counter(g.tenant.id)
    ]
    return form


@needs(WORK_HOTSPOT)
def list_batches() -> ResponseReturnValue:
    """Batches, newest first, and what became of their codes."""
    return _listed(_form())


def _listed(form: BatchForm, status_code: int = 200) -> ResponseReturnValue:
    items, cursor = batches.page_of_batches(g.tenant.id, before_id=read_id("cursor"))
    counts, names = batches.counts_of(items), team.names_of(one.made_by_id for one in items)
    page = render_template(
        "staff/vouchers.html",
        form=form,
        rows=[_row(one, counts[one.id], names) for one in items],
        next_url=url_for("staff.vouchers", cursor=cursor) if cursor else None,
    )
    return page, status_code


def _row(batch: VoucherBatch, counts: dict[str, int], names: dict[int, str]) -> dict[str, Any]:
    return {
        "batch": batch,
        "made_by": names.get(batch.made_by_id or 0, ""),
        "used": counts.get("redeemed", 0),
        "unused": sum(counts.get(state, 0) for state in REDEEMABLE),
        "gone": counts.get("void", 0) + counts.get("expired", 0),
        "url": url_for("staff.voucher_batch", uid=batch.uid),
    }


@needs(WORK_HOTSPOT)
def make() -> ResponseReturnValue:
    """Make a batch, and show it."""
    form = _form()
    if not form.validate_on_submit():
        return _listed(form, 422)
    tenant_id, user_id, who = g.tenant.id, current_user.id, actor()
    with transaction():
        package = packages.for_sale(tenant_id, form.package.data)
        made = batches.make(
            package, form.count.data or 1, actor=who, user_id=user_id, note=form.note.data or "",
            shelf_days=form.shelf_days.data or batches.SHELF_DAYS,
        )  # fmt: skip
        uid = made.uid
    return redirect(url_for("staff.voucher_batch", uid=uid), 303)


@needs(WORK_HOTSPOT)
def show_batch(uid: str) -> ResponseReturnValue:
    """One batch: its codes, and what became of each."""
    batch = batches.get_batch(g.tenant.id, uid)
    return render_template(
        "staff/voucher_batch.html",
        batch=batch,
        vouchers=batches.vouchers_of(batch),
        states=STATES,
        papers=[(paper, url_for("staff.voucher_print", uid=uid, paper=paper)) for paper in sheet.PAPERS],
    )


@needs(WORK_HOTSPOT)
def print_batch(uid: str) -> ResponseReturnValue:
    """Those of its codes that nobody sold or used, on paper."""
    batch = batches.get_batch(g.tenant.id, uid)
    unsold = [one for one in batches.vouchers_of(batch) if one.state == VoucherState.MADE]
    return sheet.page(g.tenant, unsold, paper=request.args.get("paper", "a4"))


@needs(WORK_HOTSPOT)
def void_batch(uid: str) -> ResponseReturnValue:
    """Void what nobody sold or used: the sheet is lost."""
    tenant_id, who = g.tenant.id, actor()

    def work() -> str:
        batch = batches.get_batch(tenant_id, uid)
        count = batches.void_unsold(batch, why=request.form.get("reason", "")[:200].replace("\0", ""), actor=who)
        return _("%(count)s codes open nothing any more.", count=count)

    return buttons.do(work, then=url_for("staff.voucher_batch", uid=uid))


@needs(WORK_HOTSPOT)
def look_up() -> ResponseReturnValue:
    """One code that a customer shows: what it is, and what became of it. A receipt's leads to its pass."""
    typed = request.args.get("code", "")[:40]
    if not codes.normalise(typed):
        return redirect(url_for("staff.pass_", username=live.find(g.tenant.id, typed).username), 303)
    voucher = batches.get(g.tenant.id, typed)
    return render_template(
        "staff/voucher.html", voucher=voucher, opened=batches.grant_of(voucher), states=STATES,
        may_void=voucher.state in (*REDEEMABLE, VoucherState.REDEEMED),
    )  # fmt: skip


@needs(WORK_HOTSPOT)
def void_code() -> ResponseReturnValue:
    """Void one code: what it opened ends."""
    tenant_id, who, typed = g.tenant.id, actor(), request.form.get("code", "")[:40]

    def work() -> str:
        why = request.form.get("reason", "")[:200].replace("\0", "")
        batches.void(batches.get(tenant_id, typed), why=why, actor=who)
        return _("The code opens nothing any more.")

    return buttons.do(work, then=url_for("staff.voucher_look", code=typed))
