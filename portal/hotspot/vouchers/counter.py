"""Selling codes for cash: each sale a payment by hand, in a drawer."""

from sqlalchemy import select

from portal.gateways import client_factory
from portal.hotspot.models import Package
from portal.hotspot.vouchers import batches, codes, drawers
from portal.hotspot.vouchers.models import Drawer, Voucher
from portal.hotspot.vouchers.states import REDEEMABLE, VoucherState
from portal.kernel import clock
from portal.kernel.db import db
from portal.kernel.errors import Conflict
from portal.kernel.errors import Sentence as _
from portal.kernel.states import move
from portal.payments import closing, manual
from portal.payments.models import Payment
from portal.payments.payment import new_reference, open_payment
from portal.payments.states import PaymentState
from portal.tenants.models import Tenant


def sell(tenant: Tenant, drawer: Drawer, package: Package, *, user_id: int, actor: str, key: str) -> Voucher:
    """A new code, paid for in cash. key: of the form, so that sending it twice sells one. The caller commits.

    Raises Conflict where the drawer was closed meanwhile. Afterwards enqueue PAID.
    """
    drawers.lock(drawer)
    if before := _sold_by(tenant.id, key):
        return before
    expires_at = clock.now() + batches.SHELF
    voucher = Voucher(tenant_id=tenant.id, package_id=package.id, code=codes.new_code(), expires_at=expires_at)
    db.session.add(voucher)
    db.session.flush()
    _take_cash(tenant, drawer, voucher, user_id=user_id, actor=actor, key=key)
    return voucher


def sell_printed(tenant: Tenant, drawer: Drawer, typed: str, *, user_id: int, actor: str, key: str) -> Voucher:
    """A code from a printed sheet, paid for in cash. The caller commits. Raises NotFound, Conflict where it is gone."""
    drawers.lock(drawer)
    if before := _sold_by(tenant.id, key):
        return before
    voucher = batches.get(tenant.id, typed)
    if voucher.state != VoucherState.MADE or voucher.expires_at <= clock.now():
        raise Conflict(_("This code was sold, used or taken back already. Take another one."))
    _take_cash(tenant, drawer, voucher, user_id=user_id, actor=actor, key=key)
    return voucher


def _sold_by(tenant_id: int, key: str) -> Voucher | None:
    """What this form sold before."""
    sold = select(Voucher).join(Payment, Payment.id == Voucher.payment_id)
    return db.session.scalars(sold.where(Payment.tenant_id == tenant_id, Payment.idempotency_key == key)).one_or_none()


def _take_cash(tenant: Tenant, drawer: Drawer, voucher: Voucher, *, user_id: int, actor: str, key: str) -> None:
    package = voucher.package
    payment = open_payment(
        tenant,
        None,
        environment=client_factory.environment_of(tenant.id, "hotspot"),
        purpose="hotspot",
        reference=new_reference("W"),
        title=package.name,
        amount_cents=package.price_cents,
        actor=actor,
        idempotency_key=key,
    )
    taken = manual.Taken(package.price_cents, "cash", actor, user_id, note=package.name, key=f"voucher/{key}")
    manual.for_payment(tenant.id, payment.reference, taken)
    if not move(voucher, VoucherState.SOLD, sold_at=clock.now(), payment_id=payment.id, drawer_id=drawer.id):
        raise Conflict(_("This code was sold, used or taken back already. Take another one."))


def take_back(payment: Payment, *, actor: str) -> Voucher | None:
    """Its money is gone: its code opens nothing any more, and nobody owes it. None where it bought no code.

    The caller commits.
    """
    bought = select(Voucher).where(Voucher.payment_id == payment.id)
    voucher = db.session.scalars(bought.execution_options(populate_existing=True)).one_or_none()
    if voucher is None:
        return None
    if voucher.state in REDEEMABLE | {VoucherState.REDEEMED}:
        batches.void(voucher, why="Its money was taken back.", actor=actor)
    if payment.state == PaymentState.OPEN:
        closing.close_payment(payment, why="Its code was taken back.", actor=actor)
    return voucher
