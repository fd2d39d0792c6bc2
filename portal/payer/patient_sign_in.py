"""A patient's way in: a code to the phone or e-mail address that the clinic knows, and out again.

Decided: the code's page stands under an address that carries whom it is for, signed, so that a mailed link opens in any
browser; looking at it signs nobody in, since mail programs look by themselves.
"""

from typing import Any

import jwt
from flask import Blueprint, current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import StringField
from wtforms.validators import InputRequired, Length

from portal.clinic import patient_access
from portal.clinic.patient_access import Address
from portal.kernel import clock, queue
from portal.kernel.db import transaction
from portal.kernel.errors import NotFound, Refused
from portal.tenants import find
from portal.tenants.models import Tenant
from portal.web.errors import tell_wait
from portal.web.language import locale, said
from portal.web.limits import count_code, refuse_guessers, wrong_guess
from portal.web.links import public_url

bp = Blueprint("patients", __name__)
SESSION = "patient"  # of the browser's session: whose page this is
ALGORITHM, ISSUER, CODE_PAGE_S = "HS256", "mlango-patient", 1_800


class AddressForm(FlaskForm):
    """Where the code goes."""

    address = StringField(
        _l("Your phone number or e-mail address"),
        [InputRequired(_l("Enter your phone number or e-mail address.")), Length(max=254)],
        description=_l("The one that the clinic knows."),
    )


class CodeForm(FlaskForm):
    """The six figures."""

    code = StringField(_l("The 6 figures"), [InputRequired(_l("Enter the 6 figures.")), Length(max=20)])


@bp.route("/clinic/<slug>/sign-in", methods=["GET", "POST"])
def sign_in(slug: str) -> ResponseReturnValue:
    """Ask for a code."""
    tenant = find.by_slug(slug, kind="clinic")
    form = AddressForm()
    if not form.validate_on_submit():
        return _page(tenant, form, "accounts/sign_in.html")
    try:
        address = patient_access.read_address(tenant.id, form.address.data)
        refuse_guessers("booking", tenant.id)
        wrong_guess("booking", tenant.id)  # each may cost the clinic a message: a network's are counted
        if address.channel == "phone":
            count_code(address.value)
        carried = _carried(tenant, address)
        link = f"{public_url()}{url_for('patients.code', slug=slug, carried=carried)}"
        with transaction():
            patient_access.send_code(find.by_slug(slug), address, link=link, locale=locale())
    except Refused as error:
        form.form_errors.append(said(error.message))
        tell_wait(error)
        return _page(find.by_slug(slug), form, "accounts/sign_in.html", error.status)
    queue.enqueue(queue.OUTBOX)
    return redirect(url_for("patients.code", slug=slug, carried=carried), 303)


def _page(tenant: Tenant, form: FlaskForm, template: str, status_code: int = 0, **more: Any) -> ResponseReturnValue:
    is_wrong = form.errors or form.form_errors
    page = render_template(template, tenant=tenant, form=form, **more)
    return page, status_code or (422 if is_wrong else 200)


def _carried(tenant: Tenant, address: Address) -> str:
    claims = {
        "iss": ISSUER,
        "tenant": tenant.id,
        "channel": address.channel,
        "hash": address.hash,
        "exp": int(clock.now().timestamp()) + CODE_PAGE_S,
    }
    return jwt.encode(claims, current_app.config["SECRET_KEY"], ALGORITHM)


def _read_carried(tenant: Tenant, carried: str) -> Address:
    gone = NotFound(_("This page is too old. Ask for a new code."))
    options: Any = {"verify_exp": False}
    try:
        claims = jwt.decode(carried, current_app.config["SECRET_KEY"], [ALGORITHM], issuer=ISSUER, options=options)
        is_over = int(claims["exp"]) < clock.now().timestamp()
        address = Address(str(claims["channel"]), "", str(claims["hash"]))
    except (jwt.InvalidTokenError, KeyError, ValueError):
        raise gone from None
    if is_over or claims.get("tenant") != tenant.id:
        raise gone
    return address


@bp.route("/clinic/<slug>/sign-in/<carried>", methods=["GET", "POST"])
def code(slug: str, carried: str) -> ResponseReturnValue:
    """Type the code: the pages open."""
    tenant = find.by_slug(slug, kind="clinic")
    address = _read_carried(tenant, carried)
    form = CodeForm(data={"code": request.args.get("code", "")}) if request.method == "GET" else CodeForm()
    if form.validate_on_submit():
        try:
            refuse_guessers("code", tenant.id)
            with transaction():
                token = patient_access.enter(find.by_slug(slug), address, form.code.data or "")
            if token is not None:
                session[SESSION], session["clinic"] = token, slug
                return redirect(url_for("account.home"), 303)
            wrong_guess("code", tenant.id)
            form.form_errors.append(
                _("This code is not right, or its time is over. Type it again, or ask for a new one.")
            )
        except Refused as error:
            form.form_errors.append(said(error.message))
            tell_wait(error)
            return _page(find.by_slug(slug), form, "accounts/code.html", error.status)
    again_url = url_for("patients.sign_in", slug=slug)
    return _page(
        find.by_slug(slug), form, "accounts/code.html", again_url=again_url, by_email=address.channel == "email"
    )


@bp.post("/clinic/<slug>/sign-out")
def leave(slug: str) -> ResponseReturnValue:
    """Sign out of this browser."""
    if token := session.pop(SESSION, ""):
        with transaction():
            patient_access.leave(token)
    return redirect(url_for("clinic.front", slug=find.by_slug(slug, kind="clinic").slug), 303)
