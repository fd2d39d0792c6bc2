"""Packages as people think of them: minutes, hours and days, megabytes and gigabytes, Mbps; with how it will look."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from wtforms import BooleanField, SelectField, SelectMultipleField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import Length, Optional
from wtforms.widgets import CheckboxInput, ListWidget

from portal import welcome
from portal.hotspot import packages, terms
from portal.hotspot.models import Package, Site
from portal.kernel import money
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.staff import buttons
from portal.staff.guard import actor, needs
from portal.staff.kept_forms import StaffForm
from portal.tenants.models import Tenant
from portal.users.permissions import MANAGE_PACKAGES
from portal.web.language import said

KINDS = {
    "time": _l("Time: the clock runs from the payment on"),
    "online": _l("Time online: the clock runs while they are connected"),
    "data": _l("Data"),
    "mixed": _l("Time and data, whichever is used up first"),
}
KIND_NAMES = {"time": _l("Time"), "online": _l("Time online"), "data": _l("Data"), "mixed": _l("Time and data")}
UNITS_S = {"m": 60, "h": 3_600, "d": 86_400}
UNITS = {"m": _l("minutes"), "h": _l("hours"), "d": _l("days")}
SIZES_BYTES = {"MB": 10**6, "GB": 10**9}
# what is read of the form under another name than the API's
FIELDS_OF = {
    "duration": "duration", "validity": "validity", "dataCap": "volume", "dailyCap": "daily", "rate": "down",
    "speed": "down", "throttledRate": "throttled", "atCap": "at_cap", "devices": "devices", "group": "group",
    "sites": "sites",
    "name": "name", "price": "price", "kind": "kind", "addon": "is_addon", "trial": "is_trial", "hidden": "is_hidden",
    "forPppoe": "for_pppoe",
}  # fmt: skip


class PackageForm(StaffForm):
    """A package in a shop's words."""

    name = StringField(_l("Name"), [Length(max=60)], description=_l("As the customer reads it, such as 1 hour."))
    price = StringField(_l("Price in KES"), [Length(max=12)])
    kind = SelectField(_l("What is sold"), choices=[SelectChoice(*one) for one in KINDS.items()])
    duration = StringField(_l("How long"), [Length(max=6)])
    duration_unit = SelectField(_l("Unit"), choices=[SelectChoice(*one) for one in UNITS.items()], default="h")
    volume = StringField(
        _l("How much data"), [Optional(), Length(max=8)], description=_l("Empty: as much as they like.")
    )
    volume_unit = SelectField(_l("Unit of data"), choices=[SelectChoice(one, one) for one in SIZES_BYTES], default="GB")
    validity = StringField(
        _l("Over after so many days, used up or not"), [Optional(), Length(max=4)],
        description=_l("Of time online and data. Empty: 30 days for time online, else as long as it lasts."),
    )  # fmt: skip
    down = StringField(_l("Speed down, Mbps"), [Optional(), Length(max=8)], description=_l("Empty: no limit."))
    up = StringField(_l("Speed up, Mbps"), [Optional(), Length(max=8)], description=_l("Empty: as down."))
    burst = StringField(
        _l("Burst down, Mbps"), [Optional(), Length(max=8)], description=_l("For pages to open fast. Empty: none.")
    )
    burst_s = StringField(_l("For so many seconds"), [Optional(), Length(max=3)], default="10")
    devices = StringField(_l("Devices at once"), [Length(max=2)], default="1")
    daily = StringField(_l("Data a day, MB"), [Optional(), Length(max=7)], description=_l("Counted from midnight."))
    at_cap = SelectField(
        _l("When the data is used up"),
        choices=[SelectChoice("stop", _l("The internet stops")), SelectChoice("throttle", _l("It goes on slowly"))],
    )
    throttled = StringField(_l("Slow speed, Mbps"), [Optional(), Length(max=8)])
    group = StringField(
        _l("Group (optional)"), [Optional(), Length(max=40)], description=_l("Such as Daily or Weekly.")
    )
    sites = SelectMultipleField(
        _l("Only at these sites"), option_widget=CheckboxInput(), widget=ListWidget(prefix_label=False),
        description=_l("None chosen: at all of them."),
    )  # fmt: skip
    is_hidden = BooleanField(_l("Hidden: not offered on the Wi-Fi page, sold by code or link"))
    is_addon = BooleanField(_l("Add-on: its data is added to what runs, without a new end"))
    is_trial = BooleanField(_l("Free trial: once for each phone that is verified by SMS"))
    for_pppoe = BooleanField(_l("For home lines (PPPoE), not the hotspot"))


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/packages", "packages", list_packages)
    bp.add_url_rule("/packages/new", "package_new", new, methods=["GET", "POST"])
    bp.add_url_rule("/packages/preview", "package_preview", preview)
    bp.add_url_rule("/packages/checkin", "checkin_package", checkin, methods=["POST"])
    bp.add_url_rule("/packages/<uid>", "package", change, methods=["GET", "POST"])
    bp.add_url_rule("/packages/<uid>/withdraw", "package_withdraw", withdraw, methods=["POST"])
    bp.add_url_rule("/packages/<uid>/up", "package_up", move_up, methods=["POST"])


