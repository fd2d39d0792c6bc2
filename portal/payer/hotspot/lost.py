"""The door for who lost the code, or comes with another device: the number that paid, and the SMS that it gets.

Nothing is shown of whether the number has a pass: one sentence, one shape, one duration, and the code goes to that
phone alone.
"""

from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import get_locale
from flask_babel import gettext as _

from portal.hotspot.passes import devices, lost_codes
from portal.kernel import queue
from portal.kernel.db import transaction
from portal.kernel.errors import Refused
from portal.payer.forms import NumberForm, PhoneCodeForm
from portal.payer.hotspot import passes
from portal.payer.hotspot.device import bp, carried, device_of, is_test, site_id_of
from portal.payer.hotspot.front import doors
from portal.tenants import find
from portal.tenants.models import Tenant
from portal.web.errors import tell_wait
from portal.web.language import said
from portal.web.limits import refuse_guessers, wrong_guess


@bp.get("/<slug>/lost")
def lost_page(slug: str) -> ResponseReturnValue:
    """Ask for the number that paid."""
    return _shown(find.by_slug(slug, kind="hotspot"), NumberForm(formdata=None))


@bp.post("/<slug>/lost")
def lost(slug: str) -> ResponseReturnValue:
    """Send the number its code, if it has one; then the field for it."""
    tenant, form = find.by_slug(slug, kind="hotspot"), NumberForm()
    if not form.validate():
        return _shown(tenant, form, status_code=422)
    site_id = site_id_of(tenant, carried())
    try:
        refuse_guessers("lost", tenant.id, form.phone.msisdn, site_id=site_id)
    except Refused as error:
        form.form_errors.append(said(error.message))
        tell_wait(error)
        return _shown(tenant, form, status_code=error.status)
    wrong_guess("lost", tenant.id, form.phone.msisdn, site_id=site_id)  # each is counted: each may cost a message
    with transaction():
        lost_codes.send(tenant, form.phone.msisdn, locale=str(get_locale() or "en"))
    queue.enqueue(queue.OUTBOX)
    code = PhoneCodeForm(formdata=None)
    code.phone.data = form.phone.data
    return _shown(find.by_slug(slug), form, code=code)


@bp.post("/<slug>/rejoin")
def rejoin(slug: str) -> ResponseReturnValue:
    """The figures are right: this device takes a place in the number's pass, and its page opens."""
    tenant, code, number = find.by_slug(slug, kind="hotspot"), PhoneCodeForm(), NumberForm()
    if not number.validate():
        return _shown(tenant, number, status_code=422)
    if not code.validate():
        return _shown(tenant, number, code=code, status_code=422)
    told = carried()
    device, site_id = device_of(tenant, told), site_id_of(tenant, told)
    url = None
    try:
        refuse_guessers("phone_code", tenant.id, number.phone.msisdn, site_id=site_id)
        with transaction():
            grants = lost_codes.passes_by(tenant, number.phone.msisdn, code.code.data or "")
        if grants:
            grant = next((one for one in grants if one.has_begun), grants[0])
            url = passes.url_of(tenant, grant, told)
            with transaction():
                devices.take_place(grant, device.mac, browser_hash=device.browser_hash)
    except Refused as error:
        tell_wait(error)
        if url is None:
            code.form_errors.append(said(error.message))
            return _shown(find.by_slug(slug), number, code=code, status_code=error.status)
    if url is None:
        wrong_guess("phone_code", find.by_slug(slug).id, number.phone.msisdn, site_id=site_id)
        code.code.errors = [_("These figures are not right, or their ten minutes are over.")]
        return _shown(find.by_slug(slug), number, code=code, status_code=422)
    queue.enqueue(queue.OUTBOX)
    return redirect(url, 303)


def _shown(
    tenant: Tenant, form: NumberForm, *, code: PhoneCodeForm | None = None, status_code: int = 200
) -> ResponseReturnValue:
    told = carried()
    page = render_template(
        "hotspot/lost.html",
        tenant=tenant,
        form=form,
        code=code,
        carried=told,
        ask_url=url_for("hotspot.lost", slug=tenant.slug),
        code_action=url_for("hotspot.rejoin", slug=tenant.slug),
        doors=doors(tenant, told, but="lost_page"),
        test_mode=is_test(tenant),
    )
    return page, status_code
