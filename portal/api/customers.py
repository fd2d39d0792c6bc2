"""Customers and their wallets."""

from typing import Any

from flask import jsonify, request
from flask.typing import ResponseReturnValue

from portal.api.guard import Router, body, principal, read_cursor, text_of
from portal.api.schemas import contract, page_of
from portal.audit import chain
from portal.gateways import client_factory
from portal.kernel import clock, money, personal, queue
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.kernel.phone import for_screens, normalise_msisdn
from portal.payments import matching
from portal.payments.models import Customer, Payment
from portal.payments.states import PaymentState
from portal.payments.wallets import customers, wallets
from portal.users.permissions import PLACE_MONEY, REQUEST_PAYMENT, SEE_MONEY

LONGEST_NAME = 80


def register_routes(router: Router) -> None:
    router.add("GET", "/customers", list_customers, who=SEE_MONEY)
    router.add("POST", "/customers", add, who=REQUEST_PAYMENT)
    router.add("GET", "/customers/<uid>", show_customer, who=SEE_MONEY)
    router.add("POST", "/customers/<uid>/pay", pay, who=PLACE_MONEY)
    router.add("POST", "/customers/<uid>/put-back", put_back, who=PLACE_MONEY)


def to_json(customer: Customer, balance_cents: int, environment: str) -> dict[str, Any]:
    """One customer under the API's names. environment: of the balance, test money or real."""
    msisdn = personal.open_phone(customer.phone_sealed, customer.tenant_id)
    return {
        "id": customer.uid,
        "accountNumber": customer.account_number,
        "name": personal.open_text(customer.name_sealed, customer.tenant_id),
        "phone": for_screens(msisdn) if msisdn else None,
        "balance": money.kes(balance_cents),
        "environment": environment,
        "createdAt": clock.rfc3339(customer.created_at),
    }


def _shown(customer: Customer) -> dict[str, Any]:
    environment = client_factory.environment_of(customer.tenant_id)
    return to_json(customer, wallets.balance_cents(customer, environment), environment)


@contract(page_of("Customer"), query=("q", "cursor"))
def list_customers() -> ResponseReturnValue:
    """Customers, newest first. q: a whole phone or account number, or words of the name."""
    tenant_id = principal().tenant_id
    environment = client_factory.environment_of(tenant_id)
    found, cursor = customers.page(tenant_id, request.args.get("q", ""), before_id=read_cursor())
    held = customers.balances(tenant_id, environment, found)
    return jsonify(items=[to_json(each, held[each.id], environment) for each in found], nextCursor=cursor)


@contract("CustomerWithEntries")
def show_customer(uid: str) -> ResponseReturnValue:
    """One customer with the newest movements of their wallet. The look is recorded."""
    asking = principal()
    customer = customers.by_uid(asking.tenant_id, uid)
    with transaction():
        chain.record(asking.tenant_id, "customer", customer.id, "looked_at", actor=asking.actor)
    answer = _shown(customer)
    moved = customers.entries(customer, answer["environment"])
    answer["entries"] = [
        {"kind": entry.kind, "at": clock.rfc3339(entry.at), "amount": money.kes(entry.amount_cents)} for entry in moved
    ]
    return jsonify(answer)


@contract("Customer", takes="NewCustomer", answers=(201, 200))
def add() -> ResponseReturnValue:
    """A customer with an account number and an empty wallet; 200 where this phone is a customer already."""
    asking, given = principal(), body()
    name, msisdn = text_of(given, "name"), normalise_msisdn(given.get("phone"))
    if len(name) > LONGEST_NAME:
        sentence = f"At most {LONGEST_NAME} characters."
        raise Refused(f"name: {sentence}", code="invalid_fields", fields={"name": sentence})
    with transaction():
        customer, is_new = customers.add(asking.tenant_id, name=name, msisdn=msisdn, actor=asking.actor)
        uid = customer.uid
    return jsonify(_shown(customers.by_uid(asking.tenant_id, uid))), 201 if is_new else 200


@contract("PaidFromWallet", takes="WalletPayment")
def pay(uid: str) -> ResponseReturnValue:
    """Pay what `reference` (an invoice, or a paymentId) is due from the wallet, as far as it reaches."""
    asking, given = principal(), body()
    reference = text_of(given, "reference")
    with transaction():
        customer_id = customers.by_uid(asking.tenant_id, uid).id
        payment_id = matching.payable(asking.tenant_id, reference).id
        paid_cents = wallets.pay(payment_id, customer_id, actor=asking.actor)
    queue.enqueue(queue.PAID)
    payment = db.session.get_one(Payment, payment_id)
    balance = wallets.balance_cents(db.session.get_one(Customer, customer_id), payment.environment)
    return jsonify(
        paymentId=payment.token,
        reference=payment.reference,
        paid=money.kes(paid_cents),
        amountDue=money.kes(payment.due_cents),
        status="paid" if payment.state == PaymentState.PAID else "pending",
        balance=money.kes(balance),
    )


@contract("PutBack", takes="WalletPayment")
def put_back(uid: str) -> ResponseReturnValue:
    """Undo what this customer's wallet paid on `reference`: it is theirs again, and due again. Twice is once."""
    asking, given = principal(), body()
    reference = text_of(given, "reference")
    with transaction():
        customer_id = customers.by_uid(asking.tenant_id, uid).id
        payment_id = matching.payable(asking.tenant_id, reference).id
        put_cents = wallets.put_back(payment_id, actor=asking.actor, customer_id=customer_id)
    queue.enqueue(queue.WITHDRAW)
    payment = db.session.get_one(Payment, payment_id)
    balance = wallets.balance_cents(db.session.get_one(Customer, customer_id), payment.environment)
    return jsonify(
        paymentId=payment.token,
        reference=payment.reference,
        putBack=money.kes(put_cents),
        amountDue=money.kes(payment.due_cents),
        balance=money.kes(balance),
    )
