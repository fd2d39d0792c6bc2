"""Reconciliation: a statement uploaded, its report, and the differences that people look into."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_login import current_user
from flask_wtf.file import FileField, FileRequired
from sqlalchemy import select
from wtforms import SelectField

from portal.audit import chain
from portal.gateways import daraja, settings
from portal.kernel import clock, personal, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.payments.models import Transaction
from portal.reconciliation import review, runs
from portal.reconciliation.files import MOST_BYTES, StatementError
from portal.reconciliation.models import Reconciliation, StatementRow
from portal.reconciliation.rows import BUCKETS, CREATED, FLAGGED
from portal.staff import buttons, reasons
from portal.staff.guard import actor, needs, read_id, read_row_id
from portal.staff.kept_forms import StaffForm
from portal.users import permissions, team
from portal.users.permissions import ACCEPT_STATEMENT, RECONCILE
from portal.web.downloads import csv_file
from portal.web.language import said

FORM_BYTES = 64 * 1024  # what the form's other fields may take beside the file
NAMES = {
    "matched": _l("Matched"),
    "created": _l("Was missing here"),
    "different": _l("Different"),
    "missing_there": _l("Missing at M-Pesa"),
    "internal": _l("M-Pesa's own"),
}
WOULD_BE_BOOKED = _l("Missing here")
KINDS = {
    "payment": _l("Payment"),
    "charge": _l("Charge"),
    "sweep": _l("To the bank"),
    "payout": _l("Paid out"),
    "reversal": _l("Reversal"),
}
HEADINGS = (
    _l("Row"), _l("Receipt"), _l("When"), _l("Kind"), _l("Account"), _l("Paid in"), _l("Withdrawn"), _l("Result"),
    _l("Why"), _l("Looked into by"), _l("Explained at"), _l("What was found out"),
)  # fmt: skip


class UploadForm(StaffForm):
    """A statement, and whose it is."""

    gateway = SelectField(_l("Paybill or till"))
    file = FileField(_l("Statement (CSV or Excel, at most 20 MB)"), [FileRequired(_l("Choose the statement."))])


def register_routes(bp: Blueprint) -> None:
    bp.url_value_preprocessor(_let_statements_in)
    bp.add_url_rule("/reconcile", "reconcile", list_reconciliations)
    bp.add_url_rule("/reconcile", "reconcile_upload", upload, methods=["POST"])
    bp.add_url_rule("/reconcile/list", "reconcile_list", compare_list, methods=["POST"])
    bp.add_url_rule("/reconcile/<uid>", "reconcile_report", report)
    bp.add_url_rule("/reconcile/<uid>/accept", "reconcile_accept", accept, methods=["POST"])
    bp.add_url_rule("/reconcile/<uid>.csv", "reconcile_csv", as_csv)
    bp.add_url_rule("/reconcile/<uid>/<int:row_id>/owner", "reconcile_assign", assign, methods=["POST"])
    bp.add_url_rule("/reconcile/<uid>/<int:row_id>/resolve", "reconcile_resolve", resolve, methods=["POST"])


def _let_statements_in(endpoint: str | None, _values: dict[str, Any] | None) -> None:
    """A statement is larger than any other form. Said before the form is first read, and to people signed in only."""
    if endpoint == "staff.reconcile_upload" and current_user.is_authenticated:
        request.max_content_length = MOST_BYTES + FORM_BYTES


def _form() -> UploadForm:
    form = UploadForm()
    form.gateway.choices = [
        (one.uid, f"{one.name} ({one.shortcode}{', ' + _('test') if one.is_sandbox else ''})")
        for one in settings.of_tenant(g.tenant.id)
    ]
    return form


@needs(RECONCILE)
def list_reconciliations() -> ResponseReturnValue:
    """The reports, newest first, and the form for another statement."""
    return _list(_form(), [])


def _list(form: UploadForm, problems: list[str], status_code: int = 200) -> ResponseReturnValue:
    found = review.latest(g.tenant.id, before_id=read_id("cursor"))
    names = team.names_of({one.made_by_id for one in found})
    page = render_template(
        "staff/reconcile.html",
        form=form,
        problems=problems,
        listing=[
            (one.uid, f"{one.name} ({one.shortcode})")
            for one in settings.of_tenant(g.tenant.id)
            if one.pull_registered_at and one.kind == "MPESA_API"
        ],
        reports=[_report(one) | {"by": names.get(one.made_by_id or 0, "–")} for one in found],
        buckets=NAMES,
        next_url=url_for("staff.reconcile", cursor=found[-1].id) if len(found) == 50 else None,
    )
    return page, status_code


def _report(made: Reconciliation) -> dict[str, Any]:
    return {
        "at": made.created_at,
        "gateway": made.gateway.name,
        "is_test": made.gateway.is_sandbox,
        "source": made.source,
        "since": made.since,
        "until": made.until,
        "counts": made.counts,
        "is_whole": runs.WHOLE in made.counts,
        "is_draft": made.is_draft,
        "to_review": review.open_differences(made),
        "url": url_for("staff.reconcile_report", uid=made.uid),
    }


@needs(RECONCILE)
def upload() -> ResponseReturnValue:
    """Compare a statement: a draft of what accepting it would book is shown, and nothing is booked."""
    form = _form()
    if not form.validate_on_submit():
        return _list(form, [], 422)
    gateway = settings.get_by_uid(g.tenant.id, form.gateway.data)
    name = form.file.data.filename or "statement"
    try:
        with form.file.data.stream as uploaded:  # a large one lies in a temporary file
            content = uploaded.read(MOST_BYTES + 1)
        statement = runs.read_statement(content, name=name, gateway=gateway)
    except StatementError as error:
        return _list(form, [said(sentence) for sentence in error.problems], 422)
    tenant_id = g.tenant.id
    made_id = runs.run(gateway.id, statement, user_id=current_user.id, actor=actor())
    return _to_report(tenant_id, made_id, "uploaded")


def _to_report(tenant_id: int, made_id: int, how: str) -> ResponseReturnValue:
    uid = db.session.scalar(select(Reconciliation.uid).where(Reconciliation.id == made_id))
    queue.enqueue(queue.PAID)
    with transaction():
        chain.record(tenant_id, "reconciliation", made_id, how, actor=actor())
    return redirect(url_for("staff.reconcile_report", uid=uid), 303)


@needs(RECONCILE)
def compare_list() -> ResponseReturnValue:
    """Compare with what M-Pesa itself lists of the last 48 hours, without a file."""
    gateway = settings.get_by_uid(g.tenant.id, request.form.get("gateway", ""))
    tenant_id = g.tenant.id
    try:
        made_id = runs.run_list(gateway.id, user_id=current_user.id, actor=actor())
    except (daraja.DarajaError, Refused) as error:
        flash(said(error.message), "danger")
        return redirect(url_for("staff.reconcile"), 303)
    if made_id is None:
        flash(_("M-Pesa lists nothing that is not here and compared already."), "success")
        return redirect(url_for("staff.reconcile"), 303)
    return _to_report(tenant_id, made_id, "listed")


@needs(ACCEPT_STATEMENT)
def accept(uid: str) -> ResponseReturnValue:
    """Believe a statement: what was missing here is booked and placed."""

    def work() -> str:
        runs.accept(review.by_uid(g.tenant.id, uid).id, user_id=current_user.id, actor=actor())
        queue.enqueue(queue.PAID)
        return _("Accepted: what was missing here is booked.")

    return buttons.do_outside(work, then=url_for("staff.reconcile_report", uid=uid))


def _draft(made: Reconciliation, counts: dict[str, int]) -> dict[str, Any] | None:
    """What a report that nobody accepted yet says of itself; None where all of it is booked."""
    if not made.is_draft:
        return None
    unproved = made.why_unproved
    may_accept = permissions.allows(g.role, ACCEPT_STATEMENT) and runs.WHOLE in made.counts and unproved is None
    return {
        "missing": counts[CREATED],
        "missing_cents": review.missing_cents(made),
        "unproved": said(unproved) if unproved else None,
        "was_cut_off": made.accepted_at is not None,
        "accept_url": url_for("staff.reconcile_accept", uid=made.uid) if may_accept else None,
    }


@needs(RECONCILE)
def report(uid: str) -> ResponseReturnValue:
    """One report: counts, business days, and its rows by bucket. Rows name payers, so the look is recorded."""
    made = review.by_uid(g.tenant.id, uid)
    with transaction():
        chain.record(g.tenant.id, "reconciliation", made.id, "looked_at", actor=actor())
    made = review.by_uid(g.tenant.id, uid)
    bucket = request.args.get("bucket", "")
    bucket = bucket if bucket in BUCKETS else ""
    rows = review.rows_of(made, bucket, after_id=read_id("after") or 0)
    names = team.names_of({row.owner_id for row in rows})
    money = review.transactions_of(rows)
    counts = runs.counts_of(made)
    return render_template(
        "staff/reconcile_report.html",
        report=_report(made),
        draft=_draft(made, counts),
        counts=[
            (one, _name(one, made), counts[one], url_for("staff.reconcile_report", uid=uid, bucket=one))
            for one in BUCKETS
        ],
        total=sum(counts.values()),
        all_url=url_for("staff.reconcile_report", uid=uid),
        bucket=bucket,
        days=review.days_of(made),
        kinds=KINDS,
        rows=[_row(row, made, names, money) for row in rows],
        people=[(one.id, one.name) for one in review.people(g.tenant.id)],
        csv_url=url_for("staff.reconcile_csv", uid=uid, bucket=bucket or None),
        next_url=url_for("staff.reconcile_report", uid=uid, bucket=bucket or None, after=rows[-1].id)
        if len(rows) == review.PAGE_ROWS
        else None,
    )


def _name(bucket: str, made: Reconciliation) -> str:
    return str(WOULD_BE_BOOKED if bucket == CREATED and made.is_draft else NAMES[bucket])


def _row(
    row: StatementRow, made: Reconciliation, names: dict[int, str], money: dict[int, Transaction]
) -> dict[str, Any]:
    item, uid = money.get(row.transaction_id or 0), made.uid
    return {
        "id": row.id,
        "number": row.row_number,
        "at": row.completed_at,
        "receipt": row.receipt,
        "kind": KINDS.get(row.kind, row.kind),
        "details": personal.open_text(row.details_sealed, row.tenant_id) or "",
        "account": row.account,
        "moved_cents": row.paid_in_cents - row.withdrawn_cents,
        "bucket": _name(row.bucket, made),
        "why": reasons.reason(row.why),
        "url": url_for("staff.payment", uid=item.uid) if item else None,
        "is_flagged": row.bucket in FLAGGED,
        "owner_id": row.owner_id,
        "owner": names.get(row.owner_id or 0, ""),
        "resolved_at": row.resolved_at,
        "resolution": row.resolution,
        "assign_url": url_for("staff.reconcile_assign", uid=uid, row_id=row.id),
        "resolve_url": url_for("staff.reconcile_resolve", uid=uid, row_id=row.id),
    }


@needs(RECONCILE)
def as_csv(uid: str) -> ResponseReturnValue:
    """The report's rows for a spreadsheet; cells that a spreadsheet would run are made text."""
    with transaction():
        review.by_uid(g.tenant.id, uid)
        chain.record(g.tenant.id, "tenant", g.tenant.id, "exported_reconciliation", actor=actor())
    rows = _csv_rows(review.by_uid(g.tenant.id, uid), request.args.get("bucket", ""))
    return csv_file(HEADINGS, rows, name=f"reconciliation-{uid[:8]}.csv")