@needs(MANAGE_PACKAGES)
def list_packages() -> ResponseReturnValue:
    """Everything that is sold, in the order in which customers see it."""
    mine = _in_order(g.tenant.id)
    sites = packages.sites_of(mine)
    return render_template(
        "staff/packages.html",
        rows=[
            {"package": one, "kind": KIND_NAMES[one.kind], "sites": [site.name for site in sites[one.id]]}
            for one in mine
        ],
        at_checkin=g.tenant.checkin_package_uid if g.tenant.is_clinic else None,
    )


def _in_order(tenant_id: int) -> list[Package]:
    return sorted(packages.every(tenant_id), key=lambda one: (one.service, one.position, one.price_cents, one.id))


def _form(formdata: Any = None, **values: Any) -> PackageForm:
    form = PackageForm(**values) if formdata is None else PackageForm(formdata, **values)
    open_sites = db.session.query(Site).filter_by(tenant_id=g.tenant.id, closed_at=None).order_by(Site.name)
    form.sites.choices = [SelectChoice(site.uid, site.name) for site in open_sites]
    return form


@needs(MANAGE_PACKAGES)
def new() -> ResponseReturnValue:
    """A package that there was not."""
    form = _form()
    if request.method == "GET":
        return _shown(form, None)
    offer = _offer(form, g.tenant.push_limit_cents)
    if offer is None:
        return _shown(form, None, 422)
    tenant_id, who = g.tenant.id, actor()
    with transaction():
        packages.create(tenant_id, offer, actor=who)
    flash(_("It is on sale now."), "success")
    return redirect(url_for("staff.packages"), 303)


@needs(MANAGE_PACKAGES)
def change(uid: str) -> ResponseReturnValue:
    """Other terms from now on. What was sold keeps its own."""
    package = packages.get(g.tenant.id, uid)
    form = _form(**_values(package))
    if request.method == "GET":
        return _shown(form, package)
    offer = _offer(form, g.tenant.push_limit_cents)
    if offer is None:
        return _shown(form, package, 422)
    tenant_id, who = g.tenant.id, actor()
    with transaction():
        packages.change(tenant_id, uid, offer, actor=who)
    flash(_("It is sold so from now on. What was sold before keeps its own terms."), "success")
    return redirect(url_for("staff.packages"), 303)


def _shown(form: PackageForm, package: Package | None, status_code: int = 200) -> ResponseReturnValue:
    return render_template("staff/package_form.html", form=form, package=package), status_code


@needs(MANAGE_PACKAGES)
def preview() -> ResponseReturnValue:
    """How the customer will see it, while it is typed; what is missing is said."""
    form = _form(request.args)
    tenant = db.session.get_one(Tenant, g.tenant.id)
    try:
        offer = terms.read(_given(form), limit_cents=tenant.push_limit_cents)
    except Refused as error:
        wrong = [said(one) for one in error.fields.values()] or [said(error.message)]
        return render_template("staff/_package_preview.html", offer=None, wrong=wrong[:1])
    speed = Package(rate=offer.rate).speed
    return render_template("staff/_package_preview.html", offer=offer, speed=speed, wrong=[])


def _offer(form: PackageForm, limit_cents: int) -> terms.Offer | None:
    """What the form offers; None where it cannot be, and its fields say why."""
    is_valid = form.validate_on_submit()
    try:
        offer = terms.read(_given(form), limit_cents=limit_cents)
        return offer if is_valid else None
    except Refused as error:
        for name, sentence in (error.fields or {"name": error.message}).items():
            field = form[FIELDS_OF.get(name, "name")]
            field.errors = [*field.errors, said(sentence)]
        return None


