"""A new tenant."""

import re

from sqlalchemy import select

from portal.audit import chain
from portal.kernel.db import db
from portal.kernel.errors import Refused
from portal.tenants.models import Tenant

_SLUG, _COLOUR = re.compile(r"[a-z0-9][a-z0-9-]{1,38}"), re.compile(r"#[0-9a-fA-F]{6}")


def create(*, slug: str, name: str, is_clinic: bool, is_hotspot: bool, colour: str = "#0b5d4b") -> Tenant:
    """A clinic, a hotspot, or both. Raises Refused with what is wrong. The caller commits."""
    if not _SLUG.fullmatch(slug):
        raise Refused("The short name has 2 to 39 small letters, digits and hyphens, such as upendo-clinic.")
    if not _COLOUR.fullmatch(colour):
        raise Refused("The colour is written like #0b5d4b.")
    if not (is_clinic or is_hotspot):
        raise Refused("Say what it is: --clinic, --hotspot, or both.")
    if db.session.scalar(select(Tenant.id).where(Tenant.slug == slug)) is not None:
        raise Refused(f"There is a tenant {slug} already.")
    tenant = Tenant(
        slug=slug, name=name.strip()[:80], is_clinic=is_clinic, is_hotspot=is_hotspot, colour=colour.lower()
    )
    db.session.add(tenant)
    db.session.flush()
    chain.record(tenant.id, "tenant", tenant.id, "created", actor="command line", new=slug)
    return tenant
