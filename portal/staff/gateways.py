"""Gateways: the ways to be paid. Secrets go in and never come out; a test says exactly what is wrong."""

from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf.file import FileField
from wtforms import BooleanField, PasswordField, SelectChoice, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length

from portal.gateways import connection_test, security_credential, settings
from portal.gateways.models import Gateway
from portal.kernel.db import transaction
from portal.kernel.errors import Refused
from portal.payments import environments
from portal.staff import gateway_operations, reasons
from portal.staff.guard import actor, needs
from portal.staff.kept_forms import StaffForm
from portal.users.permissions import MANAGE_GATEWAYS
from portal.web.signin import is_fresh

_KINDS = {"PAYBILL": _l("Paybill"), "BUYGOODS": _l("Till (Buy Goods)"), "BANK": _l("Bank account")}
LARGEST_CERTIFICATE_BYTES = 20_000
MOST_NAMED = 20
# The form's names and the API's: one vocabulary, in the two spellings.
NAMES = {
    "name": "name", "display_name": "displayName", "type": "type", "sub_type": "subType", "shortcode": "shortcode",
    "store_number": "storeNumber", "account_number": "accountNumber", "env": "env", "base_url": "baseUrl",
    "consumer_key": "consumerKey", "consumer_secret": "consumerSecret", "passkey": "passkey",
    "initiator_name": "initiatorName", "initiator_password": "initiatorPassword",
    "security_credential": "securityCredential", "certificate": "certificate", "b2c_shortcode": "b2cShortcode",
    "is_default": "isDefault", "for_clinic": "forClinic", "for_hotspot": "forHotspot", "for_pppoe": "forPppoe",
}  # fmt: skip


class GatewayForm(StaffForm):
    name = StringField(_l("Name"), [InputRequired(_l("Give it a name.")), Length(max=60)])
    display_name = StringField(
        _l("Name on the phone"),
        [Length(max=60)],
        description=_l("As M-Pesa writes it in the payer's message."),
    )
    type = SelectField(
        _l("Connection"),
        choices=[
            SelectChoice("MPESA_API", _l("With M-Pesa's API")),
            SelectChoice("MPESA_NO_API", _l("Without: staff confirm")),
        ],
    )
    sub_type = SelectField(_l("Kind"), choices=[SelectChoice(kind, name) for kind, name in _KINDS.items()])
    shortcode = StringField(_l("Paybill or till number"), [InputRequired(_l("Enter the number."))])
    store_number = StringField(
        _l("Head office (store) number"),
        description=_l("For a till; for a bank the shortcode that owns the passkey."),
    )
    account_number = StringField(_l("Bank account"), description=_l("Only for a bank."))
    env = SelectField(
        _l("Money"),
        choices=[SelectChoice("sandbox", _l("Test money")), SelectChoice("production", _l("Real money"))],
    )
    base_url = StringField(_l("Another server than Safaricom's"), description=_l("Usually empty."))
    consumer_key = PasswordField(_l("Consumer key"))
    consumer_secret = PasswordField(_l("Consumer secret"))
    passkey = PasswordField(_l("Passkey"))
    initiator_name = StringField(_l("Initiator name"))
    initiator_password = PasswordField(_l("Initiator password"))
    security_credential = PasswordField(
        _l("Security credential"), description=_l("Ready-made, in place of password and certificate.")
    )
    certificate = TextAreaField(_l("Safaricom's certificate"))
    certificate_file = FileField(
        _l("Or its file"), description=_l("The .cer file of the Daraja portal, as it is (PEM or DER).")
    )
    b2c_shortcode = StringField(_l("Pay-out shortcode"))
    for_clinic = BooleanField(_l("Clinic"))
    for_hotspot = BooleanField(_l("Hotspot"))
    for_pppoe = BooleanField(_l("Home internet"))
    is_default = BooleanField(_l("Default for everything else"))


# What is not the same at the other M-Pesa: asked for, or shown again, when test and real money are switched.
OF_THE_OTHER = frozenset(
    {"shortcode", "store_number", "account_number", "base_url", "consumer_key", "consumer_secret", "passkey",
     "initiator_name", "initiator_password", "certificate", "certificate_file", "security_credential", "b2c_shortcode"}
)  # fmt: skip
PREFILLED = ("shortcode", "store_number", "account_number", "initiator_name", "b2c_shortcode")
OF_A_BANK, OF_THE_API = ("account_number",), OF_THE_OTHER - {"shortcode", "account_number"}


