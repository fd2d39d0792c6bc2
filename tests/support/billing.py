"""Invoices, and what is taken off them."""

from typing import Any

from portal.clinic import invoices
from portal.clinic.billing import credit_notes, discounts, price_list
from portal.kernel.db import db, transaction
from portal.payments.wallets import wallets
from portal.users.models import User
from tests.support.product import Product

PAYER = {"name": "Achieng Otieno", "phone": "0712345678"}
MSISDN = "254712345678"


def issued(product: Product, amount: int = 1_000, **more: Any) -> str:
    lines = [{"kind": "lab", "description": "Test", "amount": amount}]
    answer = product.api("brian").post("/api/invoices", {"payer": PAYER, "lines": lines} | more)
    assert answer.status_code == 201, answer.text
    return str(answer.json["number"])


def priced(product: Product, name: str = "Blood count", price: int = 450) -> str:
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        return price_list.add(tenant_id, kind="lab", name=name, price=price, actor="test").uid


def looked_up(product: Product, number: str) -> Any:
    return product.api("brian").get(f"/api/invoices/{number}").json


def user_id(product: Product, who: str = "amina") -> int:
    with product.inside():
        return int(db.session.query(User.id).filter_by(email=f"{who}@mlima.test").scalar())


def discount(product: Product, number: str, amount: int, who: str = "brian", why: str = "Hardship") -> str:
    tenant_id, by = product.tenant_id(), user_id(product, who)
    with product.app.app_context(), transaction():
        one = invoices.by_number(tenant_id, number)
        return discounts.ask(one, amount_cents=amount * 100, why=why, user_id=by, actor=f"user:{by}").uid


def decided(product: Product, uid: str, who: str, *, is_yes: bool = True) -> None:
    tenant_id, by = product.tenant_id(), user_id(product, who)
    with product.app.app_context(), transaction():
        discounts.decide(tenant_id, uid, is_yes=is_yes, user_id=by, actor=f"user:{by}")


def credit_note(product: Product, number: str, amount: int, money_back: str = "credit", key: str = "") -> str:
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        one = invoices.by_number(tenant_id, number)
        made = credit_notes.make(
            one, amount_cents=amount * 100, money_back=money_back, why="Test not done", key=key, user_id=1,
            actor="user:1",
        )  # fmt: skip
        return made.number


def wallet(product: Product, msisdn: str = MSISDN) -> int:
    """Shillings in this phone's wallet."""
    with product.inside():
        customer = wallets.find_by_phone(product.tenant_id(), msisdn)
        return wallets.balance_cents(customer, "sandbox") // 100 if customer else 0