def _csv_rows(made: Reconciliation, bucket: str) -> Iterator[list[object]]:
    names = {one.id: one.name for one in review.people(made.tenant_id)}
    for row in review.every_row_of(made, bucket):
        yield [
            row.row_number or "", row.receipt, _local(row.completed_at), KINDS.get(row.kind, row.kind), row.account,
            _shillings(row.paid_in_cents), _shillings(row.withdrawn_cents), _name(row.bucket, made),
            reasons.reason(row.why),
            names.get(row.owner_id or 0, ""), _local(row.resolved_at), row.resolution,
        ]  # fmt: skip


def _local(at: datetime | None) -> str:
    return f"{clock.nairobi(at):%Y-%m-%d %H:%M:%S}" if at else ""


def _shillings(amount_cents: int) -> str:
    return f"{amount_cents // 100}.{amount_cents % 100:02d}" if amount_cents else ""


@needs(RECONCILE)
def assign(uid: str, row_id: int) -> ResponseReturnValue:
    """Say who looks into a difference."""

    def work() -> str:
        owner_id = read_row_id(request.form.get("owner", "")) or 0
        review.assign(g.tenant.id, uid, row_id, owner_id=owner_id, actor=actor())
        return ""

    return buttons.do(work, then=_report_url(uid))


@needs(RECONCILE)
def resolve(uid: str, row_id: int) -> ResponseReturnValue:
    """Say what was found out about a difference."""

    def work() -> str:
        note = request.form.get("note", "")
        review.resolve(g.tenant.id, uid, row_id, note=note, user_id=current_user.id, actor=actor())
        return _("Noted. The difference counts as explained.")

    return buttons.do(work, then=_report_url(uid))


def _report_url(uid: str) -> str:
    """The report, at the bucket that its reader looked at."""
    bucket = request.form.get("bucket", "")
    return url_for("staff.reconcile_report", uid=uid, bucket=bucket if bucket in BUCKETS else None)
