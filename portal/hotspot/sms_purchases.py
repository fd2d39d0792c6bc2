"""Buying a package with a pasted M-Pesa message: with money that is known to have arrived and is unused.

Decided: the message proves nothing by itself. Its money pays if it was booked before; else staff are asked where the
gateway has no API, and M-Pesa where it has one.
"""

from dataclasses import dataclass
from typing import Literal

from portal.gateways.models import Gateway
from portal.hotspot import packages, purchases, unverified
from portal.hotspot.models import Package
from portal.hotspot.purchases import Device
from portal.kernel.errors import NotFound, Refused, Text
from portal.kernel.errors import Sentence as _
from portal.payments import transaction_status
from portal.payments.models import Payment
from portal.payments.sms import submissions, verification
from portal.tenants.models import Tenant


@dataclass(frozen=True)
class Outcome:
    """What became of a pasted message. status: `verified` where the internet opens, `queued` for a person or until
    M-Pesa answers, `rejected`. reason: why, in one word for programs.

    token: of the payment that it pays or is to pay. paid_id: of one that is paid by it now, to be delivered.
    """

    status: Literal["verified", "queued", "rejected"]
    reason: str
    sentence: Text
    token: str | None = None
    paid_id: int | None = None


@dataclass(frozen=True)
class Message:
    """A pasted message that can be read and suffices, and the package that it is to pay."""

    text: str
    stated: verification.StatedPayment
    package: Package


def read(tenant: Tenant, gateway: Gateway, text: str, *, package_uid: str, site_id: int | None = None) -> Message:
    """The message, read for the package of this id, or for the dearest that its money covers where none is named.

    site_id: where its payer is, if that is known. Raises NotFound where the package is not for sale; Refused where it
    is not valid there, or the message is none, or states too little.
    """
    named = packages.for_sale(tenant.id, package_uid, site_id=site_id) if package_uid else None
    package = named or _covered(tenant, text, site_id)
    least_cents = min((one.price_cents for one in packages.on_sale(tenant.id)), default=package.price_cents)
    stated = verification.read(tenant, gateway, text, price_cents=package.price_cents, least_cents=least_cents)
    return Message(text, stated, package)


def _covered(tenant: Tenant, text: str, site_id: int | None) -> Package:
    """The dearest package that the message's money covers; the cheapest where it covers none, to be told its price."""
    stated = verification.stated_in(text)
    on_sale = sorted(packages.on_sale(tenant.id, site_id=site_id), key=lambda one: one.price_cents)
    if not on_sale:
        raise NotFound(_("This package is not for sale here."))
    covered = [one for one in on_sale if stated is not None and one.price_cents <= stated.amount_cents]
    return covered[-1] if covered else on_sale[0]


def pay(
    tenant: Tenant, gateway: Gateway, message: Message, device: Device, *, msisdn: str | None, network_hash: str
) -> Outcome:
    """Pay with the message's money, or ask who can tell of it. network_hash: of where it was pasted.

    The caller commits; then delivers what is paid, or enqueues REQUESTS.
    """
    examined = verification.examine(gateway, message.stated, msisdn=msisdn)
    if examined.money is not None:
        payment = purchases.claimed(tenant, gateway, message.package, examined.money, device, msisdn=msisdn)
        found = _("Your payment was found.")
        return Outcome("verified", examined.reason, found, payment.token, paid_id=payment.id)
    if examined.reason == "already_used":
        sentence = _(
            "This payment has already been used. If it was yours, choose “I have a code” and enter its code and"
            " password."
        )
        return Outcome("rejected", "already_used", sentence)
    if submissions.takes(gateway):
        return _queued(tenant, gateway, message, device, msisdn, network_hash, contradicts=examined.contradicts)
    return _unproven(gateway, message.stated.receipt, network_hash)


def _unproven(gateway: Gateway, receipt: str, network_hash: str) -> Outcome:
    """One answer, whatever we know of this receipt: M-Pesa is asked in every case, as often as it may be."""
    if transaction_status.ask(gateway, receipt, network_hash=network_hash) or transaction_status.may_be_asked_later(
        gateway, network_hash=network_hash
    ):
        sentence = _("We are asking M-Pesa about this payment. Try again in half a minute.")
        return Outcome("queued", "asking_mpesa", sentence)
    sentence = _("M-Pesa has not told us of this payment. If you paid just now, wait a minute and try again.")
    return Outcome("rejected", "unknown_payment", sentence)


def _queued(
    tenant: Tenant,
    gateway: Gateway,
    message: Message,
    device: Device,
    msisdn: str | None,
    network_hash: str,
    *,
    contradicts: bool,
) -> Outcome:
    """The message put before the staff, and the internet opened meanwhile where the tenant's policy says so.

    contradicts: whether it differs from what is known of its receipt; then nothing opens before it was looked at.
    """
    try:
        claim = submissions.queue(
            gateway,
            message.stated,
            message.text,
            network_hash=network_hash,
            device=submissions.device_key(tenant.id, device.mac, msisdn),
            open_payment=lambda: purchases.for_message(tenant, gateway, message.package, device, msisdn=msisdn),
            is_own=lambda payment: _has_begun(payment, device),
        )
    except Refused as error:
        return Outcome("rejected", error.code, error.message)
    token = claim.payment.token
    if submissions.is_open_unverified(claim.payment) or (not contradicts and unverified.open_access(claim)):
        sentence = _("Your internet is open. The staff still check your message.")
        return Outcome("verified", "unverified_policy", sentence, token)
    sentence = _("We have your message. The staff check it, then your internet opens.")
    return Outcome("queued", "waits_for_staff", sentence, token)


def _has_begun(payment: Payment, device: Device) -> bool:
    begun = purchases.of_payment(payment.id)
    return begun is not None and purchases.is_of_browser(begun, device.browser_hash)
