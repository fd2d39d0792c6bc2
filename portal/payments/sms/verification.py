"""A pasted M-Pesa message: a claim to money that we must already know. It opens nothing by itself.

First the message alone is judged (`read`): all of it must be there, it must name us, be recent, and cover the price.
That tells its sender nothing that the text did not. Then everything that it says is held against the transaction that
M-Pesa told us of: code, amount, time, account, and the payer's number where both are known.

Decided: whatever differs, is unknown, or belongs to somebody else's money gets one and the same answer, and M-Pesa is
asked in each case alike: otherwise the answers would tell a guesser which receipts exist and how close a guess was.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.gateways import messages
from portal.gateways.models import Gateway
from portal.kernel import clock, personal
from portal.kernel.errors import Refused
from portal.kernel.errors import Sentence as _
from portal.kernel.money import format_kes
from portal.kernel.phone import without_phone
from portal.payments.booking import by_receipt
from portal.payments.models import Transaction
from portal.payments.sms.parser import parse_sms
from portal.tenants.models import Tenant

TIME_TOLERANCE = timedelta(minutes=10)  # between the message's minute and M-Pesa's own time of the payment
AHEAD = timedelta(minutes=10)  # a phone's clock may be ahead of ours
SHORTEST_PREFIX = 6  # M-Pesa cuts and lengthens business names; less than this is not the same name


@dataclass(frozen=True)
class StatedPayment:
    """What a message that may be a payment to us says."""

    receipt: str
    amount_cents: int
    occurred_at: datetime
    account: str


@dataclass(frozen=True)
class SmsCheck:
    """What a message comes to. reason: verified, already_used or unproven; money: only where it holds.

    contradicts: M-Pesa told us of this receipt, and of something else. Never for the eyes of who pasted it.
    """

    reason: str
    money: Transaction | None = None
    contradicts: bool = False


def stated_in(text: str) -> StatedPayment | None:
    """Receipt, amount, business, date and time, all of them, or None."""
    sms = parse_sms(text)
    if not (sms.receipt and sms.amount_cents and sms.paid_to and sms.date and sms.time):
        return None
    at = datetime.combine(sms.date, sms.time, tzinfo=clock.NAIROBI)
    return StatedPayment(sms.receipt, sms.amount_cents, at, sms.account or "")


def read(tenant: Tenant, gateway: Gateway, text: str, *, price_cents: int, least_cents: int) -> StatedPayment:
    """What the message says, if it may be a payment to us for this price. Raises Refused; its code is the reason.

    least_cents: the price of the cheapest thing on sale, so that nobody is sent to look for a cheaper one.
    """
    sms = parse_sms(text)
    if sms.receipt is None:
        raise Refused(
            _("This is not an M-Pesa message. Copy the whole message, from its code to its end."),
            code="not_an_mpesa_message",
        )
    if not sms.is_payment_to_business:
        raise Refused(
            _("This M-Pesa message is not a payment to a business. Paste the message of your payment."),
            code="not_a_payment",
        )
    stated = stated_in(text)
    if stated is None:
        raise Refused(
            _("This message lacks its amount, business or time. Paste all of it, unchanged."),
            code="incomplete_message",
        )
    if not names_us(tenant, gateway, sms.paid_to or "", account=stated.account):
        raise Refused(_("This payment went to %(name)s, not to us.", name=sms.paid_to), code="other_merchant")
    oldest = clock.now() - timedelta(hours=tenant.message_hours)
    if not oldest <= stated.occurred_at <= clock.now() + AHEAD:
        raise Refused(
            _("This message is not of the last %(hours)s hours. Show it to the staff.", hours=tenant.message_hours),
            code="too_old",
        )
    if stated.amount_cents < least_cents:
        raise Refused(
            _("You paid %(paid)s; the cheapest package costs %(price)s. Ask the staff to keep your money for you or"
              " send it back.", paid=format_kes(stated.amount_cents), price=format_kes(least_cents)),
            code="wrong_amount",
        )  # fmt: skip
    if stated.amount_cents < price_cents:
        raise Refused(
            _("You paid %(paid)s; this package costs %(price)s. Choose one that your payment covers.",
              paid=format_kes(stated.amount_cents), price=format_kes(price_cents)),
            code="wrong_amount",
        )  # fmt: skip
    return stated


def examine(gateway: Gateway, stated: StatedPayment, *, msisdn: str | None) -> SmsCheck:
    """Hold what a message says against the money we know. Inside the transaction that will use the money.

    msisdn: the number that its sender says paid; compared where M-Pesa told us of one.
    """
    money = by_receipt(gateway.tenant_id, gateway.environment, stated.receipt)
    if money is None or not _is_told_by(money, stated, msisdn):
        return SmsCheck("unproven", contradicts=money is not None)
    if money.unallocated_cents < money.amount_cents or money.merged_into_id:
        return SmsCheck("already_used")
    return SmsCheck("verified", money)


def _is_told_by(money: Transaction, stated: StatedPayment, msisdn: str | None) -> bool:
    typed = messages.normalise_account(without_phone(stated.account)[:40])  # as `book` keeps it
    known = messages.normalise_account(money.account)
    payer = personal.phone_hash(msisdn, money.tenant_id) if msisdn and money.phone_hash else money.phone_hash
    return (
        stated.amount_cents == money.amount_cents
        and abs(stated.occurred_at - money.occurred_at) <= TIME_TOLERANCE
        and (not typed or not known or typed == known)
        and payer == money.phone_hash
    )


def names_us(tenant: Tenant, gateway: Gateway, paid_to: str, *, account: str = "") -> bool:
    """Whether a message names this business: one strict rule, wherever a message is judged.

    The name as M-Pesa writes it equals ours, or is ours cut or lengthened at its end, with SHORTEST_PREFIX letters or
    more in common. A bank's paybill names the bank; there the account decides.
    """
    if gateway.sub_kind == "BANK":
        typed, ours = messages.normalise_account(account), messages.normalise_account(gateway.account_number)
        return bool(typed) and typed == ours
    said = plain_name(paid_to)
    for ours in map(plain_name, (gateway.shown_name, tenant.name)):
        shorter, longer = sorted((said, ours), key=len)
        if said and (said == ours or (len(shorter) >= SHORTEST_PREFIX and longer.startswith(shorter))):
            return True
    return False


def plain_name(name: str) -> str:
    """A business name as it is compared: capitals and digits alone."""
    return re.sub(r"[^A-Z0-9]", "", name.upper())
