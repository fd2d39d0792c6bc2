"""What the logs may know: who paid is four digits, and no secret, token or PIN is ever in them or in the database."""

import io
import json
import logging
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from portal.gateways.models import Gateway
from portal.kernel import logs
from portal.kernel.db import db
from portal.kernel.logs import logger, mask_text
from tests.support.clock import later
from tests.support.daraja import c2b_body, receipt, stk_body
from tests.support.product import Product
from tests.support.visitors import PASSWORD, csrf_of

PIN = "7391"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Everything that is logged from now on."""
    stream = io.StringIO()
    logs.configure(stream=stream)
    yield stream
    logs.configure()


phones = st.tuples(
    st.sampled_from(["0", "254", "+254", ""]), st.sampled_from("71"), st.text("0123456789", min_size=8, max_size=8)
)
around = st.sampled_from(
    [("", ""), ("'", "'"), ("phone=", "&x=1"), ("to ", "."), ('{"PhoneNumber": ', "}"), ("(", ")"), ("/", "/")]
)


@pytest.mark.property(47)
@given(phone=phones, around=around)
def test_whoever_logs_a_phone_four_digits_are_all_that_is_written(phone: tuple[str, str, str], around: Any) -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    number = "".join(phone)
    subscriber, line = phone[1] + phone[2], around[0] + number + around[1]
    try:
        logger.info(
            line,
            note=line,
            nested={"deep": [line, {"deeper": line}]},
            msisdn=int(subscriber),
            error=repr(ValueError(line)),
        )
        logging.getLogger("a.library").warning("called %s with %s", "somebody", line)
        try:
            raise RuntimeError(line)
        except RuntimeError:
            logger.exception("failed")
            logging.getLogger("a.library").exception("failed")
        logs.bind(payer=line)
        logger.info("bound")
    finally:
        logs.clear()
        logs.configure()
    said = stream.getvalue()
    assert subscriber not in said and subscriber[:-4] not in said and said.count("********" + subscriber[-4:]) >= 8
    for row in said.splitlines():
        json.loads(row)


@pytest.mark.property(47)
@given(date=st.from_regex(r"[2-6]{16}", fullmatch=True), phone=st.from_regex(r"[71][0-9]{8}", fullmatch=True))
def test_a_checkout_request_id_hides_the_phone_it_ends_in(date: str, phone: str) -> None:
    masked = mask_text(f"asked about ws_CO_{date}{phone}.")
    assert phone not in masked and phone[:5] + phone[5:] not in masked and masked.endswith(phone[-4:] + ".")


@given(
    token=st.from_regex(r"[0-9a-f]{40}", fullmatch=True),
    rest=st.sampled_from(["", "/stk/{}", "/c2b/confirmation", "/result/{}"]),
)
def test_a_hooks_address_hides_its_tokens(token: str, rest: str) -> None:
    assert token not in mask_text(f"POST https://pay.test/hooks/{token}{rest.format(token)} 500")


@pytest.mark.parametrize(
    "name",
    ["password", "new_password", "consumer_secret", "passkey", "security_credential", "access_token", "push_token",
    "Authorization",
     "api_key", "apiKey", "pin", "mpesa_pin", "hook_token", "initiatorPassword"],
)  # fmt: skip
def test_a_field_that_names_a_secret_is_not_written(written: io.StringIO, name: str) -> None:
    logger.info(
        "saved", **{name: "hidden value"}, nested={name: {"inner": "hidden value"}}, many=[{name: "hidden value"}]
    )
    assert "hidden value" not in written.getvalue() and "***" in written.getvalue()


def test_what_is_no_secret_stays_readable(written: io.StringIO) -> None:
    logger.info(
        "answered",
        status=200,
        amount_cents=150_000,
        receipt="UKL1ABCD23",
        reference="INV-1001",
        took_s=0.25,
        shipping="x",
    )
    row = json.loads(written.getvalue())
    assert (row["amount_cents"], row["receipt"], row["reference"], row["took_s"]) == (
        150_000,
        "UKL1ABCD23",
        "INV-1001",
        0.25,
    )
    assert row["shipping"] == "x" and row["level"] == "info" and row["timestamp"].endswith("Z")


def a_busy_day(product: Product, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything that can be asked, rightly and wrongly, with what must not be told of it."""
    monkeypatch.setattr("portal.web.start_push.WAIT_S", 0)
    client, msisdn = product.client(), "254722345678"
    written_as = ["0722 345 678", "+254 722-345-678", "0722345678", msisdn, "722345678"]
    hook = product.hook()
    package = product.package()
    for phone in [*written_as, "0722 345 6789 9"]:
        client.post("/api/portal/mpesa/initiate", json={"tenant": "mlima", "packageId": package, "phone": phone})
        client.post("/hotspot/mlima/", data={"package": package, "phone": phone, "idempotency_key": "a" * 32})
        product.api("brian").get("/api/transactions", query_string={"phone": phone, "q": phone, "cursor": phone})
        client.post(
            "/api/portal/mpesa/verify-sms",
            json={"tenant": "mlima", "packageId": package, "smsText": f"paid {phone} PIN {PIN}", "phone": phone},
        )
        client.get(f"/pay/{phone}")
        client.get(f"/api/mpesa/query/{phone}")
    _number, token = product.invoice(700)
    push = product.pushed(token, "254733345678")
    product.callback(push, receipt=receipt(1), amount=1)
    product.callback(push, receipt=receipt(1))
    client.post(f"{hook}/c2b/confirmation", json=c2b_body(receipt=receipt(2), amount=70, account="LOST", msisdn=msisdn))
    client.post(f"{hook}/c2b/validation", data=b"{" + msisdn.encode())
    client.post(f"{hook}/stk/{push.token}", data=json.dumps(stk_body(push)) + "x" * 70_000)
    client.post(f"{hook}/result/{push.token}", json={"Result": {"ResultDesc": msisdn}})
    client.post("/api/mpesa/callback", json=stk_body(push))
    product.settle()
    key = "mlima-key-that-is-hidden"
    client.post(f"/api/webhooks/mpesa?key={key}", json=stk_body(push))
    client.get("/api/transactions", headers={"Authorization": "Bearer hidden.bearer.token", "X-API-Key": key})
    client.post("/api/auth/token", json={"email": "amina@mlima.test", "password": "hidden wrong words"})
    form = {"email": "amina@mlima.test", "password": "hidden wrong words", "csrf_token": csrf_of(client, "/login")}
    client.post("/login", data=form)
    browser = product.browser_of("amina")
    cookie = browser.get_cookie("session")
    assert cookie is not None
    gateway = {
        "name": "n",
        "shortcode": "600999",
        "consumerKey": "hidden-key",
        "consumerSecret": "hidden-secret",
        "passkey": "hidden-pass",
    }
    product.api("amina").post("/api/payment-gateways", gateway | {"baseUrl": "http://127.0.0.1:9"})
    uid = product.api("amina").get("/api/payment-gateways").json["items"][0]["id"]
    product.api("amina").post(f"/api/payment-gateways/{uid}/test")
    product.work(rounds=2)
    later(200)
    product.work(rounds=2)

    def fail(**_places: Any) -> None:
        raise RuntimeError(f"M-Pesa refused {msisdn} and ws_CO_0101202401010101{msisdn[3:]}")

    for endpoint, path in (("pay.show", f"/pay/{token}"), ("hooks.stk", f"{hook}/stk/{push.token}"),
                           ("api.orders_query", f"/api/mpesa/query/{push.checkout_id}")):  # fmt: skip
        monkeypatch.setitem(product.app.view_functions, endpoint, fail)
        method = "POST" if endpoint == "hooks.stk" else "GET"
        answer = client.open(path, method=method, data={"phone": msisdn} if method == "POST" else None)
        assert answer.status_code == 500 and msisdn not in answer.text

    def break_database(**_places: Any) -> None:
        db.session.execute(text("SELECT :phone FROM nowhere WHERE token = :token"), {"phone": msisdn, "token": token})

    monkeypatch.setitem(product.app.view_functions, "home", break_database)
    assert client.get("/").status_code == 503
    with product.inside():
        tokens = [row[0] for row in db.session.query(Gateway.hook_token)]
    return [
        *written_as, "733345678", push.checkout_id, push.token, token, *tokens, key, "hidden.bearer.token",
        "hidden wrong words",
        PASSWORD, cookie.value, "hidden-key", "hidden-secret", "hidden-pass", "mlima-secret", "mlima-passkey",
        product.tokens["amina"], "amina@mlima.test", f"PIN {PIN}",
    ]  # fmt: skip


