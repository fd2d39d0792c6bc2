"""Sealing everything at rest under the newest key, in batches, while the product runs.

What no key of the ring opens stays as it is and is logged: it stops nothing else.
"""

from typing import Any

from sqlalchemy import inspect, select

from portal.kernel import ports, vault
from portal.kernel.db import Base, db, transaction
from portal.kernel.logs import logger
from portal.payments.inbox.spool import Spool

BATCH_ROWS = 200


def context_of(table: str, column: str, tenant_id: int) -> str:
    """The context a column's values are sealed in: what they are, and whose."""
    if table == "gateways":
        return f"gateway.{column.removesuffix('_sealed')}/{tenant_id}"
    if table == "outbox":
        return f"outbox/{tenant_id}"
    if column == "checkout_sealed":
        return f"checkout/{tenant_id}"
    if column == "password_sealed":
        return f"access/{tenant_id}"
    return f"phone/{tenant_id}" if column.endswith("phone_sealed") else f"personal/{tenant_id}"


def rotate() -> int:
    """How many values were sealed anew, this machine's spool among them. Safe to stop and to run again."""
    spool = ports.at_hand("spool", Spool)
    return sum(_rotate(mapper.class_) for mapper in Base.registry.mappers) + spool.reseal()


def _rotate(model: Any) -> int:
    columns = [attribute.key for attribute in inspect(model).column_attrs if attribute.key.endswith("_sealed")]
    done, last_id = 0, 0
    while columns:
        with transaction():
            batch = select(model).where(model.id > last_id).order_by(model.id).limit(BATCH_ROWS).with_for_update()
            rows = db.session.scalars(batch).all()
            for row in rows:
                done += sum(int(_reseal(row, model.__tablename__, column)) for column in columns)
                last_id = row.id
        if len(rows) < BATCH_ROWS:
            break
    return done


def _reseal(row: Any, table: str, column: str) -> bool:
    sealed = getattr(row, column)
    if not sealed or row.tenant_id is None or vault.is_current(sealed):
        return False
    context = context_of(table, column, row.tenant_id)
    try:
        text = vault.unseal(sealed, context=context)
    except (vault.CannotOpen, ValueError):
        logger.error("value_not_resealed", table=table, column=column, row=row.id)
        return False
    setattr(row, column, vault.seal(text, context=context))
    return True
