"""Guests of a hotspot in their phones' browsers: a purchase on the captive page, paid, and what the page says then."""

from dataclasses import replace
from typing import Any

from portal.kernel.db import db
from portal.payments.models import Payment, Push
from tests.support.daraja import receipt
from tests.support.hotspot import prompt_sent
from tests.support.product import Product

MAC = "AA:BB:CC:00:11:22"
ROUTER = {"mac": MAC, "ip": "10.5.50.77", "identity": "m1", "link-login-only": "http://10.5.50.1/login"}
PHONE, LOCAL, SHOWN = "254723456789", "0723 456 789", "0723…789"


def buy(product: Product, browser: Any = None, *, phone: str = LOCAL, package: str = "1 day", **changes: str) -> str:
    """The token of a payment begun on the captive page by its own browser."""
    form = {"package": product.package(package), "phone": phone} | ROUTER | changes
    answer = (browser or product.client()).post("/hotspot/mlima/", data=form)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["Location"]).split("/wait/")[1].split("?")[0]


def initiate(product: Product, browser: Any = None, **changes: str) -> Any:
    body = {"tenant": "mlima", "packageId": product.package(), "phone": PHONE, "macAddress": MAC} | changes
    return (browser or product.client()).post("/api/portal/mpesa/initiate", json=body)


def pay(product: Product, token: str, number: int = 1, phone: str = PHONE) -> None:
    with product.inside():
        push = db.session.query(Push).join(Payment).filter(Payment.token == token).one_or_none()
        has_push = push is not None
    product.callback(ring(product, token) if has_push else product.pushed(token, phone), receipt=receipt(number))
    product.settle()


def ring(product: Product, token: str) -> Any:
    return replace(prompt_sent(product, token), msisdn=PHONE)


def portal(product: Product, browser: Any = None, **changes: str) -> str:
    return str((browser or product.client()).get("/hotspot/mlima/", query_string=ROUTER | changes).text)


def password_of(product: Product, token: str) -> str:
    return str(product.status(token)["credentials"]["password"])
