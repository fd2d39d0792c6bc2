"""A gateway that goes over to real money."""

import dataclasses
from typing import Any

from portal.payments.inbox import inbox
from tests.support.product import Product

SECRETS = {
    "consumerKey": "real-key", "consumerSecret": "real-secret", "passkey": "real-passkey",
    "initiatorName": "api", "securityCredential": "real-credential",
}  # fmt: skip


CALLBACKS_FROM = "127.0.0.1"  # the address of the tests' own client stands for Safaricom's


def gateway_of(product: Product) -> str:
    """The public id of the business's gateway: the same before and after a switch."""
    return product.api("amina").get("/api/payment-gateways").json["items"][0]["id"]


def switch(product: Product, env: str = "production", **more: str) -> dict[str, Any]:
    """Switch the gateway's money by the API; its answer."""
    product.tokens.clear()  # signed in just now
    product.app.config["PORTAL"] = dataclasses.replace(
        product.app.config["PORTAL"], callback_addresses=(CALLBACKS_FROM,)
    )
    path = f"/api/payment-gateways/{gateway_of(product)}"
    answer = product.api("amina").put(path, {"env": env, "baseUrl": ""} | SECRETS | more)
    assert answer.status_code == 200, answer.text
    inbox.forget_doors()
    return answer.json
