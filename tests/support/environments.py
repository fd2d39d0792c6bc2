"""A gateway that goes over to real money."""

import dataclasses
from typing import Any

from portal.payments.inbox import inbox
from tests.support.business import House

SECRETS = {
    "consumerKey": "real-key", "consumerSecret": "real-secret", "passkey": "real-passkey",
    "initiatorName": "api", "securityCredential": "real-credential",
}  # fmt: skip


CALLBACKS_FROM = "127.0.0.1"  # the address of the tests' own client stands for Safaricom's


def gateway_of(house: House) -> str:
    """The public id of the business's gateway: the same before and after a switch."""
    return house.api("amina").get("/api/payment-gateways").json["items"][0]["id"]


def switch(house: House, env: str = "production", **more: str) -> dict[str, Any]:
    """Switch the gateway's money by the API; its answer."""
    house.tokens.clear()  # signed in just now
    house.app.config["PORTAL"] = dataclasses.replace(house.app.config["PORTAL"], callback_addresses=(CALLBACKS_FROM,))
    path = f"/api/payment-gateways/{gateway_of(house)}"
    answer = house.api("amina").put(path, {"env": env, "baseUrl": ""} | SECRETS | more)
    assert answer.status_code == 200, answer.text
    inbox.forget_doors()
    return answer.json
