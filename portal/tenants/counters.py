"""Numbers in a row, per tenant: invoices, accounts."""

from sqlalchemy import update

from portal.kernel.db import db, upsert_nothing
from portal.tenants.models import Counter


def skip_to(tenant_id: int, series: str, number: int) -> None:
    """Go on after this number, which is taken. The caller commits, and has taken a number of the series before."""
    behind = (Counter.tenant_id == tenant_id, Counter.series == series, Counter.next_number <= number)
    db.session.execute(update(Counter).where(*behind).values(next_number=number + 1))


def take_number(tenant_id: int, series: str, *, first: int = 1001) -> int:
    """The next number of a series, never given twice. The caller commits."""
    db.session.execute(
        upsert_nothing(Counter, unique=["tenant_id", "series"], tenant_id=tenant_id, series=series, next_number=first)
    )
    step = update(Counter).where(Counter.tenant_id == tenant_id, Counter.series == series)
    return (
        db.session.execute(step.values(next_number=Counter.next_number + 1).returning(Counter.next_number)).scalar_one()
        - 1
    )
