"""Who may see a staff page, and which tenant they see."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user
from sqlalchemy import select

from portal.audit import chain
from portal.clinic import messages
from portal.clinic.reception import board
from portal.gateways import client_factory
from portal.gateways.settings import of_tenant
from portal.hotspot.routers import trouble
from portal.kernel.db import db, transaction
from portal.kernel.logs import bind
from portal.notifications import notices
from portal.payments import stuck
from portal.payments.sms import submissions
from portal.staff import kept_forms
from portal.tenants.models import Tenant
from portal.users import permissions
from portal.users.permissions import STAFF_ROLES, Forbidden
from portal.web.signin import keep_session

View = Callable[..., ResponseReturnValue]
TREATING = ("clinician", "tenant_admin")
MOST_LOOKED_AT = 20  # pages that a session remembers, in its cookie


def let_in() -> ResponseReturnValue | None:
    """Signed in, and staff of the tenant that this session works for; else the sign-in page or a refusal."""
    if not current_user.is_authenticated:
        return kept_forms.ask_keeping()
    keep_session()
    tenant, role = _chosen()
    if tenant is None or role not in STAFF_ROLES:
        raise Forbidden(_("This sign-in has no staff pages."))
    g.tenant, g.role = tenant, role
    bind(tenant=tenant.slug, user=current_user.id)
    kept_forms.take_up()
    if request.endpoint == "staff.today" and not permissions.allows(role, permissions.SEE_MONEY):
        return redirect(url_for("staff.sell"))  # a seller's one page
    return None


def _chosen() -> tuple[Tenant | None, str | None]:
    slug = request.args.get("tenant") or session.get("tenant")
    if current_user.is_platform_admin:
        found = select(Tenant).where(Tenant.slug == slug) if slug else select(Tenant).order_by(Tenant.id)
        tenant = db.session.scalars(found.limit(1)).first()
        if tenant is not None:
            session["tenant"] = tenant.slug
        return tenant, "tenant_admin"
    mine = [m for m in current_user.memberships if m.role in STAFF_ROLES]
    chosen = next((m for m in mine if m.tenant.slug == slug), mine[0] if mine else None)
    if chosen is None:
        return None, None
    session["tenant"] = chosen.tenant.slug
    return chosen.tenant, chosen.role


def needs(permission: str, *, looks_at: str = "") -> Callable[[View], View]:
    """Name the permission that a staff page needs, and what of people's payments it shows: that look is recorded.

    What a page fetches by itself while it stays open is one look: the first one of a session is recorded however it
    is asked for, since anybody may send the header of a poll.
    """

    def wrap(view: View) -> View:
        @wraps(view)
        def guarded(**arguments: Any) -> ResponseReturnValue:
            if not permissions.allows(g.role, permission):
                raise Forbidden(_("Your role may not see this. Ask an administrator."))
            if looks_at and not _is_poll():
                with transaction():
                    chain.record(g.tenant.id, "tenant", g.tenant.id, f"looked_at_{looks_at}", actor=actor())
            return view(**arguments)

        guarded.permission = permission  # type: ignore[attr-defined]
        return guarded

    return wrap


def _is_poll() -> bool:
    """Whether a page that was looked at before asks again by itself; remembers that it is looked at."""
    looked, this = session.get("looked", []), f"{g.tenant.id}{request.path}"
    if this not in looked:
        session["looked"] = [*looked, this][-MOST_LOOKED_AT:]
        return False
    return "HX-Request" in request.headers


def read_id(name: str) -> int | None:
    """The row id that this page's address goes on from; None where it names none that could be one."""
    return read_row_id(request.args.get(name, ""))


def read_row_id(given: str) -> int | None:
    """The row id that this text is; None for what could be none."""
    return int(given) if given.isascii() and given.isdecimal() and len(given) < 19 else None


def actor() -> str:
    """How the audit names who is signed in."""
    return f"user:{current_user.id}"


def is_test(tenant: Tenant) -> bool:
    """Whether this tenant's money is test money."""
    return client_factory.environment_of(tenant.id) == "sandbox"


def context() -> dict[str, Any]:
    """What every staff page shows around its content."""
    if "tenant" not in g:
        return {}
    shown = {"tenant": g.tenant, "rail": _rail(), "test_mode": is_test(g.tenant)}
    if not permissions.allows(g.role, permissions.SEE_MONEY):
        return shown
    bell = notices.bell(notices.of_user(current_user.id, g.tenant.id))
    return shown | {"bell": bell, "list_url": url_for("staff.notices"), "ring_url": url_for("staff.bell")}


