"""Sealing everything at rest under the newest key, in batches, while the product runs.

What no key of the ring opens stays as it is and is logged: it stops nothing else.
"""

from typing import Any

from sqlalchemy import inspect, select

from portal.kernel import ports, vault
from portal.kernel.db import SEALED_AS, Base, db, transaction
from portal.kernel.logs import logger
from portal.payments.inbox.spool import Spool

BATCH_ROWS = 200


def rotate() -> int:
    """How many values were sealed anew, this machine's spool among them. Safe to stop and to run again."""
    spool = ports.at_hand("spool", Spool)
    return sum(_rotate(mapper.class_) for mapper in Base.registry.mappers) + spool.reseal()


def _rotate(model: Any) -> int:
    kinds = {one.key: one.columns[0].info.get(SEALED_AS) for one in inspect(model).column_attrs}
    columns = {name: str(kind) for name, kind in kinds.items() if kind}
    done, last_id = 0, 0
    while columns:
        with transaction():
            batch = select(model).where(model.id > last_id).order_by(model.id).limit(BATCH_ROWS).with_for_update()
            rows = db.session.scalars(batch).all()
            for row in rows:
                done += sum(int(_reseal(row, column, kind)) for column, kind in columns.items())
                last_id = row.id
        if len(rows) < BATCH_ROWS:
            break
    return done


def _reseal(row: Any, column: str, kind: str) -> bool:
    sealed = getattr(row, column)
    if not sealed or row.tenant_id is None or vault.is_current(sealed):
        return False
    context = vault.context(kind, row.tenant_id)
    try:
        text = vault.unseal(sealed, context=context)
    except (vault.CannotOpen, ValueError):
        logger.error("value_not_resealed", table=row.__tablename__, column=column, row=row.id)
        return False
    setattr(row, column, vault.seal(text, context=context))
    return True
