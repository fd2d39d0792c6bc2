"""The clinic's places with their opening hours, closed days, and what a service costs with whom."""

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from wtforms import DateField, SelectField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Length, Optional

from portal.clinic import branches, services, timetable
from portal.clinic.models import Branch, Service
from portal.kernel import money
from portal.kernel.db import transaction
from portal.kernel.errors import Refused
from portal.staff import buttons
from portal.staff.guard import actor, needs, read_row_id
from portal.staff.kept_forms import StaffForm
from portal.staff.timetable import WEEKDAYS
from portal.users.permissions import MANAGE_CLINIC
from portal.web.language import said

_OPEN_HINT = _l("Such as 8-13, 14-17:30. All days empty: open whenever somebody works there.")


class PlaceForm(StaffForm):
    """A place, and when it is open."""

    name = StringField(_l("Name"), [InputRequired(_l("Enter the name.")), Length(max=80)])
    address = StringField(_l("Address"), [Optional(), Length(max=200)])
    phone = StringField(_l("Phone number"), [Optional(), Length(max=20)])
    mon = StringField(_l("Monday"), [Length(max=100)], description=_OPEN_HINT)
    tue = StringField(_l("Tuesday"), [Length(max=100)])
    wed = StringField(_l("Wednesday"), [Length(max=100)])
    thu = StringField(_l("Thursday"), [Length(max=100)])
    fri = StringField(_l("Friday"), [Length(max=100)])
    sat = StringField(_l("Saturday"), [Length(max=100)])
    sun = StringField(_l("Sunday"), [Length(max=100)])


class ClosedForm(StaffForm):
    """Days on which nobody is seen, beside the public holidays."""

    place = SelectField(_l("Where"), validate_choice=False)
    first = DateField(_l("First day closed"), [InputRequired(_l("Choose a day."))])
    last = DateField(_l("Last day closed"), [InputRequired(_l("Choose a day."))])
    name = StringField(_l("Why"), [Optional(), Length(max=80)])


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/places", "branches", overview)
    bp.add_url_rule("/places/new", "branch_new", place_page, methods=["GET", "POST"])
    bp.add_url_rule("/places/<uid>", "branch", place_page, methods=["GET", "POST"])
    bp.add_url_rule("/places/<uid>/close", "branch_close", close, methods=["POST"])
    bp.add_url_rule("/places/closed", "branch_closed_add", add_closed, methods=["POST"])
    bp.add_url_rule("/places/closed/remove", "branch_closed_remove", remove_closed, methods=["POST"])
    bp.add_url_rule("/timetable/services/<uid>/prices", "service_prices", prices, methods=["GET", "POST"])


@needs(MANAGE_CLINIC)
def overview() -> ResponseReturnValue:
    """The places, and the days on which they are closed."""
    return _overview(ClosedForm(formdata=None))


def _overview(form: ClosedForm, status_code: int = 200) -> ResponseReturnValue:
    mine = branches.of_tenant(g.tenant.id)
    named = {one.id: one.name for one in mine}
    form.place.choices = [SelectChoice("", _("Everywhere")), *(SelectChoice(one.uid, one.name) for one in mine)]
    page = render_template(
        "staff/places.html",
        places=[
            {
                "name": one.name,
                "address": one.address or g.tenant.address,
                "url": url_for("staff.branch", uid=one.uid),
                "close_url": url_for("staff.branch_close", uid=one.uid),
            }
            for one in mine
        ],
        closed=[
            {
                "id": one.id,
                "first": one.first_day,
                "last": one.last_day,
                "name": one.name,
                "place": named.get(one.branch_id, _("Everywhere")) if one.branch_id else _("Everywhere"),
            }
            for one in branches.closed_ahead(g.tenant.id)
        ],
        form=form,
        new_url=url_for("staff.branch_new"),
        closed_url=url_for("staff.branch_closed_add"),
        remove_url=url_for("staff.branch_closed_remove"),
        back_url=url_for("staff.timetable"),
    )
    return page, status_code


def _branch(uid: str) -> Branch:
    found = branches.of_uid(g.tenant.id, uid)
    assert found is not None  # noqa: S101 - an address names one, or none is found
    return found


