"""What time alone does to what was sold: unused vouchers expire, and what waits behind something used up begins."""

from datetime import datetime

from sqlalchemy import select, update

from portal.hotspot import places, turns
from portal.hotspot.models import TO_BEGIN, AccessGrant
from portal.hotspot.vouchers import batches
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.logs import logger


def expire_vouchers() -> None:
    """Let vouchers expire whose shelf life is over."""
    while True:
        with transaction():
            if batches.expire() < batches.EXPIRED_AT_ONCE:
                return


def begin_waiting() -> None:
    """Tell routers of what begins now, and begin what waits behind nothing but what is used up.

    One bad device stops no other.
    """
    with transaction():
        begun = update(AccessGrant).where(TO_BEGIN.waits, AccessGrant.starts_at <= clock.now())
        db.session.execute(begun.values(is_waiting=False, provision_at=clock.now()))
    for tenant_id, mac in _devices_waiting():
        try:
            with transaction():
                _begin_on(tenant_id, mac)
        except Exception as error:
            logger.error("waiting_not_begun", tenant=tenant_id, error=repr(error)[:300])


def _devices_waiting() -> list[tuple[int, str]]:
    """Devices on which something has not begun."""
    waits = select(AccessGrant.tenant_id, AccessGrant.mac).where(TO_BEGIN.waits, AccessGrant.mac != "")
    found = [(row.tenant_id, row.mac) for row in db.session.execute(waits.distinct())]
    db.session.rollback()
    return found


def _begin_on(tenant_id: int, mac: str) -> None:
    turns.take(turns.names(tenant_id, mac=mac))
    here, now = places.open_on(tenant_id, mac=mac), clock.now()
    running, waiting = _split(here, now)
    if not waiting or len(places.used_up_passes(running)) < len({one.leader_id for one in running}):
        return
    used_up = {one.leader_id for one in running}
    own = [one for one in waiting if one.leader_id not in used_up]  # what extends a used up pass is begun by its caps
    if not running:  # it went on to another device, perhaps with who holds a code that nobody's number tells of
        own = [one for one in own if one.phone_hash is not None]
    if not own:
        return
    earlier = min(one.starts_at for one in own) - now
    for one in own:
        one.starts_at -= earlier
        one.expires_at -= earlier
        one.provision_at = now
    db.session.flush()


def _split(here: list[AccessGrant], now: datetime) -> tuple[list[AccessGrant], list[AccessGrant]]:
    return [one for one in here if one.starts_at <= now], [one for one in here if one.starts_at > now]
