"""Paid means online, proved: money, access, what the router says, first traffic: one line a purchase, with times.

The same line stands on the payer's page and on the payment's page of staff. Each step is what a row says, not what we
ordered: a router counts once it was read back, traffic once the router accounted for it.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from portal.hotspot.models import AccessGrant, AccessSession, Purchase
from portal.hotspot.routers import connection
from portal.kernel import clock
from portal.kernel.db import db
from portal.kernel.errors import Sentence as _
from portal.kernel.errors import Text
from portal.payments.models import Payment

DONE, NOW, TODO, FAILED = "done", "now", "todo", "failed"


@dataclass(frozen=True)
class Step:
    """One step. state: done, now (under way), todo, failed. at: when it was done. note: what hinders it, for staff."""

    name: str
    label: Text
    state: str
    at: datetime | None = None
    note: str = ""


@dataclass(frozen=True)
class Proof:
    """The line of one purchase; `steps` in order: paid, opened, router, online, and over once it is."""

    steps: tuple[Step, ...]

    @property
    def is_online(self) -> bool:
        return any(one.name == "online" and one.state == DONE for one in self.steps)

    @property
    def version(self) -> str:
        """Changes when the line does."""
        return "-".join(f"{one.state[0]}{int(one.at.timestamp()) if one.at else ''}" for one in self.steps)


def of_payment(payment_id: int) -> Proof | None:
    """The line of what this payment buys; None where it buys no access."""
    row = db.session.execute(
        select(Purchase, Payment, AccessGrant)
        .join(Payment, Payment.id == Purchase.payment_id)
        .outerjoin(AccessGrant, AccessGrant.purchase_id == Purchase.id)
        .where(Purchase.payment_id == payment_id)
    ).one_or_none()
    if row is None:
        return None
    _purchase, payment, grant = row
    is_paid = payment.paid_at is not None
    paid = Step("paid", _("Paid"), DONE if is_paid else NOW, payment.paid_at)
    if grant is None:
        opened = Step("opened", _("Access opened"), NOW if is_paid else TODO)
        return Proof((paid, opened, Step("router", _("Router knows it"), TODO), Step("online", _("Online"), TODO)))
    return Proof((paid, *_of_grant(grant, connection.stands(grant))))


def of_grant(payment: Payment, grant: AccessGrant, stands: connection.Standing) -> Proof:
    """The same line, for who knows already how far the access has come."""
    return Proof((Step("paid", _("Paid"), DONE, payment.paid_at), *_of_grant(grant, stands)))


def _of_grant(grant: AccessGrant, stands: connection.Standing) -> list[Step]:
    opened = Step("opened", _("Access opened"), DONE, grant.created_at)
    at = max(stands.traffic_at, grant.created_at) if stands.traffic_at else None
    online = Step("online", _("Online"), DONE if at else NOW if stands.is_online else TODO, at)
    steps = [opened, _router(stands, online_at=at), online]
    if over := _over(grant, grant.leader_id or grant.id):
        steps.append(over)
    return steps


def _router(stands: connection.Standing, *, online_at: datetime | None) -> Step:
    """Read back from a router that is told; where routers ask us, they may as soon as it is opened."""
    label = _("Router knows it")
    if stands.read_back_at or online_at:
        return Step("router", label, DONE, stands.read_back_at or online_at)
    if stands.state in (connection.READY, connection.ONLINE):
        return Step("router", _("Router may ask for it"), DONE, stands.paid_at)
    return Step("router", label, FAILED if stands.problem else NOW, note=stands.problem)


def _over(grant: AccessGrant, leader_id: int) -> Step | None:
    """Once its time is over: done when nobody is online with it any more."""
    if grant.is_open:
        return None
    mates = select(AccessGrant.id).where(
        AccessGrant.leader_id == leader_id, AccessGrant.ended_at.is_(None), AccessGrant.expires_at > clock.now()
    )
    if db.session.scalar(mates.limit(1)) is not None:
        return None
    stays = select(func.count(), func.max(AccessSession.stopped_at)).where(AccessSession.grant_id == leader_id)
    lasting = db.session.scalar(
        select(AccessSession.id).where(AccessSession.grant_id == leader_id, AccessSession.stopped_at.is_(None)).limit(1)
    )
    ended_at = grant.ended_at or grant.expires_at
    if lasting is not None:
        return Step("over", _("Time over, being disconnected"), NOW)
    _count, last = db.session.execute(stays).one()
    return Step("over", _("Offline"), DONE, max(last, ended_at) if last else ended_at)
