"""A code or a message that a payer shows at the desk, used for one thing that they owe.

Decided: staff may place any money that has no home, so a code alone suffices where its money is known here. Of money
that is not known, a code proves nothing to them either: M-Pesa is asked, and where it cannot be, the message waits for
whoever looks at the till's phone, as a payer's own does.
"""

import re
from dataclasses import dataclass
from typing import Literal

from portal.gateways import client_factory
from portal.gateways.models import Gateway
from portal.kernel.errors import Conflict, Refused
from portal.kernel.errors import Sentence as _
from portal.payments import placing, search, transaction_status
from portal.payments.booking import find
from portal.payments.models import Payment, Transaction
from portal.payments.sms import submissions, verification
from portal.payments.sms.parser import parse_sms
from portal.payments.sms.verification import StatedPayment
from portal.tenants.models import Tenant

CODE = re.compile(r"[A-Z][A-Z0-9]{9}")
DEVICE = "desk"


@dataclass(frozen=True)
class Used:
    """What came of it. cents: placed; otherwise M-Pesa is asked, or a colleague looks."""

    what: Literal["placed", "asked", "queued"]
    receipt: str
    cents: int = 0


def use(tenant: Tenant, payment: Payment, words: str, *, actor: str) -> Used:
    """Use the money of this code or message for this payment. Raises Refused, fit for staff.

    The caller commits, then enqueues PAID and REQUESTS.
    """
    gateway = payment.gateway or client_factory.choose(tenant.id, payment.purpose)
    receipt, stated = _read(tenant, gateway, words)
    money = find(tenant.id, payment.environment, receipt)  # `place` locks it, after the payment
    if money is not None:
        return Used("placed", receipt, _place(money, stated, payment, actor))
    if submissions.takes(gateway):
        return _queue(gateway, payment, words, stated)
    if transaction_status.ask(gateway, receipt):
        return Used("asked", receipt)
    sentence = _("M-Pesa has not told us of %(receipt)s. Compare each letter with the payer's phone.", receipt=receipt)
    raise Refused(sentence, code="unknown_payment")


def _read(tenant: Tenant, gateway: Gateway, words: str) -> tuple[str, StatedPayment | None]:
    """(receipt, what the message says or None where only a code was typed)."""
    code = re.sub(r"\s", "", words).upper()
    if CODE.fullmatch(code):
        return code, None
    sms = parse_sms(words)
    if sms.receipt is None or not sms.is_payment_to_business:
        raise Refused(
            _("Type the code of ten letters and digits, or paste the whole M-Pesa message of a payment to us."),
            code="not_an_mpesa_message",
        )
    stated = verification.stated_in(words)
    if stated and not verification.names_us(tenant, gateway, sms.paid_to or "", account=stated.account):
        raise Refused(_("This payment went to %(name)s, not to us.", name=sms.paid_to), code="other_merchant")
    return sms.receipt, stated


def _place(money: Transaction, stated: StatedPayment | None, payment: Payment, actor: str) -> int:
    if stated is not None and stated.amount_cents != money.amount_cents:
        raise Refused(
            _("M-Pesa told us of another amount under %(receipt)s. Look at the payer's phone.", receipt=money.receipt),
            code="contradicted",
        )
    if not money.unallocated_cents:
        used_for = search.references_of([money])[money.id] or "–"
        raise Conflict(
            _("%(receipt)s was used already: %(reference)s.", receipt=money.receipt, reference=used_for),
            code="already_used",
        )
    return placing.place(money.tenant_id, money.uid, payment.reference, actor=actor)


def _queue(gateway: Gateway, payment: Payment, words: str, stated: StatedPayment | None) -> Used:
    if stated is None:
        raise Refused(_("Paste the whole message: a colleague compares it with the till's phone."))
    claim = submissions.queue(
        gateway, stated, words, device=DEVICE, network_hash="", open_payment=lambda: payment
    )  # fmt: skip
    if claim.payment_id != payment.id:
        raise Conflict(_("This message was given for something else already."), code="already_used")
    return Used("queued", stated.receipt)
