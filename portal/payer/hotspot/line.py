"""Home internet by account number: how a line stands and what renews it, without a sign-in.

Whoever types an account number sees no more than a paybill tells them: a name in initials, the package, until when it
is paid, and what to pay. Each number that is typed counts, right ones too: they are numbers in a row.
"""

from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from portal.gateways import client_factory
from portal.gateways.models import Gateway
from portal.hotspot.pppoe import lines
from portal.hotspot.pppoe.models import PppoeLine
from portal.kernel import personal, queue
from portal.kernel.db import transaction
from portal.kernel.errors import Refused
from portal.payer.forms import AccountForm, LinePayForm
from portal.payer.hotspot.device import bp, carried, site_id_of
from portal.payments.stk.prompt_limits import AskedFrom
from portal.tenants import find
from portal.tenants.models import Tenant
from portal.web.errors import tell_wait
from portal.web.language import said
from portal.web.limits import network, refuse_guessers, wrong_guess


@bp.get("/<slug>/line")
def line_page(slug: str) -> ResponseReturnValue:
    """Ask for the account number."""
    return _page(find.by_slug(slug, kind="hotspot"), AccountForm(formdata=None))


@bp.post("/<slug>/line")
def line(slug: str) -> ResponseReturnValue:
    """How the lines of this account stand."""
    tenant, form = find.by_slug(slug, kind="hotspot"), AccountForm()
    if not form.validate():
        return _page(tenant, form, status_code=422)
    found, refused = _lines_of(tenant, form)
    if refused is not None:
        return _page(find.by_slug(slug), form, status_code=refused)
    return _page(find.by_slug(slug), form, found=found)


@bp.post("/<slug>/line/pay")
def line_pay(slug: str) -> ResponseReturnValue:
    """Ask a phone for what renews this line; then the payment's own page."""
    tenant, account, form = find.by_slug(slug, kind="hotspot"), AccountForm(), LinePayForm()
    if not account.validate():
        return _page(tenant, account, status_code=422)
    found, refused = _lines_of(tenant, account)
    if refused is not None:
        return _page(find.by_slug(slug), account, status_code=refused)
    chosen = next((one for one in found if one.uid == form.line.data), None)
    if chosen is None or not form.validate():
        return _page(find.by_slug(slug), account, found=found, pay=form, status_code=422)
    line_id = chosen.id
    try:
        with transaction():
            asked_for = lines.ask(
                line_id, form.phone.msisdn, idempotency_key=form.idempotency_key.data or None,
                asked_from=AskedFrom(network()),
            )  # fmt: skip
            token = asked_for.token
    except Refused as error:
        form.form_errors.append(said(error.message))
        tell_wait(error)
        tenant = find.by_slug(slug)
        found = lines.of_account(tenant.id, account.account.data or "")
        return _page(tenant, account, found=found, pay=form, status_code=error.status)
    queue.enqueue(queue.SEND_PUSHES)
    queue.enqueue(queue.PAID)
    return redirect(url_for("pay.show", token=token), 303)


def _lines_of(tenant: Tenant, form: AccountForm) -> tuple[list[PppoeLine], int | None]:
    """(the account's lines, the status of the refusal where there are none or too many were asked for)."""
    tenant_id, account, site_id = tenant.id, form.account.data or "", site_id_of(tenant, carried())
    try:
        refuse_guessers("account", tenant_id, site_id=site_id)
    except Refused as error:
        form.form_errors.append(said(error.message))
        tell_wait(error)
        return [], error.status
    wrong_guess("account", tenant_id, site_id=site_id)
    found = lines.of_account(tenant_id, account)
    if not found:
        form.account.errors = [_("This account number is not known here. Check each digit.")]
        return [], 422
    return found, None


def _page(
    tenant: Tenant,
    form: AccountForm,
    *,
    found: list[PppoeLine] | None = None,
    pay: LinePayForm | None = None,
    status_code: int = 200,
) -> ResponseReturnValue:
    gateway = _gateway(tenant)
    environment = gateway.environment if gateway else "production"
    shown = [_shown(one, environment) for one in found or []]
    page = render_template(
        "hotspot/line.html",
        tenant=tenant,
        form=form,
        pay=pay or LinePayForm(formdata=None),
        chosen=pay.line.data if pay else "",
        lines=shown,
        by_hand=_by_hand(gateway, found[0], shown[0]["due_cents"]) if found and gateway else None,
        look_url=url_for("hotspot.line", slug=tenant.slug),
        pay_url=url_for("hotspot.line_pay", slug=tenant.slug),
        back_url=url_for("hotspot.portal", slug=tenant.slug, **carried()),
        test_mode=environment == "sandbox",
    )
    return page, status_code


def _shown(one: PppoeLine, environment: str) -> dict[str, object]:
    name = personal.open_text(one.customer.name_sealed, one.tenant_id) or ""
    due = lines.due_cents(one, environment)
    return {
        "uid": one.uid,
        "account": one.customer.account_number,
        "name": " ".join(word[0] + "•" * (len(word) - 1) for word in name.split()[:3]),
        "package": one.package,
        "state": one.state,
        "paid_until": one.paid_until,
        "due_cents": due or one.package.price_cents,
    }


def _by_hand(gateway: Gateway, one: PppoeLine, due_cents: object) -> dict[str, object] | None:
    if gateway.sub_kind == "BUYGOODS":
        return None
    return {
        "method": "paybill", "number": gateway.shortcode, "account": one.customer.account_number,
        "amount_cents": due_cents,
    }  # fmt: skip


def _gateway(tenant: Tenant) -> Gateway | None:
    try:
        return client_factory.choose(tenant.id, "pppoe")
    except Refused:
        return None
