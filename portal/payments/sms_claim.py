"""A pasted M-Pesa message: a claim to money that we must already know. It opens nothing by itself.

Every statement of the message is held against the transaction that M-Pesa told us of: code, amount, recipient, time
and account. A message that differs anywhere was edited; a message whose money is used has been used.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask_babel import gettext as _

from portal import clock
from portal.gateways import messages
from portal.gateways.models import Gateway
from portal.money import format_kes
from portal.payments.models import Transaction
from portal.payments.money_in import by_receipt
from portal.payments.sms import MpesaSms, parse_sms
from portal.tenants.models import Tenant

TIME_TOLERANCE = timedelta(minutes=10)


@dataclass(frozen=True)
class Claim:
    """What a pasted message comes to. reason: short name; sentence: for the payer; money: only where it holds."""

    reason: str
    sentence: str
    receipt: str | None = None
    money: Transaction | None = None

    @property
    def holds(self) -> bool:
        return self.money is not None


def examine(tenant: Tenant, gateway: Gateway, text: str, *, price_cents: int) -> Claim:
    """Hold a pasted message against the money we know. Inside the transaction that will use the money."""
    sms = parse_sms(text)
    if sms.receipt is None:
        return Claim(
            "not_an_mpesa_message",
            _("This is not an M-Pesa message. Copy the whole message, from its code to its end."),
        )
    if not sms.is_payment_to_business:
        return Claim(
            "not_a_payment",
            _("This M-Pesa message is not a payment to a business. Paste the message of your payment."),
            sms.receipt,
        )
    money = by_receipt(tenant.id, gateway.environment, sms.receipt)
    if money is None:
        return _unknown(tenant, gateway, sms)
    if difference := _difference(tenant, gateway, sms, money):
        return Claim(
            difference,
            _("This message does not match the payment that M-Pesa told us of. Paste it unchanged."),
            sms.receipt,
        )
    if money.unallocated_cents < money.amount_cents or money.merged_into_id:
        return Claim("already_used", _("This payment has already been used."), sms.receipt)
    if money.amount_cents < price_cents:
        return Claim(
            "wrong_amount",
            _("You paid %(paid)s; this package costs %(price)s. Choose one that your payment covers.",
              paid=format_kes(money.amount_cents), price=format_kes(price_cents)),
            sms.receipt,
        )  # fmt: skip
    return Claim("verified", _("Your payment was found."), sms.receipt, money)


def _unknown(tenant: Tenant, gateway: Gateway, sms: MpesaSms) -> Claim:
    if sms.paid_to and not _same_name(tenant, gateway, sms.paid_to):
        return Claim("other_merchant", _("This payment went to %(name)s, not to us.", name=sms.paid_to), sms.receipt)
    return Claim(
        "unknown_payment",
        _("M-Pesa has not told us of this payment. If you paid just now, wait a minute and try again."),
        sms.receipt,
    )


def _difference(tenant: Tenant, gateway: Gateway, sms: MpesaSms, money: Transaction) -> str | None:
    if sms.amount_cents != money.amount_cents:
        return "amount_differs"
    if not _same_name(tenant, gateway, sms.paid_to or ""):
        return "other_merchant"
    if sms.date and sms.time:
        said = datetime.combine(sms.date, sms.time, tzinfo=clock.NAIROBI)
        if abs(said - money.occurred_at) > TIME_TOLERANCE:
            return "time_differs"
    typed, known = messages.normalise_account(sms.account or ""), messages.normalise_account(money.account)
    if typed and known and typed != known:
        return "account_differs"
    return None


def _same_name(tenant: Tenant, gateway: Gateway, paid_to: str) -> bool:
    """Whether the message names us: by the gateway's display name (as M-Pesa writes it), or the tenant's."""
    said = plain_name(paid_to)
    ours = {plain_name(name) for name in (gateway.display_name, gateway.name, tenant.name) if name}
    return bool(said) and any(said == name or said in name or name in said for name in ours if name)


def plain_name(name: str) -> str:
    """A business name as it is compared: capitals and digits alone."""
    return re.sub(r"[^A-Z0-9]", "", name.upper())
