"""The chaining job."""

from sqlalchemy import select

from portal.audit import chain
from portal.audit.models import AuditEntry
from portal.db import db, transaction


def chain_all() -> None:
    """Chain every tenant's committed rows, in batches. Safe to run twice, or two at once."""
    tenants = db.session.scalars(select(AuditEntry.tenant_id).where(AuditEntry.seq.is_(None)).distinct()).all()
    for tenant_id in tenants:
        chained = chain.BATCH_ROWS
        while chained == chain.BATCH_ROWS:
            with transaction():
                chained = chain.chain_tenant(tenant_id)