class SwitchForm(GatewayForm):
    """What a gateway needs at the other M-Pesa, and the question."""

    is_meant = BooleanField(_l("Yes, I want to switch"), [InputRequired(_l("Say that you mean it."))])

    @classmethod
    def of(cls, one: Gateway) -> "SwitchForm":
        """Without the fields that its kind does not have."""
        values = settings.to_json(one)
        form = cls(data={name: values[NAMES[name]] for name in PREFILLED})
        wanted = OF_THE_OTHER if one.kind == "MPESA_API" else OF_THE_OTHER - OF_THE_API
        if one.sub_kind != "BANK":
            wanted = wanted - set(OF_A_BANK)
        if one.sub_kind == "PAYBILL":
            wanted = wanted - {"store_number"}
        for name in [*NAMES, "certificate_file"]:
            if name not in wanted:
                del form[name]
        return form


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/gateways", "gateways", list_gateways)
    bp.add_url_rule("/gateways/new", "new_gateway", new_gateway, methods=["GET", "POST"])
    bp.add_url_rule("/gateways/<uid>", "gateway", gateway, methods=["GET", "POST"])
    bp.add_url_rule("/gateways/<uid>/test", "test_gateway", test_gateway, methods=["POST"])
    bp.add_url_rule("/gateways/<uid>/money", "switch_gateway", switch_gateway, methods=["GET", "POST"])
    bp.add_url_rule("/gateways/<uid>/remove", "remove_gateway", remove_gateway, methods=["POST"])
    bp.add_url_rule("/gateways/<uid>/default", "default_gateway", default_gateway, methods=["POST"])
    gateway_operations.register_routes(bp)


@needs(MANAGE_GATEWAYS)
def list_gateways() -> ResponseReturnValue:
    """Every way this tenant is paid."""
    shown = [
        {
            "name": one.name,
            "kind": str(_KINDS[one.sub_kind]),
            "shortcode": one.shortcode,
            "environment": one.environment,
            "purposes": _purposes(one),
            "is_default": one.is_default,
            "edit_url": url_for("staff.gateway", uid=one.uid),
            "test_url": url_for("staff.test_gateway", uid=one.uid) if one.kind == "MPESA_API" else None,
            "default_url": url_for("staff.default_gateway", uid=one.uid),
            "remove_url": url_for("staff.remove_gateway", uid=one.uid),
            "refused_at": one.refused_at,
            "refused_why": reasons.reason(one.refused_why),
        }
        for one in settings.of_tenant(g.tenant.id)
    ]
    return render_template("staff/gateways.html", gateways=shown, new_url=url_for("staff.new_gateway"))


def _purposes(one: Gateway) -> list[str]:
    named = (
        (one.for_clinic, _("clinic")),
        (one.for_hotspot, _("hotspot")),
        (one.for_pppoe, _("home internet")),
    )
    return [name for is_for, name in named if is_for]


def _given(form: GatewayForm) -> dict[str, Any]:
    """The form under the API's names; untouched secrets left out."""
    values = {api_name: form[name].data for name, api_name in NAMES.items() if name in form}
    if "certificate" in form:
        values["certificate"] = _certificate(form)
    return {name: value for name, value in values.items() if not (name in settings.SECRET_FIELDS and not value)}


def _certificate(form: GatewayForm) -> str:
    """The certificate as text: the file, else what was pasted, without a browser's line ends. Raises Refused."""
    if not form.certificate_file.data:
        return (form.certificate.data or "").replace("\r\n", "\n").strip()
    content = form.certificate_file.data.read(LARGEST_CERTIFICATE_BYTES + 1)
    if len(content) > LARGEST_CERTIFICATE_BYTES:
        sentence = _("This file is too large for a certificate.")
        raise Refused(sentence, code="invalid_credential", fields={"certificate": sentence})
    return security_credential.as_pem(content)


def _blame(form: GatewayForm, error: Refused) -> None:
    for name, api_name in NAMES.items():
        if api_name in error.fields and name in form:
            form[name].errors = [*form[name].errors, error.fields[api_name]]
    if not any(api_name in error.fields and name in form for name, api_name in NAMES.items()):
        form.form_errors.append(error.message)


@needs(MANAGE_GATEWAYS)
def new_gateway() -> ResponseReturnValue:
    """Add a paybill, till or bank."""
    form = GatewayForm()
    if form.validate_on_submit():
        try:
            given = _given(form)
            with transaction():
                uid = environments.create(g.tenant.id, given, actor=actor(), is_fresh_signin=is_fresh()).uid
        except Refused as error:
            _blame(form, error)
        else:
            flash(_("Saved. Test the connection now."), "success")
            return redirect(url_for("staff.gateway", uid=uid), 303)
    return _form_page(form, None)


@needs(MANAGE_GATEWAYS)
def gateway(uid: str) -> ResponseReturnValue:
    """Change one; an empty secret keeps the one before. Test and real money are switched on a page of their own."""
    one = settings.get_by_uid(g.tenant.id, uid)
    form = GatewayForm()
    del form.env
    if form.validate_on_submit():
        try:
            given = _given(form)
            with transaction():
                one = settings.get_by_uid(g.tenant.id, uid)
                one, switched = environments.change(one, given, actor=actor(), is_fresh_signin=is_fresh())
        except Refused as error:
            _blame(form, error)
        else:
            flash(_("Saved."), "success")
            _tell(switched)
            return redirect(url_for("staff.gateway", uid=uid), 303)
    elif request.method == "GET":
        values = settings.to_json(one)
        form = GatewayForm(data={name: values[api] for name, api in NAMES.items() if api not in settings.SECRET_FIELDS})
        del form.env
    return _form_page(form, settings.get_by_uid(g.tenant.id, uid))