def _rail() -> list[tuple[str, str, str, bool]]:
    tenant, role, here = g.tenant, g.role, request.endpoint or ""
    stops = [(_("Today"), "staff.today", "today", permissions.SEE_MONEY, True)]
    treats = tenant.is_clinic and role in TREATING and board.clinician_of(tenant.id, current_user.id) is not None
    stops.append((_("My day"), "staff.own_day", "calendar", permissions.SEE_CLINIC, treats))
    stops.append((_("Reception"), "staff.board", "people", permissions.SEE_CLINIC, tenant.is_clinic))
    stops.append((_("Appointments"), "staff.appointments", "calendar", permissions.SEE_CLINIC, tenant.is_clinic))
    stops.append((_("Patients"), "staff.patients", "people", permissions.SEE_CLINIC, tenant.is_clinic))
    stops.append((_("Payments"), "staff.payments", "money", permissions.SEE_MONEY, True))
    stops.append((_("Money to place"), "staff.unmatched", "inbox", permissions.SEE_MONEY, True))
    unchecked = submissions.waiting_count(tenant.id)
    checking = _("Messages to check (%(number)s)", number=unchecked) if unchecked else _("Messages to check")
    has_no_api = any(submissions.takes(gateway) for gateway in of_tenant(tenant.id))
    stops.append((checking, "staff.claims", "sms", permissions.SEE_MONEY, bool(unchecked) or has_no_api))
    left = sum(stuck.counts(tenant.id).values())
    stops.append((_("Stuck (%(number)s)", number=left), "staff.stuck", "alert", permissions.SEE_MONEY, bool(left)))
    offline = trouble.count(tenant.id)
    waits = _("Paid and not online (%(number)s)", number=offline)
    stops.append((waits, "staff.provisioning", "wifi", permissions.WORK_HOTSPOT, bool(offline)))
    stops.append((_("Online now"), "staff.sessions", "wifi", permissions.WORK_HOTSPOT, tenant.is_hotspot))
    stops.append((_("Sell"), "staff.sell", "money", permissions.SELL_VOUCHERS, tenant.is_hotspot))
    stops.append((_("Packages"), "staff.packages", "wifi", permissions.MANAGE_PACKAGES, tenant.is_hotspot))
    stops.append((_("Vouchers"), "staff.vouchers", "print", permissions.WORK_HOTSPOT, tenant.is_hotspot))
    stops.append((_("Drawers"), "staff.drawers", "lock", permissions.SEE_MONEY, tenant.is_hotspot))
    stops.append((_("Shifts"), "staff.shifts", "lock", permissions.SEE_MONEY, tenant.is_clinic))
    unreached = messages.count_not_reached(tenant.id) if tenant.is_clinic else 0
    told = _("Not reached (%(number)s)", number=unreached) if unreached else _("Messages")
    stops.append((told, "staff.messages", "sms", permissions.SEE_CLINIC, tenant.is_clinic))
    stops.append((_("Timetable"), "staff.timetable", "people", permissions.MANAGE_CLINIC, tenant.is_clinic))
    stops.append((_("Online meetings"), "staff.meetings", "video", permissions.MANAGE_CLINIC, tenant.is_clinic))
    stops.append((_("Taken by hand"), "staff.manual", "pen", permissions.SEE_MONEY, True))
    stops.append((_("Refunds"), "staff.refunds", "retry", permissions.REFUND, True))
    stops.append((_("Customers"), "staff.customers", "people", permissions.SEE_MONEY, True))
    stops.append((_("Invoices"), "staff.invoices", "print", permissions.SEE_CLINIC, tenant.is_clinic))
    stops.append((_("Reports"), "staff.reconcile", "chart", permissions.RECONCILE, True))
    stops.append((_("Figures"), "staff.clinic_figures", "chart", permissions.RECONCILE, tenant.is_clinic))
    stops.append((_("Usage"), "staff.usage", "chart", permissions.SEE_MONEY, tenant.is_hotspot))
    stops.append((_("Sites"), "staff.sites", "place", permissions.MANAGE_SITES, tenant.is_hotspot))
    stops.append((_("Settings"), "staff.gateways", "gear", permissions.MANAGE_GATEWAYS, True))
    stops.append((_("Business"), "staff.business", "place", permissions.MANAGE_PEOPLE, True))
    stops.append((_("People"), "staff.people", "key", permissions.MANAGE_PEOPLE, True))
    return [
        (label, url_for(endpoint), symbol, here.startswith(endpoint.rstrip("s")))
        for label, endpoint, symbol, permission, is_there in stops
        if is_there and permissions.allows(role, permission)
    ]
