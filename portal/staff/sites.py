"""Sites and their routers: settings, files to take, the doctor, outages, a rehearsal."""

from typing import Any

from flask import Blueprint, Response, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from wtforms import BooleanField, PasswordField, SelectChoice, SelectField, StringField
from wtforms.validators import InputRequired, Length

from portal.audit import chain
from portal.hotspot import proof, purchases
from portal.hotspot.models import Site
from portal.hotspot.sites import doctor, files, outages, rehearsal, settings
from portal.kernel import clock, ports, queue
from portal.kernel.db import transaction
from portal.kernel.errors import NotFound, Refused
from portal.payments.payment import payment_of
from portal.staff import buttons
from portal.staff.guard import actor, needs
from portal.staff.kept_forms import StaffForm
from portal.users.permissions import MANAGE_SITES
from portal.web.language import said
from portal.web.limits import network
from portal.web.links import house_of
from portal.web.signin import is_fresh

KINDS = {
    "radius": _l("RADIUS: it asks our FreeRADIUS"),
    "routeros": _l("MikroTik without RADIUS: by its API"),
    "opennds": _l("openNDS (OpenWrt)"),
    "voucher": _l("Vouchers only: codes are brought in by hand"),
}
# The form's names and the API's: one vocabulary, in the two spellings.
NAMES = {
    "name": "name", "kind": "kind", "address": "address", "login_hosts": "loginHosts", "secret": "secret",
    "coa_port": "coaPort", "api_port": "apiPort", "api_tls": "apiTls", "api_username": "apiUsername",
    "api_password": "apiPassword",
}  # fmt: skip
FILES = {
    "routeros.rsc": _l("The whole router in one paste: hotspot, portal, sign-in, tunnel, heartbeat"),
    "login.html": _l("The login page alone, for a hotspot of your own making"),
    "api.json": _l("What phones ask whether they are online (RFC 8908)"),
    "opennds.conf": _l("openNDS' settings"),
    "freeradius-client.conf": _l("This router as a client of a FreeRADIUS of your own"),
    "wireguard.conf": _l("This router as a peer of our WireGuard"),
}


class SiteForm(StaffForm):
    name = StringField(_l("Name"), [InputRequired(_l("Give it a name.")), Length(max=60)])
    kind = SelectField(_l("Kind of router"), choices=[SelectChoice(kind, name) for kind, name in KINDS.items()])
    address = StringField(
        _l("Address in the management network"),
        description=_l("Such as 10.90.0.7: where its packets come from, and our orders go to."),
    )
    login_hosts = StringField(
        _l("Login hosts"),
        description=_l("The names or private addresses of its login page, by blanks. Codes are sent nowhere else."),
    )
    secret = PasswordField(_l("Secret"), description=_l("Of RADIUS or openNDS. Leave it empty, and we make one."))
    coa_port = StringField(_l("Port for orders (CoA)"), default="3799")
    api_port = StringField(_l("API port"), default="8729")
    api_tls = BooleanField(_l("API over TLS"), default=True)
    api_username = StringField(_l("API user"), description=_l("Empty: mlango, which the script makes."))
    api_password = PasswordField(_l("API password"), description=_l("Leave it empty, and we make one."))


def register_routes(bp: Blueprint) -> None:
    bp.add_url_rule("/sites", "sites", list_sites)
    bp.add_url_rule("/sites/new", "new_site", new_site, methods=["GET", "POST"])
    bp.add_url_rule("/sites/<uid>", "site", show_site, methods=["GET", "POST"])
    bp.add_url_rule("/sites/<uid>/files/<name>", "site_file", site_file)
    bp.add_url_rule("/sites/<uid>/check", "site_check", check_site, methods=["POST"])
    bp.add_url_rule("/sites/<uid>/renew", "site_renew", renew, methods=["POST"])
    bp.add_url_rule("/sites/<uid>/remove", "site_close", close, methods=["POST"])
    bp.add_url_rule("/sites/<uid>/rehearsal", "site_rehearse", rehearse, methods=["POST"])
    bp.add_url_rule("/sites/rehearsals/<token>", "site_rehearsal", show_rehearsal)
    bp.add_url_rule("/sites/rehearsals/<token>/cut", "site_cut", cut, methods=["POST"])


