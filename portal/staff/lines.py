"""One customer: wallet, lines with their time and what may be done about it, and what they bought at the hotspot."""

from datetime import datetime, time
from typing import Any

from flask import Blueprint, g, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from wtforms import BooleanField, IntegerField, SelectField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import Length, NumberRange, Optional

from portal.gateways import client_factory
from portal.hotspot.passes import standing
from portal.hotspot.pppoe import holds, lines, periods
from portal.hotspot.pppoe.models import LineState, PppoeLine
from portal.hotspot.sites import stays
from portal.kernel import clock, personal, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import NotFound, Refused
from portal.kernel.money import format_kes
from portal.kernel.phone import for_screens
from portal.notifications import quiet
from portal.payments.models import Customer
from portal.payments.wallets import customers, wallets
from portal.staff import buttons
from portal.staff.guard import actor, needs
from portal.staff.kept_forms import StaffForm
from portal.users import permissions
from portal.users.permissions import SEE_MONEY, WORK_HOTSPOT
from portal.web.language import said

WHY_HELD = {
    holds.PROMPT: _l("A prompt on their phone may still be answered."),
    holds.HOMELESS: _l("Money that may be theirs has arrived and has no home yet: place it."),
    holds.PASTED: _l("A message that they pasted waits to be checked."),
    holds.REPORTED: _l("Another system says that they paid: agree or refuse."),
    holds.UNREAD: _l("Payments have arrived that could not be read yet."),
    holds.BY_STAFF: _l("Put back on by staff."),
}
KINDS = {
    "credited": _l("Money came in"),
    "wallet_paid": _l("Paid from the wallet"),
    "wallet_put_back": _l("Put back into the wallet"),
    "credit_undone": _l("Credit taken back"),
    "reversed": _l("Reversed by M-Pesa"),
    "voided": _l("Void"),
}
LANGUAGES = {"en": "English", "sw": "Kiswahili"}
SHOWN = 12


class LineForm(StaffForm):
    """The terms of a line."""

    package = SelectField(_l("Package"), validate_choice=False)
    username = StringField(
        _l("User name"),
        [Optional(), Length(max=40)],
        description=_l("What their router dials in with. Left empty, it is made of the account number."),
    )
    grace_days = IntegerField(
        _l("Days of grace"),
        [Optional(), NumberRange(0, lines.MOST_GRACE_DAYS, _l("A whole number from 0 to 31."))],
        default=0,
        description=_l("How long it stays on after its time is over."),
    )
    locale = SelectField(_l("Messages in"), choices=[SelectChoice(*one) for one in LANGUAGES.items()])
    is_renewed = BooleanField(_l("Renew from the wallet without asking"), default=True)
    is_prompted = BooleanField(_l("They agreed: ask their phone the day before the end"))

    def wanted(self, tenant_id: int, before: PppoeLine | None = None) -> lines.Wanted:
        """What was chosen. before: the line that is changed; without a package chosen, it keeps its own.

        Raises NotFound.
        """
        keeps = before is not None and not self.package.data
        return lines.Wanted(
            before.package_id if before and keeps else lines.package_for(tenant_id, self.package.data or "").id,
            site_id=before.site_id if before else None,
            grace_days=self.grace_days.data or 0,
            is_renewed=self.is_renewed.data,
            is_prompted=self.is_prompted.data,
            locale=self.locale.data or "en",
        )


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/customers/<uid>", "customer", show)
    bp.add_url_rule("/customers/<uid>/lines", "customer_line", add, methods=["POST"])
    bp.add_url_rule("/customers/<uid>/reminders", "customer_reminders", remind, methods=["POST"])
    bp.add_url_rule("/lines/<uid>/change", "line_change", change, methods=["POST"])
    bp.add_url_rule("/lines/<uid>/promise", "line_promise", promise, methods=["POST"])
    bp.add_url_rule("/lines/<uid>/state", "line_state", state, methods=["POST"])
    bp.add_url_rule("/lines/<uid>/password", "line_password", password, methods=["POST"])
    bp.add_url_rule("/lines/<uid>/disconnect", "line_disconnect", disconnect, methods=["POST"])


