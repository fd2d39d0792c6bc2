"""What payers and M-Pesa did before: payments, purchases, and pushes that wait for a PIN.

Written by Core in bulk. Each push's token and CheckoutRequestID follow from its number, so that the load
generator can write the callback of any push without a list.
"""

from datetime import timedelta
from typing import Any

from flask import Flask
from sqlalchemy import Table, delete, insert

from bench.baseline import TABLE
from bench.load import Script
from portal.gateways import settings
from portal.gateways.models import Gateway
from portal.hotspot import packages
from portal.hotspot.models import Package, Purchase
from portal.kernel import clock, personal
from portal.kernel.db import core_transaction, db, transaction
from portal.payments.models import InboxItem, Payment, Push
from portal.tenants.models import Tenant

PRICE_KES = 50
BATCH_ROWS = 2_000
REPEAT_EVERY = 50  # M-Pesa tells some things twice
_BODY = (
    '{"Body":{"stkCallback":{"MerchantRequestID":"29115-34620561-%d","CheckoutRequestID":"ws_CO_%020d","ResultCode":0,'
    '"ResultDesc":"The service request is processed successfully.","CallbackMetadata":{"Item":['
    '{"Name":"Amount","Value":50.00},{"Name":"MpesaReceiptNumber","Value":"B%09d"},{"Name":"Balance"},'
    '{"Name":"TransactionDate","Value":DATE},{"Name":"PhoneNumber","Value":254708374149}]}}}}'
)


def push_token(number: int) -> str:
    """The last part of this push's callback address."""
    return f"{number:040x}"


def furnish(app: Flask) -> str:
    """One hotspot with a gateway and a package; the gateway's hook token."""
    with app.app_context():
        with transaction():
            tenant = Tenant(slug="bench", name="Bench", is_hotspot=True, refuses_unknown_accounts=False)
            db.session.add(tenant)
            db.session.flush()
            given = {
                "name": "paybill", "displayName": "BENCH", "shortcode": "600111", "consumerKey": "key",
                "consumerSecret": "secret", "passkey": "passkey", "env": "sandbox",
                "baseUrl": "http://127.0.0.1:9", "forHotspot": True,
            }  # fmt: skip
            token = settings.create(tenant.id, given, actor="bench").hook_token
            packages.create(tenant.id, packages.Offer("1 day", PRICE_KES * 100, 86_400, "2M/5M"), actor="bench")
        with core_transaction() as connection:
            TABLE.create(connection, checkfirst=True)
        db.session.remove()
    return token


def fill(app: Flask, count: int, *, first: int = 1) -> None:
    """`count` payments, numbered from `first`, each with a purchase and a push that rings since now."""
    with app.app_context():
        package = db.session.query(Package).one()
        ids = {"tenant_id": package.tenant_id, "package_id": package.id}
        gateway_id = db.session.query(Gateway.id).scalar()
        db.session.rollback()
        for start in range(first, first + count, BATCH_ROWS):
            numbers = range(start, min(start + BATCH_ROWS, first + count))
            with core_transaction() as connection:
                connection.execute(insert(_of(Payment)), [_payment(n, ids["tenant_id"], gateway_id) for n in numbers])
                connection.execute(
                    insert(_of(Purchase)),
                    [{"id": n, "payment_id": n, "mac": f"AA:BB:{n:010d}"[:17], **ids} for n in numbers],
                )
                connection.execute(insert(_of(Push)), [_push(n, ids["tenant_id"], gateway_id) for n in numbers])
        db.session.remove()


def _of(model: Any) -> Table:
    table: Table = model.__table__
    return table


def _phone(number: int, tenant_id: int) -> dict[str, str]:
    msisdn = f"2547{number:08d}"
    return {
        "phone_sealed": personal.seal_phone(msisdn, tenant_id),
        "phone_hash": personal.phone_hash(msisdn, tenant_id),
    }


