"""One thing to be paid: written down, found, locked, and every page that shows it told of what is new.

What became of it by hand or by time stands in `closing`; what paid it, in `booking` and `completion`.
"""

import secrets
from typing import Any

from sqlalchemy import select, update

from portal.audit import chain
from portal.gateways.models import Gateway
from portal.kernel import money
from portal.kernel.db import AS_WRITTEN, db, new_token, upsert_nothing
from portal.kernel.errors import Conflict, NotFound
from portal.kernel.errors import Sentence as _
from portal.kernel.states import move
from portal.payments.models import Payment
from portal.payments.states import PaymentState
from portal.tenants.models import Tenant

_LETTERS = "ABCDEFGHJKLMNQRSTUVWXYZ23456789"  # no P: it separates a payment's reference from its push's number


class ReferenceTaken(Conflict):
    """Something else is called so: one reference names one thing, or money that names it would pay the wrong one."""

    code = "reference_taken"


def new_reference(letter: str) -> str:
    """A payment reference of eight characters that a payer could type, such as `WK7Q2M4X`."""
    return letter + "".join(secrets.choice(_LETTERS) for _n in range(7))


def open_payment(
    tenant: Tenant,
    gateway: Gateway | None,
    *,
    environment: str,
    purpose: str,
    reference: str,
    title: str,
    amount_cents: int,
    live_key: str | None = None,
    actor: str = "payer",
    **columns: Any,
) -> Payment:
    """Write down one thing to be paid, or return the open one with the same `live_key`. The caller commits.

    reference: capitals and digits without P, at most nine. title: neutral words. Raises Refused for a bad amount,
    ReferenceTaken where the reference names something else.
    """
    money.payable_cents(money.kes(amount_cents), limit_cents=tenant.push_limit_cents)
    unique = ["tenant_id", "live_key"] if live_key else ["tenant_id", "reference"]
    insert = upsert_nothing(
        Payment,
        unique=unique,
        tenant_id=tenant.id,
        gateway_id=gateway.id if gateway else None,
        token=new_token(),
        environment=environment,
        purpose=purpose,
        reference=reference,
        title=title,
        amount_cents=amount_cents,
        live_key=live_key,
        **columns,
    ).returning(Payment.id)
    payment_id = db.session.execute(insert).scalar()
    if payment_id is not None:
        chain.record(
            tenant.id,
            "payment",
            payment_id,
            "opened",
            actor=actor,
            new=reference,
            details={"amount_cents": amount_cents},
        )
        return db.session.get_one(Payment, payment_id)
    if not live_key:
        raise ReferenceTaken(f"{reference} is the number of something else here.")
    return db.session.scalars(select(Payment).where(Payment.tenant_id == tenant.id, Payment.live_key == live_key)).one()


def payment_of(tenant_id: int, token: str) -> Payment:
    """One thing to be paid, by the token in its addresses. Raises NotFound."""
    found = db.session.scalars(
        select(Payment).where(Payment.tenant_id == tenant_id, Payment.token == token)
    ).one_or_none()
    if found is None:
        raise NotFound(_("There is no such payment here."))
    return found


def lock_payment(payment_id: int) -> Payment:
    """The payment, locked until the end of the transaction: what is due cannot change meanwhile."""
    return db.session.scalars(
        select(Payment).where(Payment.id == payment_id).with_for_update().execution_options(populate_existing=True)
    ).one()


def change_state(payment: Payment, new: PaymentState, **columns: Any) -> bool:
    """Move it on, and tell every page that shows it; False where somebody else moved it first. The caller commits."""
    return move(payment, new, version=Payment.version + 1, **columns)


def touch(payment_id: int, **columns: Any) -> None:
    """Tell every page that shows this payment that there is something new."""
    touched = update(Payment).where(Payment.id == payment_id).values(version=Payment.version + 1, **columns)
    db.session.scalars(touched.returning(Payment).execution_options(**AS_WRITTEN)).all()