@needs(SEE_MONEY, looks_at="customers")
def show(uid: str) -> ResponseReturnValue:
    """One customer."""
    return _page(customers.by_uid(g.tenant.id, uid), LineForm(formdata=None))


def _page(
    customer: Customer, form: LineForm, status_code: int = 200, *, shown: dict[str, str] | None = None
) -> ResponseReturnValue:
    tenant_id = g.tenant.id
    environment = client_factory.environment_of(tenant_id, "pppoe")
    msisdn = personal.open_phone(customer.phone_sealed, tenant_id)
    own = lines.of_customers(tenant_id, [customer.id])[customer.id]
    for_lines = lines.packages_for(tenant_id)
    form.package.choices = [(one.uid, f"{one.name}, {format_kes(one.price_cents)}") for one in for_lines]
    page = render_template(
        "staff/customer.html",
        customer=customer,
        name=personal.open_text(customer.name_sealed, tenant_id) or "–",
        phone=for_screens(msisdn) if msisdn else "–",
        balance_cents=wallets.balance_cents(customer, environment),
        entries=customers.entries(customer, environment, limit=SHOWN),
        kinds=KINDS,
        lines=[_line(one, environment) for one in own],
        packages=for_lines,
        passes=_passes(customer),
        form=form,
        shown=shown,
        is_quiet=quiet.is_quiet(tenant_id, customer.phone_hash),
        may_change=permissions.allows(g.role, WORK_HOTSPOT) and g.tenant.is_hotspot,
    )
    return page, status_code


def _line(line: PppoeLine, environment: str) -> dict[str, Any]:
    grant, used = line.grant, lines.usage(line)
    until = periods.on_until(line)
    return {
        "uid": line.uid,
        "username": grant.username,
        "package": line.package,
        "state": line.state,
        "paid_until": line.paid_until,
        "on_until": until if until and line.paid_until != until and line.state == LineState.ACTIVE else None,
        "promised_until": periods.promised_until(line),
        "held": WHY_HELD.get(line.held_why) if line.held_until and line.held_until > clock.now() else None,
        "due_cents": lines.due_cents(line, environment),
        "grace_days": line.grace_days,
        "is_renewed": line.is_renewed,
        "is_prompted": line.is_prompted,
        "locale": line.locale,
        "usage": used,
        "periods": [
            {
                "name": one.package.name, "starts_at": one.starts_at, "ends_at": one.ends_at,
                "amount_cents": one.payment.amount_cents, "url": url_for("pay.show", token=one.payment.token),
                "state": "void" if one.withdrawn_at else one.payment.state,
            }
            for one in periods.latest(line.id, most=SHOWN)
        ],
    }  # fmt: skip


def _passes(customer: Customer) -> list[dict[str, Any]]:
    if customer.phone_hash is None:
        return []
    return [
        {"username": one.username, "name": one.package.name, "starts_at": one.starts_at, "expires_at": one.expires_at}
        for one in standing.of_number(customer.tenant_id, customer.phone_hash)
    ]


@needs(WORK_HOTSPOT)
def add(uid: str) -> ResponseReturnValue:
    """A new line: its password is shown on the page that answers."""
    customer, form = customers.by_uid(g.tenant.id, uid), LineForm()
    if not form.validate_on_submit():
        return _page(customer, form, 422)
    try:
        with transaction():
            username = lines.read_username(form.username.data) if form.username.data else ""
            made = lines.create(
                customers.by_uid(g.tenant.id, uid), form.wanted(g.tenant.id), username=username, actor=actor()
            )
            shown = {"username": made.grant.username, "password": lines.password_of(made, actor=actor())}
    except Refused as error:
        form.form_errors.append(said(error.message))
        return _page(customers.by_uid(g.tenant.id, uid), form, error.status)
    queue.enqueue(queue.LINES)
    return _page(customers.by_uid(g.tenant.id, uid), LineForm(formdata=None), shown=shown)