@needs(MANAGE_SITES)
def list_sites() -> ResponseReturnValue:
    """Every site, with how its router fares."""
    shown = [_row(one) for one in settings.of_tenant(g.tenant.id)]
    return render_template("staff/sites.html", sites=shown, new_url=url_for("staff.new_site"))


def _row(site: Site) -> dict[str, Any]:
    return {
        "name": site.name,
        "kind": str(KINDS[site.kind]),
        "address": site.address,
        "seen_at": site.last_seen_at,
        "state": _state(site),
        "version": site.router_version,
        "url": url_for("staff.site", uid=site.uid),
    }


def _state(site: Site) -> str:
    """How its heartbeat stands: `up`, `silent`, or empty where there never was one."""
    if site.last_seen_at is None:
        return ""
    return "up" if clock.now() - site.last_seen_at < doctor.SILENT_AFTER else "silent"


def _given(form: SiteForm) -> dict[str, Any]:
    values = {api_name: form[name].data for name, api_name in NAMES.items()}
    return {
        name: value
        for name, value in values.items()
        if not (value in ("", None) and name not in ("name", "address", "loginHosts"))
    }


def _blame(form: SiteForm, error: Refused) -> None:
    """What was refused, at its field; secrets are typed again."""
    blamed = [name for name, api_name in NAMES.items() if api_name in error.fields]
    for name in blamed:
        form[name].errors = [*form[name].errors, said(error.fields[NAMES[name]])]
    if not blamed:
        form.form_errors.append(said(error.message))


@needs(MANAGE_SITES)
def new_site() -> ResponseReturnValue:
    """Add a site."""
    form = SiteForm()
    if form.validate_on_submit():
        try:
            with transaction():
                uid = settings.create(g.tenant.id, _given(form), actor=actor(), is_fresh_signin=is_fresh()).uid
        except Refused as error:
            _blame(form, error)
        else:
            flash(_("Saved. Now paste the script into the router."), "success")
            return redirect(url_for("staff.site", uid=uid), 303)
    page = render_template("staff/site.html", form=form, site=None, back_url=url_for("staff.sites"))
    return page, 422 if form.errors else 200


@needs(MANAGE_SITES)
def show_site(uid: str) -> ResponseReturnValue:
    """One site: its files, the doctor, outages, a rehearsal, and its settings."""
    site = settings.get_by_uid(g.tenant.id, uid)
    form = SiteForm()
    if form.validate_on_submit():
        try:
            with transaction():
                site = settings.get_by_uid(g.tenant.id, uid)
                settings.change(site, _given(form), actor=actor(), is_fresh_signin=is_fresh())
        except Refused as error:
            _blame(form, error)
        else:
            flash(_("Saved. Paste the script again, so that the router knows it too."), "success")
            return redirect(url_for("staff.site", uid=uid), 303)
        site = settings.get_by_uid(g.tenant.id, uid)
    elif request.method == "GET":
        known = settings.to_json(site) | {"loginHosts": site.login_hosts}
        kept = {name: known[api] for name, api in NAMES.items() if api not in settings.SECRET_FIELDS}
        form = SiteForm(data=kept | {"coa_port": str(site.coa_port), "api_port": str(site.api_port)})
    page = render_template(
        "staff/site.html",
        form=form,
        site=_row(site),
        back_url=url_for("staff.sites"),
        files=[
            {"name": name, "what": str(FILES[name]), "url": url_for("staff.site_file", uid=uid, name=name)}
            for name in files.names(site)
        ],
        check_url=url_for("staff.site_check", uid=uid),
        renew_url=url_for("staff.site_renew", uid=uid),
        close_url=url_for("staff.site_close", uid=uid),
        rehearse_url=url_for("staff.site_rehearse", uid=uid) if rehearsal.gateway_of(g.tenant) else None,
        outages=[_outage_row(one) for one in outages.of_site(site)],
        portal_url=house_of(g.tenant).portal_url(site),
    )
    return page, 422 if form.errors else 200


def _outage_row(one: Any) -> dict[str, Any]:
    until = one.ended_at or clock.now()
    return {
        "started_at": one.started_at,
        "ended_at": one.ended_at,
        "lasted_s": (until - one.started_at).total_seconds(),
        "given_back_at": one.given_back_at,
    }


