"""M-Pesa's callbacks as it would send them, for test money: a clinic or hotspot is tried out without any M-Pesa at all.

They go through the inbox like Safaricom's own, so what happens afterwards is what would happen. Real money cannot be
rehearsed: a gateway or payment in production is refused.
"""

import json
import secrets
from typing import Any

from sqlalchemy import select

from portal.gateways import client_factory
from portal.gateways.daraja import StkAccepted
from portal.gateways.models import Gateway
from portal.hotspot import purchases
from portal.hotspot.models import Package
from portal.kernel import clock, money, ports, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import NotFound, Refused
from portal.payments import matching
from portal.payments.inbox import inbox
from portal.payments.inbox.spool import Spool
from portal.payments.models import Payment, Push
from portal.payments.states import PushState
from portal.payments.stk import pushes
from portal.tenants.models import Tenant

_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ123456789"
SUCCESS = "0"


def answer_prompt(tenant: Tenant, what: str, *, msisdn: str, code: str = SUCCESS) -> tuple[str, str]:
    """(reference, receipt or "") after an STK callback for an invoice, another payment, or a package by its name.

    A prompt that rings is answered; where none does, one is written down that no phone ever sees. code: M-Pesa's
    result, such as 0 or 1032. Raises NotFound, Refused, Conflict. Opens its own transactions.
    """
    with transaction():
        payment = _payment(tenant, what, msisdn)
        _refuse_real_money(payment.environment)
        push = pushes.request_push(payment.id, msisdn, actor="rehearsal").push
        push_id = push.id
        if push.state == PushState.CREATED:
            pushes.lease(push_id, hook_url=ports.settings().public_url + "/hooks")
            pushes.accepted(push_id, StkAccepted(f"ws_CO_rehearsal_{push_id}", f"rehearsal-{push_id}", ""))
    push = db.session.get_one(Push, push_id)
    receipt = _receipt() if code == SUCCESS else ""
    _tell("stk", push.gateway, push.token, _stk_body(push, msisdn, code, receipt))
    return push.payment.reference, receipt


def pay_by_hand(tenant: Tenant, *, account: str, amount_cents: int, msisdn: str) -> str:
    """The receipt of a C2B confirmation for this account. Raises Refused. Opens its own transactions."""
    gateway = client_factory.choose(tenant.id, "")
    _refuse_real_money(gateway.environment)
    receipt = _receipt()
    body = {
        "TransactionType": "Pay Bill", "TransID": receipt, "TransTime": clock.daraja_timestamp(clock.now()),
        "TransAmount": f"{amount_cents / money.CENTS:.2f}", "BusinessShortCode": gateway.shortcode,
        "BillRefNumber": account, "InvoiceNumber": "", "OrgAccountBalance": "", "ThirdPartyTransID": "",
        "MSISDN": msisdn, "FirstName": "TEST", "MiddleName": "", "LastName": "PAYER",
    }  # fmt: skip
    _tell("c2b", gateway, None, body)
    return receipt


def _payment(tenant: Tenant, what: str, msisdn: str) -> Payment:
    if found := matching.named(tenant.id, what):
        return found
    named = select(Package).where(Package.tenant_id == tenant.id, Package.name == what, Package.withdrawn_at.is_(None))
    package = db.session.scalars(named.order_by(Package.id).limit(1)).first()
    if package is None:
        raise NotFound(f"{tenant.slug} has no invoice, payment or package called {what}.")
    gateway = client_factory.choose(tenant.id, "hotspot")
    return purchases.open_purchase(tenant, gateway, package, msisdn=msisdn, device=purchases.Device()).payment


def _refuse_real_money(environment: str) -> None:
    if environment != "sandbox":
        raise Refused("This is real money: only test money can be rehearsed.", code="real_money")


def _receipt() -> str:
    return "T" + "".join(secrets.choice(_LETTERS) for _digit in range(9))


def _stk_body(push: Push, msisdn: str, code: str, receipt: str) -> dict[str, Any]:
    said: dict[str, Any] = {
        "MerchantRequestID": push.merchant_request_id,
        "CheckoutRequestID": push.checkout_request_id,
        "ResultCode": int(code) if code.isdecimal() else code,
        "ResultDesc": "Rehearsed.",
    }
    if receipt:
        values = {
            "Amount": push.amount_cents / money.CENTS,
            "MpesaReceiptNumber": receipt,
            "TransactionDate": int(clock.daraja_timestamp(clock.now())),
            "PhoneNumber": int(msisdn),
        }
        said["CallbackMetadata"] = {"Item": [{"Name": name, "Value": value} for name, value in values.items()]}
    return {"Body": {"stkCallback": said}}


def _tell(kind: str, gateway: Gateway, push_token: str | None, body: dict[str, Any]) -> None:
    letter = inbox.envelope(
        kind,
        gateway_token=gateway.hook_token,
        push_token=push_token,
        body=json.dumps(body).encode(),
        remote_address="rehearsal",
    )
    inbox.keep(letter, ports.at_hand("spool", Spool), ports.settings().callback_addresses)
    queue.enqueue(queue.DRAIN)