@pytest.mark.property(47)
@pytest.mark.property(48)
def test_a_busy_day_leaves_no_phone_token_or_password_in_the_logs(
    product: Product, written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = a_busy_day(product, monkeypatch)
    said = written.getvalue()
    assert "our_mistake" in said and "database_away" in said and "RuntimeError" in said, "there is something to look at"
    for secret in secrets:
        at = said.find(secret)
        assert at < 0, f"{secret!r} in the logs: {said[max(0, at - 200) : at + 100]}"
    for row in said.splitlines():
        json.loads(row)


@pytest.mark.property(45)
@pytest.mark.property(48)
def test_a_busy_day_leaves_no_pin_phone_or_secret_readable_in_the_database(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safety.md 9: a CheckoutRequestID spells the number, and so may an account that a payer typed."""
    by_number = c2b_body(receipt=receipt(3), amount=70, account="0722345678", msisdn="254722345678")
    product.client().post(f"{product.hook()}/c2b/confirmation", json=by_number)
    a_busy_day(product, monkeypatch)
    with product.app.app_context():
        db.session.remove()
        columns = {column.name.lower() for table in db.metadata.sorted_tables for column in table.columns}
    assert not any("pin" == part for name in columns for part in name.split("_")), "there is nowhere to keep a PIN"
    with sqlite3.connect(product.app.config["PORTAL"].database_url.removeprefix("sqlite:///")) as connection:
        dump = "\n".join(connection.iterdump())
    connection.close()
    for secret in ("722345678", "733345678", f"PIN {PIN}", PASSWORD, "hidden-key",
            "hidden-secret", "hidden-pass",
                   "mlima-secret", "hidden wrong words"):  # fmt: skip
        at = dump.find(secret)
        assert at < 0, f"{secret!r} is readable: {dump[max(0, at - 300) : at + 60]}"
