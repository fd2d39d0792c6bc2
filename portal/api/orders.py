"""Payments for orders: an invoice, an appointment, or an order of the tenant's own system."""

from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy import or_, select

from portal.api.guard import ANYONE_SIGNED_IN, Router, blaming, body, principal, text_of
from portal.api.schemas import answered, contract, found, ref
from portal.clinic.models import Appointment, Invoice, Patient
from portal.fulfilment import receipt_of
from portal.gateways import client_factory
from portal.gateways.models import Gateway
from portal.kernel import money, personal
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.kernel.phone import for_screens, mask_checkout, normalise_msisdn
from portal.payments import status
from portal.payments.closing import close_payment
from portal.payments.models import Payment, Push
from portal.payments.payment import lock_payment, new_reference, open_payment
from portal.payments.states import PaymentState
from portal.payments.stk import pushes, queries
from portal.tenants.models import Tenant
from portal.users import permissions
from portal.users.permissions import REQUEST_PAYMENT, Forbidden
from portal.users.tokens import Principal
from portal.web import start_push
from portal.web.language import said

MOST_DETAILS, LONGEST_DETAILS = 20, 4_000


def register_routes(router: Router) -> None:
    router.add("POST", "/mpesa/initiate", initiate, who=ANYONE_SIGNED_IN)
    router.add("GET", "/mpesa/query/<checkout_request_id>", query, who=ANYONE_SIGNED_IN)
    router.add("GET", "/mpesa/order/<path:order_id>", order, who=ANYONE_SIGNED_IN)
    router.add("GET", "/mpesa/status/<appointment_id>", appointment_status, who=ANYONE_SIGNED_IN)


def to_json(payment: Payment, push: Push | None, *, knows_checkout_id: bool) -> dict[str, Any]:
    """A payment under the order contract's names.

    knows_checkout_id: whether the asker named the CheckoutRequestID, or the phone whose digits end it; nobody else
    reads it whole.
    """
    checkout_id = push.checkout_request_id if push else None
    msisdn = personal.open_phone(push.phone_sealed if push else payment.phone_sealed, payment.tenant_id)
    return {
        "id": payment.token,
        "provider": "mpesa",
        "orderId": payment.order_id or payment.reference,
        "mpesaCheckoutRequestId": checkout_id if knows_checkout_id else mask_checkout(checkout_id),
        "mpesaReceiptNumber": receipt_of(payment),
        "status": status.status_word(payment, push),
        "amount": money.kes(payment.amount_cents),
        "amountDue": money.kes(payment.due_cents),
        "currency": "kes",
        "phoneNumber": for_screens(msisdn) if msisdn else None,
        "resultCode": "0" if payment.state == PaymentState.PAID else push.result_code if push else None,
        "description": payment.title,
        "metadata": payment.order_details,
        "testMode": payment.is_sandbox,
    }


@contract(answered(data=ref("OrderBegun")), takes="Order", answers=(201, 200))
def initiate() -> ResponseReturnValue:
    """Ask a phone to pay for an order. 201 for a new request, 200 where one is under way."""
    asking, given = principal(), body()
    order_id = text_of(given, "orderId")[:80]
    with blaming("phoneNumber"):
        msisdn = normalise_msisdn(given.get("phoneNumber"))
    tenant = db.session.get_one(Tenant, asking.tenant_id)
    with blaming("amount"):
        amount_cents = money.payable_cents(given.get("amount"), limit_cents=tenant.push_limit_cents)
    with transaction():
        tenant = db.session.get_one(Tenant, asking.tenant_id)
        payment = _payment_for(tenant, asking, order_id, amount_cents, given)
        requested = pushes.request_push(
            payment.id, msisdn, actor=asking.actor, amount_cents=_part(payment, amount_cents)
        )
        token, push_id, is_new = payment.token, requested.push.id, requested.is_new
    push = start_push.ring_and_wait(push_id) if is_new else db.session.get_one(Push, push_id)
    payment = db.session.query(Payment).filter_by(token=token).one()
    stands = status.standing(payment)
    data = {
        "paymentId": token,
        "checkoutRequestId": push.checkout_request_id,
        "merchantRequestId": push.merchant_request_id,
        "responseCode": "0" if push.checkout_hash else None,
        "payment": to_json(payment, push, knows_checkout_id=True),
    }
    return jsonify(success=True, message=said(stands.sentence or stands.headline), data=data), 201 if is_new else 200


def _part(payment: Payment, amount_cents: int) -> int | None:
    """The deposit, where that was named; else None: all that is due."""
    return amount_cents if amount_cents == payment.deposit_due_cents else None


def _payment_for(tenant: Tenant, asking: Principal, order_id: str, amount_cents: int, given: dict[str, Any]) -> Payment:
    found = _of_clinic(tenant.id, order_id)
    if isinstance(found, Appointment):
        raise Conflict("This appointment waits for approval; it can be paid once it is approved.", code="not_approved")
    if found is not None:
        _refuse_strangers(asking, found)
        if asking.role != "patient" and not permissions.allows(asking.role, REQUEST_PAYMENT):
            raise Forbidden("This sign-in sees payments, but may not ask phones to pay.")
        if amount_cents not in (found.due_cents, found.deposit_due_cents) and found.state == PaymentState.OPEN:
            due = money.format_kes(found.due_cents)
            raise Refused(f"The amount due is {due}.", code="wrong_amount", fields={"amount": f"Must be {due}."})
        return found
    if not permissions.allows(asking.role, REQUEST_PAYMENT):
        raise Forbidden("This sign-in may only pay its own invoices and appointments.")
    details = given.get("metadata") or {}
    if not isinstance(details, dict) or len(details) > MOST_DETAILS or len(str(details)) > LONGEST_DETAILS:
        sentence = f"Must be an object of at most {MOST_DETAILS} entries and {LONGEST_DETAILS} characters."
        raise Refused(f"metadata: {sentence}", code="invalid_fields", fields={"metadata": sentence})
    gateway = client_factory.choose(tenant.id, "order")
    title = text_of(given, "description", required=False)[:80] or f"Order {order_id}"[:80]
    payment = _open(tenant, gateway, order_id, amount_cents, title, details)
    if payment.environment != gateway.environment:  # asked for with the other money
        close_payment(lock_payment(payment.id), why="Test and real money were switched.", actor=asking.actor)
        payment = _open(tenant, gateway, order_id, amount_cents, title, details)
    # Only now: opening it waited for whoever holds the live one, which may have been paid in this very moment.
    _refuse_if_paid(gateway, order_id, amount_cents)
    return payment


