"""Sites and who is online there: settings, the files that routers take, the doctor; sessions, and ending one."""

from dataclasses import asdict
from typing import Any

from flask import Response, jsonify, request
from flask.typing import ResponseReturnValue

from portal.api.guard import Router, body, principal, read_cursor
from portal.api.schemas import contract, page_of
from portal.audit import chain
from portal.hotspot.models import Site
from portal.hotspot.sites import doctor, files, settings, stays
from portal.kernel import clock, ports
from portal.kernel.db import db, transaction
from portal.tenants.models import Tenant
from portal.users.permissions import MANAGE_SITES, WORK_HOTSPOT
from portal.web.language import said
from portal.web.links import house_of


def register_routes(router: Router) -> None:
    router.add("GET", "/sites", list_sites, who=MANAGE_SITES)
    router.add("POST", "/sites", create_site, who=MANAGE_SITES)
    router.add("GET", "/sites/<uid>", show_site, who=MANAGE_SITES)
    router.add("PUT", "/sites/<uid>", change_site, who=MANAGE_SITES)
    router.add("DELETE", "/sites/<uid>", close_site, who=MANAGE_SITES)
    router.add("GET", "/sites/<uid>/files/<name>", site_file, who=MANAGE_SITES)
    router.add("POST", "/sites/<uid>/check", check_site, who=MANAGE_SITES)
    router.add("GET", "/hotspot/sessions", list_sessions, who=WORK_HOTSPOT)
    router.add("POST", "/hotspot/sessions/<uid>/disconnect", disconnect, who=WORK_HOTSPOT)


def to_json(site: Site) -> dict[str, Any]:
    """A site without its secrets; which of them are kept, under `secretsKept`."""
    return {
        "id": site.uid,
        **settings.to_json(site),
        "files": list(files.names(site)),
        "routerVersion": site.router_version,
        "lastSeenAt": clock.rfc3339(site.last_seen_at) if site.last_seen_at else None,
        "createdAt": clock.rfc3339(site.created_at),
    }


@contract(page_of("Site"))
def list_sites() -> ResponseReturnValue:
    """The sites, newest first, without their secrets."""
    return jsonify(items=[to_json(one) for one in settings.of_tenant(principal().tenant_id)], nextCursor=None)


@contract("Site", takes="NewSite", answers=(201,))
def create_site() -> ResponseReturnValue:
    """Add a site. The secrets that its kind needs and that are not given are made; its files hold them."""
    asking, given = principal(), body()
    with transaction():
        site = settings.create(asking.tenant_id, given, actor=asking.actor, is_fresh_signin=asking.is_fresh)
        answer = to_json(site)
    return jsonify(answer), 201


@contract("Site")
def show_site(uid: str) -> ResponseReturnValue:
    """One site, without its secrets."""
    return jsonify(to_json(settings.get_by_uid(principal().tenant_id, uid)))


@contract("Site", takes="SiteChange")
def change_site(uid: str) -> ResponseReturnValue:
    """Change a site; what is not named stays.

    The address, the secrets and where codes may be sent need a fresh sign-in.
    """
    asking, given = principal(), body()
    with transaction():
        site = settings.get_by_uid(asking.tenant_id, uid)
        settings.change(site, given, actor=asking.actor, is_fresh_signin=asking.is_fresh)
        answer = to_json(site)
    return jsonify(answer)


@contract("Done")
def close_site(uid: str) -> ResponseReturnValue:
    """Close a site: nobody signs in there any more. What happened there stays."""
    asking = principal()
    with transaction():
        settings.close(settings.get_by_uid(asking.tenant_id, uid), actor=asking.actor)
    return jsonify(success=True, message="The site is closed. Its sessions and sales stay on record.")


@contract("SiteFile")
def site_file(uid: str, name: str) -> ResponseReturnValue:
    """One file for its router, with its secrets; that it was taken is recorded."""
    asking = principal()
    tenant = db.session.get_one(Tenant, asking.tenant_id)
    text = files.of_name(settings.get_by_uid(asking.tenant_id, uid), name, house_of(tenant))
    with transaction():
        site = settings.get_by_uid(asking.tenant_id, uid)
        chain.record(asking.tenant_id, "site", site.id, "file_taken", actor=asking.actor, new=name)
    return as_download(name, text)


def as_download(name: str, text: str) -> Response:
    """A file to keep, as plain text: nothing of it is to run in our name."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(text, mimetype="text/plain", headers=headers)


@contract("SiteCheck")
def check_site(uid: str) -> ResponseReturnValue:
    """Look at the site's router: each thing that was looked at, how it is, and what to do about it."""
    asking = principal()
    tenant = db.session.get_one(Tenant, asking.tenant_id)
    verdict = doctor.examine(
        settings.get_by_uid(asking.tenant_id, uid), house_of(tenant), surroundings=ports.surroundings()
    )
    findings = [
        {"name": one.name, "state": one.state, "sentence": said(one.sentence), "whatToDo": said(one.what_to_do)}
        for one in verdict.findings
    ]
    return jsonify(success=verdict.is_well, message=said(verdict.message), findings=findings)


def session_to_json(one: stays.Stay) -> dict[str, Any]:
    """One stay online. bytesIn: what the customer sent; expiresAt: of the pass that it is on, null without one."""
    values = asdict(one)
    return {
        "id": values["uid"],
        "username": values["username"],
        "mac": values["mac"],
        "site": values["site"],
        "startedAt": clock.rfc3339(one.started_at),
        "endedAt": clock.rfc3339(one.ended_at) if one.ended_at else None,
        "bytesIn": values["bytes_in"],
        "bytesOut": values["bytes_out"],
        "expiresAt": clock.rfc3339(one.expires_at) if one.expires_at else None,
        "ip": values["ip"],
        "endCause": values["end_cause"],
    }


@contract(page_of("Session"), query=("online", "cursor"))
def list_sessions() -> ResponseReturnValue:
    """Stays online, newest first; with online=true those that last."""
    is_online = request.args.get("online", "").lower() in ("true", "1", "yes")
    found, cursor = stays.page(principal().tenant_id, is_online=is_online, before_id=read_cursor())
    return jsonify(items=[session_to_json(one) for one in found], nextCursor=str(cursor) if cursor else None)


@contract("Disconnected")
def disconnect(uid: str) -> ResponseReturnValue:
    """End a stay. `state` is gone once the router says that it is; asked where that is not known yet."""
    asking = principal()
    ended = stays.disconnect(asking.tenant_id, uid, actor=asking.actor)
    return jsonify(success=ended.is_under_way, message=said(ended.sentence), state=ended.state)
