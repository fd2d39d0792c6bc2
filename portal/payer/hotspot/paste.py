"""The door for who has paid by hand: the pasted M-Pesa message."""

from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from portal.hotspot import packages
from portal.hotspot.sms_purchases import Outcome
from portal.kernel.money import format_kes
from portal.payer.forms import PasteForm
from portal.payer.hotspot.device import bp, carried, device_of, is_test, site_id_of
from portal.payer.hotspot.front import by_hand, doors
from portal.tenants import find
from portal.tenants.models import Tenant
from portal.web import pasted_messages


def _paste_form(tenant: Tenant, *, is_new: bool = False) -> PasteForm:
    form = PasteForm(formdata=None) if is_new else PasteForm()
    form.package.choices = [("", _("What my payment covers"))] + [
        (one.uid, f"{one.name}, {format_kes(one.price_cents)}")
        for one in packages.on_sale(tenant.id, site_id=site_id_of(tenant, carried()))
    ]
    return form


def _pasted(tenant: Tenant, form: PasteForm, outcome: Outcome | None, status_code: int = 200) -> ResponseReturnValue:
    told = carried()
    page = render_template(
        "hotspot/sms.html",
        tenant=tenant,
        form=form,
        carried=told,
        form_action=url_for("hotspot.paste", slug=tenant.slug),
        outcome=outcome,
        test_mode=is_test(tenant),
        by_hand=by_hand(tenant),
        doors=doors(tenant, told, but="paste_page"),
    )
    return page, status_code


@bp.get("/<slug>/paid")
def paste_page(slug: str) -> ResponseReturnValue:
    """The door for who has paid by hand."""
    tenant = find.by_slug(slug, kind="hotspot")
    return _pasted(tenant, _paste_form(tenant, is_new=True), None)


@bp.post("/<slug>/paid")
def paste(slug: str) -> ResponseReturnValue:
    """Open the package if, and only if, the message's money is known to have arrived and is unused."""
    tenant = find.by_slug(slug, kind="hotspot")
    form = _paste_form(tenant)
    if not form.validate():
        return _pasted(tenant, form, None, 422)
    told = carried()
    device = device_of(tenant, told)
    outcome = pasted_messages.buy(
        tenant,
        form.package.data or "",
        form.sms_text.data,
        device,
        form.phone.msisdn or None,
        site_id=site_id_of(tenant, told),
    )
    if outcome.token:
        return redirect(url_for("hotspot.wait", slug=slug, token=outcome.token), 303)
    tenant = find.by_slug(slug)
    return _pasted(tenant, _paste_form(tenant), outcome, 422 if outcome.status == "rejected" else 200)
