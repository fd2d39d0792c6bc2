"""What holds for all of a clinic's invoices."""

from portal.audit import chain
from portal.kernel import money
from portal.kernel.db import db
from portal.kernel.errors import Refused
from portal.kernel.errors import Sentence as _
from portal.tenants.models import Tenant

MOST_DISCOUNT_CENTS = 1_000_000 * money.CENTS


def change(tenant_id: int, *, limit: object, actor: str) -> None:
    """limit: KES that discounts of one invoice may sum to without a second person. The caller commits."""
    limit_cents = money.cents(limit)
    if not 0 <= limit_cents <= MOST_DISCOUNT_CENTS:
        raise Refused(_("The limit is from 0 to 1,000,000."))
    db.session.get_one(Tenant, tenant_id).discount_approval_above_cents = limit_cents
    chain.record(tenant_id, "tenant", tenant_id, "billing_terms", actor=actor, details={"limit_cents": limit_cents})
