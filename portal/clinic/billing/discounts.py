"""Discounts and waivers: less to pay, with a reason, and above a limit by another person's word.

Decided: the limit counts all discounts of one invoice together, so that it cannot be passed in small steps; what waits
for approval counts too, and changes nothing until somebody else says yes.
"""

from sqlalchemy import func, select

from portal.audit import chain
from portal.clinic.models import Discount, Invoice
from portal.kernel import clock
from portal.kernel.db import db
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.kernel.errors import Sentence as _
from portal.payments import reductions
from portal.payments.payment import lock_payment
from portal.tenants.models import Tenant

REQUESTED, APPROVED, REFUSED = "requested", "approved", "refused"
LONGEST_REASON, SHOWN = 200, 50


def ask(
    invoice: Invoice, *, amount_cents: int, why: str, user_id: int, actor: str, seen: int | None = None
) -> Discount:
    """Less to pay by this much: at once up to the clinic's limit, else when another person approves it.

    seen: how many of them stood on the page; the same form sent twice is one discount, and none is given beside one
    that nobody saw. The caller commits, then enqueues PAID. Raises Refused for more than is due or no reason, Conflict
    as `ask_less` and where somebody else was quicker.
    """
    why = read_reason(why)
    payment = lock_payment(invoice.payment_id)
    given = of_invoice(invoice.id) if seen is not None else []
    if seen is not None and len(given) > seen:
        last = given[-1]
        if (last.requested_by, last.amount_cents, last.why) == (user_id, amount_cents, why):
            return last
        raise Conflict(_("Something was taken off this invoice meanwhile. Look at it, then send this again."))
    _refuse_void(invoice)
    tenant = db.session.get_one(Tenant, invoice.tenant_id)
    before = select(func.coalesce(func.sum(Discount.amount_cents), 0))
    before = before.where(Discount.invoice_id == invoice.id, Discount.status != REFUSED)
    in_all_cents = int(db.session.scalar(before) or 0) + amount_cents
    needs_second = in_all_cents > tenant.discount_approval_above_cents
    asked = Discount(
        tenant_id=invoice.tenant_id,
        invoice_id=invoice.id,
        amount_cents=amount_cents,
        why=why,
        status=REQUESTED if needs_second else APPROVED,
        requested_by=user_id,
        decided_by=None if needs_second else user_id,
        decided_at=None if needs_second else clock.now(),
    )
    if not 0 < amount_cents <= payment.due_cents:
        raise Refused(reductions.over_due(payment), code="over_due")
    if not needs_second:
        reductions.ask_less(payment, amount_cents, why=why, actor=actor)
    db.session.add(asked)
    db.session.flush()
    _record(asked, "discount_asked" if needs_second else "discount_given", actor=actor)
    return asked


def read_reason(why: str) -> str:
    """Why, in at most 200 characters. Raises Refused for none."""
    said = " ".join(why.replace("\0", "").split())[:LONGEST_REASON]
    if not said:
        raise Refused(_("Say why."), code="invalid_fields", fields={"reason": _("Say why.")})
    return said


def _refuse_void(invoice: Invoice) -> None:
    if invoice.voided_at is not None:
        raise Conflict(_("This invoice is void."))


def decide(tenant_id: int, uid: str, *, is_yes: bool, user_id: int, actor: str) -> Discount:
    """Another person's yes or no. The caller commits, then enqueues PAID.

    Raises NotFound, Refused where it was asked for by the same person or is more than is still due, Conflict where
    somebody decided it.
    """
    asked = by_uid(tenant_id, uid)
    payment = lock_payment(asked.invoice.payment_id)  # two who decide at once wait for each other here
    db.session.refresh(asked)
    if asked.status != REQUESTED:
        raise Conflict(_("Somebody decided this already."))
    if asked.requested_by == user_id and is_yes:
        raise Refused(_("Somebody else must approve what you asked for."), code="own_request")
    if is_yes:
        _refuse_void(asked.invoice)
        reductions.ask_less(payment, asked.amount_cents, why=asked.why, actor=actor)
    asked.status = APPROVED if is_yes else REFUSED
    asked.decided_by, asked.decided_at = user_id, clock.now()
    _record(asked, "discount_given" if is_yes else "discount_refused", actor=actor)
    db.session.flush()
    return asked


def by_uid(tenant_id: int, uid: str) -> Discount:
    """One of the tenant's discounts. Raises NotFound."""
    mine = select(Discount).where(Discount.tenant_id == tenant_id, Discount.uid == uid)
    found = db.session.scalars(mine).one_or_none()
    if found is None:
        raise NotFound(_("There is no such discount here."))
    return found


def of_invoice(invoice_id: int) -> list[Discount]:
    """All that were asked for, oldest first."""
    return list(db.session.scalars(select(Discount).where(Discount.invoice_id == invoice_id).order_by(Discount.id)))


def waiting(tenant_id: int) -> list[Discount]:
    """What waits for a second person, oldest first."""
    mine = select(Discount).where(Discount.tenant_id == tenant_id, Discount.status == REQUESTED)
    return list(db.session.scalars(mine.order_by(Discount.id).limit(SHOWN)))


def _record(asked: Discount, action: str, *, actor: str) -> None:
    details = {"amount_cents": asked.amount_cents}
    chain.record(asked.tenant_id, "invoice", asked.invoice_id, action, actor=actor, why=asked.why, details=details)