@needs(MANAGE_SITES)
def site_file(uid: str, name: str) -> ResponseReturnValue:
    """One file for its router; that it was taken is recorded."""
    text = files.of_name(settings.get_by_uid(g.tenant.id, uid), name, house_of(g.tenant))
    with transaction():
        site = settings.get_by_uid(g.tenant.id, uid)
        chain.record(g.tenant.id, "site", site.id, "file_taken", actor=actor(), new=name)
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(text, mimetype="text/plain", headers=headers)


@needs(MANAGE_SITES)
def check_site(uid: str) -> ResponseReturnValue:
    """Look at the router now."""
    site = settings.get_by_uid(g.tenant.id, uid)
    verdict = doctor.examine(site, house_of(g.tenant), surroundings=ports.surroundings())
    if request.headers.get("HX-Request"):
        return render_template("staff/_site_check.html", verdict=verdict)
    flash(said(verdict.message), "success" if verdict.is_well else "danger")
    for one in verdict.findings:
        if one.state == doctor.BAD:
            flash(f"{said(one.sentence)} {said(one.what_to_do)}", "danger")
    return redirect(url_for("staff.site", uid=uid), 303)


@needs(MANAGE_SITES)
def renew(uid: str) -> ResponseReturnValue:
    """Another router stands there now."""

    def work() -> str:
        settings.renew_token(settings.get_by_uid(g.tenant.id, uid), actor=actor())
        return _("Paste the script into the router that stands there now. The old one's reports count no more.")

    return buttons.do(work, then=url_for("staff.site", uid=uid))


@needs(MANAGE_SITES)
def close(uid: str) -> ResponseReturnValue:
    """Close the site."""

    def work() -> str:
        site = settings.get_by_uid(g.tenant.id, uid)
        settings.close(site, actor=actor())
        return _("%(name)s is closed. Its sessions and sales stay on record.", name=site.name)

    return buttons.do(work, then=url_for("staff.sites"))


@needs(MANAGE_SITES)
def rehearse(uid: str) -> ResponseReturnValue:
    """Begin a rehearsal, and show its line."""
    try:
        with transaction():
            site = settings.get_by_uid(g.tenant.id, uid)
            payment = rehearsal.begin(g.tenant, site, mac=request.form.get("mac", ""), network=network())
            token = payment.token
    except NotFound:
        raise
    except Refused as error:
        flash(said(error.message), "danger")
        return redirect(url_for("staff.site", uid=uid), 303)
    queue.enqueue(queue.SEND_PUSHES)
    return redirect(url_for("staff.site_rehearsal", token=token), 303)


@needs(MANAGE_SITES)
def show_rehearsal(token: str) -> ResponseReturnValue:
    """A rehearsal's line, live, with what signs its device in; 204 where nothing changed."""
    payment = payment_of(g.tenant.id, token)
    line = proof.of_payment(payment.id)
    purchase = purchases.of_payment(payment.id)
    if line is None or purchase is None or not rehearsal.is_rehearsal(purchase):
        raise NotFound(_("There is no such rehearsal here."))
    is_poll = "HX-Request" in request.headers
    if is_poll and request.args.get("v") == line.version:
        return "", 204
    opened = purchases.grant_of(payment.id)
    return render_template(
        "staff/_rehearsal.html" if is_poll else "staff/rehearsal.html",
        proof=line,
        proof_for_staff=True,
        package=purchase.package.name,
        grant={"username": opened.username, "password": opened.password} if opened and opened.is_open else None,
        poll_url=url_for("staff.site_rehearsal", token=token, v=line.version),
        cut_url=url_for("staff.site_cut", token=token) if opened and opened.is_open else None,
        attempt_url=url_for("staff.attempt", token=token),
        back_url=url_for("staff.sites"),
    )


@needs(MANAGE_SITES)
def cut(token: str) -> ResponseReturnValue:
    """End the rehearsal's access: the device must go offline."""

    def work() -> str:
        payment = payment_of(g.tenant.id, token)
        is_cut = rehearsal.cut(g.tenant.id, payment.id, actor=actor())
        return _("Cut. The line says when the device is really offline.") if is_cut else _("It was over already.")

    return buttons.do(work, then=url_for("staff.site_rehearsal", token=token), ring=queue.SPREAD)