def _checkout(checkout_request_id: str, tenant_id: int) -> dict[str, str]:
    return {
        "checkout_sealed": personal.seal_checkout(checkout_request_id, tenant_id),
        "checkout_hash": personal.checkout_hash(checkout_request_id),
    }


def _payment(number: int, tenant_id: int, gateway_id: int) -> dict[str, Any]:
    now = clock.now()
    return {
        "id": number, "tenant_id": tenant_id, "token": push_token(number), "environment": "sandbox",
        "purpose": "hotspot", "reference": f"B{number:08d}", "title": "1 day", "gateway_id": gateway_id,
        "amount_cents": PRICE_KES * 100, "state": "open", "live_key": f"bench/{number}", "push_count": 1,
        "pushed_at": now, "version": 3, **_phone(number, tenant_id),
    }  # fmt: skip


def _push(number: int, tenant_id: int, gateway_id: int) -> dict[str, Any]:
    now = clock.now()
    return {
        "id": number, "tenant_id": tenant_id, "payment_id": number, "gateway_id": gateway_id,
        "token": push_token(number), "reference": f"B{number:08d}P1", "amount_cents": PRICE_KES * 100,
        "state": "awaiting_pin", **_checkout(f"ws_CO_{number:020d}", tenant_id),
        "merchant_request_id": f"29115-34620561-{number}", "sends": 1, "sent_at": now,
        "next_query_at": now + timedelta(hours=1), **_phone(number, tenant_id),
    }  # fmt: skip


def ring_again(app: Flask, *, at_offset_s: float = 0.0) -> None:
    """Let every push that waits have been sent, and every open payment been pushed, so many seconds from now."""
    at = clock.now() + timedelta(seconds=at_offset_s)
    with app.app_context():
        with core_transaction() as connection:
            connection.execute(_of(Push).update().where(Push.state == "awaiting_pin").values(sent_at=at))
            connection.execute(_of(Payment).update().where(Payment.state == "open").values(pushed_at=at))
        db.session.remove()


def empty_inbox(app: Flask) -> None:
    """Forget what an earlier repetition sent."""
    with app.app_context():
        with core_transaction() as connection:
            connection.execute(delete(_of(InboxItem)))
            connection.execute(delete(TABLE))
        db.session.remove()


def callbacks(path: str, *, first: int, repeats: bool = False) -> Script:
    """One callback for each push from number `first` on. path: with `{token}` where the push's token belongs.

    repeats: every 50th is the one ten before once more, byte for byte.
    """
    body = _BODY.replace("DATE", clock.daraja_timestamp(clock.now()))
    lua = f"""
local body, path = '{body}', '{path.replace("{token}", "%040x")}'
local headers = {{["Content-Type"] = "application/json"}}
made = 0
function request()
  made = made + 1
  local n = made + {first} - 1
  if {"true" if repeats else "false"} and made % {REPEAT_EVERY} == 0 then n = n - 10 end
  return wrk.format("POST", string.format(path, n), headers, string.format(body, n, n, n))
end
"""

    def python(number: int) -> tuple[str, str, bytes | None]:
        made = number + 1
        n = made + first - 1 - (10 if repeats and made % REPEAT_EVERY == 0 else 0)
        return "POST", path.replace("{token}", push_token(n)), (body % (n, n, n)).encode()

    return Script(lua, python)


def gets(path: str) -> Script:
    """The same page, again and again."""
    lua = f"""
made = 0
function request()
  made = made + 1
  return wrk.format("GET", '{path}')
end
"""
    return Script(lua, lambda _number: ("GET", path, None))


def polls(path: str, *, count: int) -> Script:
    """A poll for each of `count` payments in turn. path: with `{token}` and the version in it."""
    lua = f"""
local path = '{path.replace("{token}", "%040x")}'
made = 0
function request()
  made = made + 1
  return wrk.format("GET", string.format(path, 1 + made % {count}))
end
"""
    return Script(lua, lambda number: ("GET", path.replace("{token}", push_token(1 + number % count)), None))