def _open(
    tenant: Tenant, gateway: Gateway, order_id: str, amount_cents: int, title: str, details: dict[str, Any]
) -> Payment:
    return open_payment(
        tenant,
        gateway,
        environment=gateway.environment,
        purpose="order",
        reference=new_reference("R"),
        title=title,
        amount_cents=amount_cents,
        live_key=f"order/{order_id}/{amount_cents}",
        order_id=order_id,
        order_details=details,
    )


def _refuse_if_paid(gateway: Gateway, order_id: str, amount_cents: int) -> None:
    """Raise Conflict where this order was paid: a program that did not hear the answer asks again."""
    paid = select(Payment).where(
        Payment.tenant_id == gateway.tenant_id,
        Payment.environment == gateway.environment,  # a test of the same order pays nothing
        Payment.order_id == order_id,
        Payment.amount_cents == amount_cents,
        Payment.state == PaymentState.PAID,
        Payment.refunded_cents < Payment.amount_cents,
    )
    if db.session.scalars(paid.limit(1)).first() is not None:
        raise Conflict(
            f"Order {order_id[:40]} is paid already. A new payment needs an order of its own.", code="already_paid"
        )


def _of_clinic(tenant_id: int, order_id: str) -> Payment | Appointment | None:
    """The payment of an invoice number or appointment id; the appointment itself while it cannot be paid yet."""
    number = order_id.strip().upper()
    invoice = db.session.scalars(
        select(Invoice).where(Invoice.tenant_id == tenant_id, Invoice.number == number)
    ).one_or_none()
    if invoice is not None:
        return invoice.payment
    appointment = db.session.scalars(
        select(Appointment).where(
            Appointment.tenant_id == tenant_id,
            or_(Appointment.uid == order_id, Appointment.invoice_number == number),
        )
    ).one_or_none()
    if appointment is None:
        return None
    return appointment.invoice.payment if appointment.invoice else appointment


def _refuse_strangers(asking: Principal, payment: Payment) -> None:
    """Staff and programs see their tenant's payments, a patient only their own. Existence is not revealed."""
    if permissions.allows(asking.role, permissions.SEE_MONEY):
        return
    own = (
        select(Invoice.id)
        .join(Patient, Invoice.patient_id == Patient.id)
        .where(Invoice.payment_id == payment.id, Patient.user_id == asking.user_id)
    )
    if asking.user_id is None or db.session.scalar(own) is None:
        raise NotFound("There is no such payment here.")


def _answer(payment: Payment | None, push: Push | None = None) -> ResponseReturnValue:
    """push: the one whose CheckoutRequestID was asked for, if that is how the payment was named."""
    if payment is None:
        raise NotFound("There is no such payment here.")
    _refuse_strangers(principal(), payment)
    queries.expedite(payment.id)
    payment = db.session.query(Payment).filter_by(id=payment.id).one()
    told = db.session.get(Push, push.id) if push else status.last_push(payment)
    return jsonify(success=True, data=to_json(payment, told, knows_checkout_id=push is not None))


def find_payment(tenant_id: int, name: str) -> tuple[Payment | None, Push | None]:
    """A payment by paymentId, or by the CheckoutRequestID of one of its pushes."""
    payment = db.session.query(Payment).filter_by(tenant_id=tenant_id, token=name).one_or_none()
    if payment is not None:
        return payment, None
    push = db.session.query(Push).filter_by(tenant_id=tenant_id, checkout_hash=personal.checkout_hash(name)).first()
    return (push.payment, push) if push else (None, None)


@contract(found("Payment"))
def query(checkout_request_id: str) -> ResponseReturnValue:
    """One payment by CheckoutRequestID or paymentId; M-Pesa is asked where it is still open."""
    return _answer(*find_payment(principal().tenant_id, checkout_request_id))


@contract(found("Payment"))
def order(order_id: str) -> ResponseReturnValue:
    """The newest payment of an order."""
    tenant_id = principal().tenant_id
    found = _of_clinic(tenant_id, order_id)
    if isinstance(found, Appointment):
        found = None
    newest = (
        select(Payment).where(Payment.tenant_id == tenant_id, Payment.order_id == order_id).order_by(Payment.id.desc())
    )
    return _answer(found or db.session.scalars(newest.limit(1)).first())


@contract(found("Payment"))
def appointment_status(appointment_id: str) -> ResponseReturnValue:
    """The payment of an appointment."""
    appointment = (
        db.session.query(Appointment).filter_by(tenant_id=principal().tenant_id, uid=appointment_id).one_or_none()
    )
    return _answer(appointment.invoice.payment if appointment and appointment.invoice else None)
