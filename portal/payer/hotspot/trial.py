"""The door to a free trial: a phone that shows by an SMS that it is there, once."""

from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import get_locale
from flask_babel import gettext as _

from portal.hotspot import packages, trials
from portal.hotspot.models import AccessGrant
from portal.hotspot.passes import devices
from portal.kernel import queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.payer.forms import NumberForm, PhoneCodeForm
from portal.payer.hotspot import passes
from portal.payer.hotspot.device import bp, carried, device_of, is_test, site_id_of
from portal.payer.hotspot.front import doors
from portal.tenants import find
from portal.tenants.models import Tenant
from portal.web.errors import tell_wait
from portal.web.language import said
from portal.web.limits import count_code, refuse_guessers, wrong_guess


@bp.get("/<slug>/trial")
def trial_page(slug: str) -> ResponseReturnValue:
    """Ask for the number of the phone at hand."""
    return _shown(find.by_slug(slug, kind="hotspot"), NumberForm(formdata=None))


@bp.post("/<slug>/trial")
def trial(slug: str) -> ResponseReturnValue:
    """Send the phone its figures; then the field for them."""
    tenant, form = find.by_slug(slug, kind="hotspot"), NumberForm()
    if not form.validate():
        return _shown(tenant, form, status_code=422)
    site_id = site_id_of(tenant, carried())
    try:
        refuse_guessers("trial", tenant.id, form.phone.msisdn, site_id=site_id)
        wrong_guess("trial", tenant.id, form.phone.msisdn, site_id=site_id)  # each is counted: each costs a message
        if packages.trial(tenant.id, site_id=site_id) is not None:
            count_code(form.phone.msisdn)
            with transaction():
                trials.send_code(tenant, form.phone.msisdn, locale=str(get_locale() or "en"))
    except Refused as error:
        form.form_errors.append(said(error.message))
        tell_wait(error)
        return _shown(find.by_slug(slug), form, status_code=error.status)
    queue.enqueue(queue.OUTBOX)
    return _shown(find.by_slug(slug), form, code=PhoneCodeForm(formdata=None))


@bp.post("/<slug>/trial/start")
def start_trial(slug: str) -> ResponseReturnValue:
    """The figures are right: the trial begins on this device, and its page opens."""
    tenant, code, number = find.by_slug(slug, kind="hotspot"), PhoneCodeForm(), NumberForm()
    if not number.validate():
        return _shown(tenant, number, status_code=422)
    if not code.validate():
        return _shown(tenant, number, code=code, status_code=422)
    told = carried()
    device, site_id = device_of(tenant, told), site_id_of(tenant, told)
    msisdn, tenant_id = number.phone.msisdn, tenant.id
    try:
        refuse_guessers("phone_code", tenant_id, msisdn, site_id=site_id)
        grant_id = _begun(tenant, msisdn, code.code.data or "", device.mac, device.browser_hash, site_id)
    except Refused as error:
        code.form_errors.append(said(error.message))
        tell_wait(error)
        return _shown(find.by_slug(slug), number, code=code, status_code=error.status)
    if grant_id is None:
        wrong_guess("phone_code", tenant_id, msisdn, site_id=site_id)
        code.code.errors = [_("These figures are not right, or their ten minutes are over.")]
        return _shown(find.by_slug(slug), number, code=code, status_code=422)
    queue.enqueue(queue.OUTBOX)
    return redirect(passes.url_of(find.by_slug(slug), db.session.get_one(AccessGrant, grant_id), told), 303)


def _begun(tenant: Tenant, msisdn: str, code: str, mac: str, browser_hash: str, site_id: int | None) -> int | None:
    """The trial's id; None where the figures are wrong, whose try is counted all the same."""
    over: Refused | None = None
    with transaction():
        try:
            grant = trials.begin(tenant, msisdn, code, mac=mac, browser_hash=browser_hash, site_id=site_id)
        except Refused as error:  # the figures are used up by it
            over, grant = error, None
        if grant is not None:
            devices.take_place(grant, mac, browser_hash=browser_hash)
        grant_id = grant.id if grant is not None else None
    if over is not None:
        raise over
    return grant_id


def _shown(
    tenant: Tenant, form: NumberForm, *, code: PhoneCodeForm | None = None, status_code: int = 200
) -> ResponseReturnValue:
    told = carried()
    page = render_template(
        "hotspot/trial.html",
        tenant=tenant,
        package=packages.trial(tenant.id, site_id=site_id_of(tenant, told)),
        form=form,
        code=code,
        carried=told,
        ask_url=url_for("hotspot.trial", slug=tenant.slug),
        code_action=url_for("hotspot.start_trial", slug=tenant.slug),
        doors=doors(tenant, told),
        test_mode=is_test(tenant),
    )
    return page, status_code