@needs(MANAGE_CLINIC)
def place_page(uid: str = "") -> ResponseReturnValue:
    """A new place, or what is changed of one."""
    branch = _branch(uid) if uid else None
    if request.method == "GET":
        kept: dict[str, str] = {}
        if branch is not None:
            week = branches.week_of(branch)
            kept = {"name": branch.name, "address": branch.address, "phone": branch.phone}
            kept |= {name: services.hours_shown(week.get(day, [])) for day, name in enumerate(WEEKDAYS)}
        return _place_page(branch, PlaceForm(data=kept))
    form = PlaceForm()
    week_typed: list[tuple[int, int, int]] = []
    is_valid = form.validate()
    for day, name in enumerate(WEEKDAYS):
        try:
            week_typed += [(day, begin, end) for begin, end in services.read_hours(form[name].data)]
        except Refused as error:
            form[name].errors = [said(error.message)]
            is_valid = False
    if not is_valid:
        return _place_page(branch, form, 422)
    told = {"name": form.name.data or "", "address": form.address.data or "", "phone": form.phone.data or ""}
    try:
        with transaction():
            if uid:
                kept_branch = _branch(uid)
                branches.change(kept_branch, **told, actor=actor())
            else:
                kept_branch = branches.add(g.tenant.id, **told, actor=actor())
            branches.set_hours(kept_branch, week_typed, actor=actor())
    except Refused as error:
        form.form_errors.append(said(error.message))
        return _place_page(_branch(uid) if uid else None, form, error.status)
    return redirect(url_for("staff.branches"), 303)


def _place_page(branch: Branch | None, form: PlaceForm, status_code: int = 200) -> ResponseReturnValue:
    page = render_template("staff/place_form.html", place=branch, form=form, back_url=url_for("staff.branches"))
    return page, status_code


@needs(MANAGE_CLINIC)
def close(uid: str) -> ResponseReturnValue:
    """Nobody is booked there any more."""

    def work() -> str:
        branches.close(_branch(uid), actor=actor())
        return _("It can be booked no more. What is booked stays.")

    return buttons.do(work, then=url_for("staff.branches"))


@needs(MANAGE_CLINIC)
def add_closed() -> ResponseReturnValue:
    """Closed on these days; who is booked on them is not told by itself."""
    form = ClosedForm()
    if not form.validate() or form.first.data is None or form.last.data is None:
        return _overview(form, 422)
    try:
        with transaction():
            place = branches.of_uid(g.tenant.id, form.place.data)
            branches.add_closed_days(
                g.tenant.id, place, form.first.data, form.last.data, name=form.name.data or "", actor=actor()
            )
    except Refused as error:
        form.form_errors.append(said(error.message))
        return _overview(form, error.status)
    return redirect(url_for("staff.branches"), 303)


@needs(MANAGE_CLINIC)
def remove_closed() -> ResponseReturnValue:
    """Open on these days after all."""

    def work() -> str:
        branches.open_again(g.tenant.id, read_row_id(request.form.get("closed", "")) or 0, actor=actor())
        return _("Open on these days again.")

    return buttons.do(work, then=url_for("staff.branches"))


@needs(MANAGE_CLINIC)
def prices(uid: str) -> ResponseReturnValue:
    """What a service costs, and what single clinicians take for it."""
    service = services.for_booking(g.tenant.id, uid)
    who = timetable.offering(service)
    own = timetable.prices_of(service)
    typed = {one.id: str(money.kes(own[one.id])) if one.id in own else "" for one in who}
    price, errors = str(money.kes(service.price_cents)), {}
    if request.method == "POST":
        price = request.form.get("price", "")[:20]
        typed = {one.id: request.form.get(f"own-{one.uid}", "")[:20].strip() for one in who}
        try:
            with transaction():
                _set_prices(services.for_booking(g.tenant.id, uid), price, typed)
        except Refused as error:
            errors = {"price": said(error.message)}
        else:
            return redirect(url_for("staff.timetable"), 303)
    page = render_template(
        "staff/service_prices.html",
        service=service,
        price=price,
        rows=[{"name": one.name, "field": f"own-{one.uid}", "value": typed.get(one.id, "")} for one in who],
        errors=errors,
        back_url=url_for("staff.timetable"),
    )
    return page, 422 if errors else 200


def _set_prices(service: Service, price: str, typed: dict[int, str]) -> None:
    limit_cents = g.tenant.push_limit_cents
    services.set_price(service, money.payable_cents(price, limit_cents=limit_cents), actor=actor())
    own = {key: money.payable_cents(text, limit_cents=limit_cents) if text else None for key, text in typed.items()}
    services.set_prices(service, own, actor=actor())
