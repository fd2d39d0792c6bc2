"""What staff change in a pass that runs: more time, another package's speed and limits, another device, a stop.

Decided: time that staff give is added at the end of the pass, and what waits behind it waits longer; its caps stay. A
package is changed for what has not ended, its times stay as they were sold. Each change has a reason and is written
down with what it was before.
"""

from datetime import timedelta

from sqlalchemy import select

from portal.hotspot import access, packages, places
from portal.hotspot.models import AccessGrant
from portal.hotspot.purchases import normalise_mac
from portal.kernel import clock
from portal.kernel.db import db
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.kernel.errors import Sentence as _

MOST_S = 31 * 86_400


def find(tenant_id: int, username: str) -> AccessGrant:
    """The access of this user name: a receipt, a voucher's code, or a random one. Raises NotFound."""
    bare = "".join(username.upper().split()).replace("-", "")[:40]
    mine = select(AccessGrant).where(AccessGrant.tenant_id == tenant_id, AccessGrant.username == bare)
    opened = db.session.scalars(mine).one_or_none()
    if opened is None:
        raise NotFound(_("There is no such code here. Check each letter."), code="unknown_access")
    return opened


def pass_of(opened: AccessGrant) -> list[AccessGrant]:
    """All grants of its pass, ended ones too, in order."""
    mates = select(AccessGrant).where(AccessGrant.leader_id == opened.leader_id)
    return list(db.session.scalars(mates.order_by(AccessGrant.starts_at, AccessGrant.id)))


def _open(opened: AccessGrant) -> list[AccessGrant]:
    access.take_turn_with(opened)
    mates = access.open_of_pass(opened)
    if not mates:
        raise Conflict(_("Its time is over. Sell or give a new code."))
    return mates


def extend(opened: AccessGrant, seconds: int, *, why: str, actor: str) -> None:
    """Give its pass this much more time. The caller commits. Raises Refused; Conflict where it is over."""
    if not 60 <= seconds <= MOST_S:
        raise Refused(_("From one minute to 31 days."))
    last = max((one for one in _open(opened) if not access.is_addon(one)), key=lambda one: one.expires_at, default=None)
    if last is None:
        raise Conflict(_("Its time is over. Sell or give a new code."))
    longer, now = timedelta(seconds=seconds), clock.now()
    browser = last.purchase.browser_hash if last.purchase else ""
    for waiting in places.open_on(last.tenant_id, mac=last.mac, browser_hash=browser):
        if waiting.starts_at >= last.expires_at and waiting.id != last.id:
            waiting.starts_at += longer
            waiting.expires_at += longer
            waiting.provision_at = now
    last.expires_at += longer
    access.changed([last.id])
    access.record(last, "access_extended", actor=actor, new=f"{seconds} s", why=why)
    db.session.flush()


def change_package(opened: AccessGrant, package_uid: str, *, why: str, actor: str) -> None:
    """Give its pass the speed, devices and limits of this package; its times stay. The caller commits.

    Raises NotFound for no package of this hotspot's, Conflict where it is over.
    """
    package = packages.for_sale(opened.tenant_id, package_uid)
    mates = _open(opened)
    old = mates[0].package.name
    for one in [one for one in mates if not access.is_addon(one)]:
        one.package_id = package.id
    db.session.flush()
    access.changed([mates[0].id])
    access.record(opened, "access_package_changed", actor=actor, old=old, new=package.name, why=why)


def move(opened: AccessGrant, typed_mac: str, *, actor: str) -> None:
    """Use its pass on this device from now on. The caller commits. Raises Refused for no MAC address."""
    mac = normalise_mac(typed_mac)
    if not mac:
        raise Refused(_("A MAC address such as AA:BB:CC:DD:EE:FF."))
    _open(opened)
    access.move(opened, mac, actor=actor)


def suspend(opened: AccessGrant, *, why: str, actor: str) -> None:
    """Refuse its pass until it is lifted; its time runs on. The caller commits."""
    for one in _open(opened):
        one.suspended_at = one.suspended_at or clock.now()
    access.changed([opened.id])
    access.record(opened, "access_suspended", actor=actor, why=why)
    db.session.flush()


def lift(opened: AccessGrant, *, actor: str) -> None:
    """Let its pass in again. The caller commits."""
    for one in _open(opened):
        one.suspended_at = None
    access.changed([opened.id])
    access.record(opened, "access_lifted", actor=actor)
    db.session.flush()


def end(opened: AccessGrant, *, why: str, actor: str) -> None:
    """End all that is open of its pass. The caller commits. Raises Conflict where it is over."""
    for one in _open(opened):
        access.end(one, why=why, actor=actor)
