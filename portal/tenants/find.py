"""Finding a tenant."""

from sqlalchemy import select

from portal.kernel.db import db
from portal.kernel.errors import NotFound
from portal.kernel.errors import Sentence as _
from portal.tenants.models import Tenant


def by_slug(slug: str | None, *, kind: str = "") -> Tenant:
    """The tenant of this name. kind: `clinic` or `hotspot`, where it must be one. Raises NotFound."""
    tenant = db.session.scalars(select(Tenant).where(Tenant.slug == (slug or ""))).one_or_none()
    if tenant is None or (kind == "clinic" and not tenant.is_clinic) or (kind == "hotspot" and not tenant.is_hotspot):
        raise NotFound(_("There is no such business here. Check the address."), code="unknown_tenant")
    return tenant
