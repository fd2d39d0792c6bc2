"""The chaining job."""

from sqlalchemy import select

from portal.audit import chain
from portal.audit.models import TO_CHAIN, AuditEntry
from portal.kernel.db import db, transaction
from portal.kernel.logs import logger


def chain_all() -> None:
    """Chain every tenant's committed rows, in batches; one tenant's fault stops no other's. Safe twice at once."""
    tenants = db.session.scalars(select(AuditEntry.tenant_id).where(TO_CHAIN.waits).distinct()).all()
    for tenant_id in tenants:
        try:
            _chain(tenant_id)
        except Exception as error:
            logger.error("chaining_failed", tenant=tenant_id, error=repr(error)[:300])


def _chain(tenant_id: int) -> None:
    chained = chain.BATCH_ROWS
    while chained == chain.BATCH_ROWS:
        with transaction():
            chained = chain.chain_tenant(tenant_id)