def _given(form: PackageForm) -> dict[str, Any]:
    """The form in the API's words. Raises Refused naming a field that is no number."""
    duration, validity = _number(form.duration.data, "duration"), _number(form.validity.data, "validity")
    data, daily = _number(form.volume.data, "dataCap"), _number(form.daily.data, "dailyCap")
    return {
        "name": form.name.data,
        "price": form.price.data if not form.is_trial.data else 0,
        "kind": form.kind.data,
        "duration": None if duration is None else round(duration * UNITS_S.get(form.duration_unit.data or "h", 3_600)),
        "validity": None if validity is None else round(validity * 86_400),
        "dataCap": None if data is None else round(data * SIZES_BYTES.get(form.volume_unit.data or "GB", 10**9)),
        "dailyCap": None if daily is None else round(daily * 10**6),
        "rate": _rate(form),
        "devices": form.devices.data or None,
        "atCap": form.at_cap.data,
        "throttledRate": _one_rate(form.throttled.data, "throttledRate"),
        "group": form.group.data,
        "sites": list(form.sites.data or []),
        "hidden": bool(form.is_hidden.data),
        "addon": bool(form.is_addon.data),
        "trial": bool(form.is_trial.data),
        "forPppoe": bool(form.for_pppoe.data),
    }


def _number(typed: str | None, name: str) -> float | None:
    """A number as people write it: `1.5`, `1,5`; None for none."""
    text = (typed or "").strip().replace(",", ".")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 10**9:
        raise Refused(_("A number, such as 1 or 1.5."), fields={name: _("A number, such as 1 or 1.5.")})
    return value


def _kbps(typed: str | None, name: str) -> int | None:
    try:
        return terms.read_kbps(typed)
    except Refused as error:
        error.fields = {name: error.message}
        raise


def _rate(form: PackageForm) -> str:
    down, up = _kbps(form.down.data, "rate"), _kbps(form.up.data, "rate")
    burst, seconds = _kbps(form.burst.data, "rate"), _number(form.burst_s.data, "rate")
    return terms.rate_of(down, up, burst, round(min(seconds or 10, 600)) or 1)


def _one_rate(typed: str | None, name: str) -> str:
    return terms.rate_of(_kbps(typed, name), None)


def _values(package: Package) -> Mapping[str, Any]:
    """A package in the form's words."""
    down, up, burst, burst_s = terms.speeds_of(package.rate)
    sold_s, unit = _in_units(package.duration_s)
    data = package.data_cap_bytes
    is_gb = data is None or data % 10**8 == 0
    has_own_validity = package.lifetime_s != package.duration_s
    return {
        "name": package.name,
        "price": str(money.kes(package.price_cents)),
        "kind": package.kind,
        "duration": sold_s,
        "duration_unit": unit,
        "volume": "" if data is None else f"{data / (10**9 if is_gb else 10**6):g}",
        "volume_unit": "GB" if is_gb else "MB",
        "validity": f"{package.lifetime_s / 86_400:g}" if has_own_validity else "",
        "down": _mbps(down),
        "up": _mbps(up) if up != down else "",
        "burst": _mbps(burst),
        "burst_s": str(burst_s),
        "devices": str(package.devices),
        "daily": "" if package.daily_cap_bytes is None else f"{package.daily_cap_bytes / 10**6:g}",
        "at_cap": package.at_cap,
        "throttled": _mbps(terms.speeds_of(package.throttled_rate)[0]),
        "group": package.group_name,
        "sites": [site.uid for site in packages.sites_of([package])[package.id]],
        "is_hidden": package.is_hidden,
        "is_addon": package.is_addon,
        "is_trial": package.is_trial,
        "for_pppoe": package.service == "pppoe",
    }


def _in_units(seconds: int) -> tuple[str, str]:
    unit = "d" if seconds % 86_400 == 0 else "h" if seconds % 3_600 == 0 else "m"
    return f"{seconds / UNITS_S[unit]:g}", unit


def _mbps(kbps: int | None) -> str:
    return "" if kbps is None else f"{kbps / 1_000:g}"


@needs(MANAGE_PACKAGES)
def checkin() -> ResponseReturnValue:
    """What the clinic's patients are given when they check in."""

    def work() -> str:
        welcome.choose(g.tenant, request.form.get("package", ""), actor=actor())
        return _("Saved. It holds from the next check-in.")

    return buttons.do(work, then=url_for("staff.packages"))


@needs(MANAGE_PACKAGES)
def withdraw(uid: str) -> ResponseReturnValue:
    """Sell it no more."""
    tenant_id, who = g.tenant.id, actor()

    def work() -> str:
        packages.withdraw(tenant_id, uid, actor=who)
        return _("It is sold no more. What was sold runs on.")

    return buttons.do(work, then=url_for("staff.packages"))


@needs(MANAGE_PACKAGES)
def move_up(uid: str) -> ResponseReturnValue:
    """Show it before the one above it."""
    tenant_id, who = g.tenant.id, actor()

    def work() -> str:
        packages.get(tenant_id, uid)
        order = [one.uid for one in _in_order(tenant_id)]
        at = order.index(uid)
        if at:
            order[at - 1], order[at] = order[at], order[at - 1]
            packages.put_in_order(tenant_id, order, actor=who)
        return ""

    return buttons.do(work, then=url_for("staff.packages"))
