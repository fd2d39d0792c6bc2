"""Access on the strength of a pasted message that nobody has checked yet, where the tenant's policy allows it."""

from sqlalchemy import select

from portal.hotspot import access, purchases
from portal.hotspot.models import AccessGrant
from portal.kernel.db import db
from portal.payments.models import SmsSubmission
from portal.payments.sms import submissions
from portal.payments.states import PaymentState


def open_access(claim: SmsSubmission) -> AccessGrant | None:
    """The access that this claim opens before anybody looked; None where it has to wait. The caller commits.

    When staff accept the claim, fulfilment finds this very grant: same code, same end.
    """
    purchase = purchases.of_payment(claim.payment_id)
    if purchase is None or not submissions.may_open(claim):
        return None
    taken = select(AccessGrant.id).where(
        AccessGrant.tenant_id == claim.tenant_id, AccessGrant.username == claim.receipt
    )
    receipt = claim.receipt if db.session.scalar(taken) is None else None
    opened = access.grant(purchase, receipt=receipt)
    submissions.opened(claim)
    return opened


def end_access(claim: SmsSubmission, *, actor: str) -> None:
    """End what a refused claim had opened, now, unless other money paid for it. The caller commits."""
    opened = purchases.grant_of(claim.payment_id)
    if opened is not None and claim.payment.state != PaymentState.PAID:
        access.end(opened, why="The message was refused.", actor=actor)