@needs(WORK_HOTSPOT)
def remind(uid: str) -> ResponseReturnValue:
    """Whether they are reminded by SMS."""

    def work() -> str:
        customer = customers.by_uid(g.tenant.id, uid)
        is_quiet = request.form.get("quiet") == "1"
        if customer.phone_hash:
            quiet.set_quiet(g.tenant.id, customer.phone_hash, is_quiet=is_quiet)
        return _("They are reminded no more.") if is_quiet else _("They are reminded from now on.")

    return buttons.do(work, then=url_for("staff.customer", uid=uid))


def _of(uid: str) -> tuple[PppoeLine, str]:
    line = lines.by_uid(g.tenant.id, uid)
    return line, url_for("staff.customer", uid=line.customer.uid, _anchor=f"line-{uid}")


@needs(WORK_HOTSPOT)
def change(uid: str) -> ResponseReturnValue:
    """Other terms."""
    _found, then = _of(uid)
    form = LineForm()

    def work() -> str:
        if not form.validate():
            raise Refused(" ".join(str(one) for errors in form.errors.values() for one in errors))
        try:
            line = lines.by_uid(g.tenant.id, uid)
            wanted = form.wanted(g.tenant.id, line)
        except NotFound as error:
            raise Refused(error.message) from error
        lines.change(line.id, wanted, actor=actor())
        return _("Changed. Another package begins with the next period.")

    return buttons.do(work, then=then, ring=queue.LINES)


@needs(WORK_HOTSPOT)
def promise(uid: str) -> ResponseReturnValue:
    """A promise to pay, until the end of a day in Nairobi."""
    _found, then = _of(uid)

    def work() -> str:
        try:
            day = datetime.strptime(request.form.get("until", ""), "%Y-%m-%d").date()  # noqa: DTZ007 - a day has none
        except ValueError:
            raise Refused(_("Choose the day by which they will pay.")) from None
        until = datetime.combine(day, time(23, 59), clock.NAIROBI)
        lines.promise(lines.by_uid(g.tenant.id, uid).id, until, actor=actor())
        return _("On until %(day)s, though nothing is paid.", day=f"{until:%d/%m/%Y %H:%M}")

    return buttons.do(work, then=then, ring=queue.LINES)


@needs(WORK_HOTSPOT)
def state(uid: str) -> ResponseReturnValue:
    """Undo a walling, suspend, lift, close."""
    _found, then = _of(uid)
    step, why = request.form.get("step", ""), request.form.get("reason", "").replace("\0", "")

    def work() -> str:
        line_id = lines.by_uid(g.tenant.id, uid).id
        if step == "undo":
            lines.put_back_on(line_id, actor=actor())
            return _("On again for a day.")
        if step == "suspend":
            lines.suspend(line_id, why=why, actor=actor())
            return _("Suspended until you lift it, whatever is paid.")
        if step == "lift":
            lines.lift(line_id, actor=actor())
            return _("Lifted: the line is what its time says.")
        if step == "close":
            lines.close(line_id, actor=actor())
            return _("Closed. What is in the wallet stays there.")
        raise Refused(_("Choose what to do with the line."))

    return buttons.do(work, then=then, ring=queue.LINES)


@needs(WORK_HOTSPOT)
def password(uid: str) -> ResponseReturnValue:
    """The password once more, or a new one. The look is recorded."""
    line, _then = _of(uid)
    customer_uid, is_new = line.customer.uid, request.form.get("new") == "1"
    with transaction():
        line = lines.by_uid(g.tenant.id, uid)
        if is_new:
            lines.change_password(line.id, actor=actor())
            db.session.refresh(line.grant)
        shown = {"username": line.grant.username, "password": lines.password_of(line, actor=actor())}
    return _page(customers.by_uid(g.tenant.id, customer_uid), LineForm(formdata=None), shown=shown)


@needs(WORK_HOTSPOT)
def disconnect(uid: str) -> ResponseReturnValue:
    """End what is online now: the customer's router dials in again."""
    line, then = _of(uid)
    online = lines.usage(line).online
    stay_uid = (online.uid or online.accounting_id) if online else ""
    who = actor()

    def work() -> str:
        if not stay_uid:
            return _("Nothing is online on this line.")
        return said(stays.disconnect(g.tenant.id, stay_uid, actor=who).sentence)

    return buttons.do_outside(work, then=then)