@needs(MANAGE_GATEWAYS)
def switch_gateway(uid: str) -> ResponseReturnValue:
    """From test money to real, or back: a step of its own, with a question, and the secrets of that M-Pesa."""
    one = settings.get_by_uid(g.tenant.id, uid)
    other = "production" if one.is_sandbox else "sandbox"
    form = SwitchForm.of(one)
    if form.validate_on_submit():
        try:
            given = _given(form) | {"env": other}
            with transaction():
                one = settings.get_by_uid(g.tenant.id, uid)
                one, switched = environments.change(one, given, actor=actor(), is_fresh_signin=is_fresh())
        except Refused as error:
            _blame(form, error)
        else:
            is_real = other == "production"
            flash(_("Real money now. Test the connection.") if is_real else _("Test money now."), "success")
            _tell(switched)
            return redirect(url_for("staff.gateway", uid=uid), 303)
    page = render_template(
        "staff/gateway_switch.html",
        form=form,
        gateway=settings.get_by_uid(g.tenant.id, uid),
        to_real=other == "production",
        back_url=url_for("staff.gateway", uid=uid),
    )
    return page, 422 if form.errors else 200


@needs(MANAGE_GATEWAYS)
def remove_gateway(uid: str) -> ResponseReturnValue:
    """Delete it, or archive it where payments point at it."""
    with transaction():
        one = settings.get_by_uid(g.tenant.id, uid)
        name = one.name
        was_deleted = environments.archive(one, actor=actor(), is_fresh_signin=is_fresh())
    if was_deleted:
        flash(_("%(name)s is deleted.", name=name), "success")
    else:
        flash(_("%(name)s is archived: payments point at it, so its records stay.", name=name), "success")
    return redirect(url_for("staff.gateways"), 303)


def _tell(switched: environments.Switched | None) -> None:
    """Say by name what a switch between test and real money did to what was open."""
    if switched is None:
        return
    told = (
        (_("Closed, to be asked for anew: %(names)s."), switched.closed),
        (_("Asked for with real money now, under the same number and link: %(names)s."), switched.asked_anew),
        (_("These wait for real money, which is not asked for in test mode: %(names)s."), switched.waiting),
        (_("Refunds that were not sent; ask for them anew: %(names)s."), switched.refunds_stopped),
    )
    for sentence, names in told:
        if names:
            more = _(" and %(count)s more", count=len(names) - MOST_NAMED) if len(names) > MOST_NAMED else ""
            flash(sentence % {"names": ", ".join(names[:MOST_NAMED]) + more}, "info")


def _form_page(form: GatewayForm, one: Gateway | None) -> ResponseReturnValue:
    kept = (
        {
            name: one.has_secret(settings.SECRET_FIELDS[api])
            for name, api in NAMES.items()
            if api in settings.SECRET_FIELDS
        }
        if one
        else {}
    )
    page = render_template(
        "staff/gateway_form.html",
        form=form,
        gateway=one,
        kept=kept,
        test_url=url_for("staff.test_gateway", uid=one.uid) if one and one.kind == "MPESA_API" else None,
        switch_url=url_for("staff.switch_gateway", uid=one.uid) if one else None,
        fingerprint=settings.fingerprint(one) if one else None,
        operations=gateway_operations.operations_of(one) if one and one.kind == "MPESA_API" else None,
        back_url=url_for("staff.gateways"),
    )
    return page, 422 if form.errors else 200


@needs(MANAGE_GATEWAYS)
def test_gateway(uid: str) -> ResponseReturnValue:
    """Try it: sign-on, then shortcode and passkey. No money moves."""
    outcome = connection_test.try_out(g.tenant.id, uid, actor=actor())
    if request.headers.get("HX-Request"):
        told = {"ok": outcome.ok, "proved": outcome.proves_all, "steps": outcome.steps, "message": outcome.message}
        return render_template("staff/_gateway_test.html", **told)
    flash(outcome.message, "success" if outcome.proves_all else "info" if outcome.ok else "danger")
    return redirect(url_for("staff.gateways"), 303)


@needs(MANAGE_GATEWAYS)
def default_gateway(uid: str) -> ResponseReturnValue:
    """Make it the default."""
    with transaction():
        environments.make_default(settings.get_by_uid(g.tenant.id, uid), actor=actor(), is_fresh_signin=is_fresh())
    return redirect(url_for("staff.gateways"), 303)
