"""Whose phone rings how often: strangers make nobody's ring for long, and take nobody's turn from a tenant's payers."""

from typing import Any

from sqlalchemy import insert, update

from portal.kernel import clock, personal
from portal.kernel.db import db, new_token, transaction
from portal.payments.models import Payment, Push
from tests.support.clock import later
from tests.support.daraja import new_phone
from tests.support.product import Product


def ask(product: Product, phone: str, *, network: str = "203.0.113.9", slug: str = "mlima", mac: str = "") -> Any:
    """The answer to a stranger who asks this phone to pay for a package."""
    client = product.client()
    client.environ_base["REMOTE_ADDR"] = network
    given = {"tenant": slug, "packageId": product.package("1 hour", slug), "phone": phone}
    return client.post("/api/portal/mpesa/initiate", json=given | ({"macAddress": mac} if mac else {}))


def asked(product: Product, count: int, **where: Any) -> list[int]:
    """The statuses of asking so many phones that nobody asked before."""
    return [ask(product, new_phone(), **where).status_code for _n in range(count)]


def all_end(product: Product, state: str) -> None:
    """What M-Pesa says of every prompt that is out: cancelled, or succeeded."""
    with product.app.app_context(), transaction():
        db.session.execute(update(Push).where(Push.state != "succeeded").values(state=state, ended_at=clock.now()))


def test_one_network_makes_sixty_strangers_phones_ring_in_ten_minutes_and_no_more(product: Product) -> None:
    """safety.md 13: 120 phones rang from one address."""
    assert asked(product, 60) == [201] * 60
    refused = ask(product, new_phone())
    assert refused.status_code == 429 and refused.json["error"] == "too_many_requests"
    assert 0 < int(refused.headers["Retry-After"]) <= 600
    assert asked(product, 1, slug="bahari") == [429], "another tenant's page is no other network"
    assert asked(product, 1, network="198.51.100.7") == [201], "the tenant's other payers do not wait"
    assert asked(product, 1, network="2001:db8::1") == [201]
    later(601)
    assert asked(product, 1) == [201]


def test_the_pages_of_the_portal_and_of_an_invoice_count_alike(product: Product) -> None:
    assert asked(product, 60) == [201] * 60
    client = product.client()
    client.environ_base["REMOTE_ADDR"] = "203.0.113.9"
    data = {"phone": new_phone(), "package": product.package("1 hour")}
    page = client.post("/hotspot/mlima/", data=data)
    assert page.status_code == 429 and "did not pay" in page.text and int(page.headers["Retry-After"]) > 0
    page = client.post(f"/pay/{product.invoice()[1]}", data={"phone": new_phone()})
    assert page.status_code == 429 and "did not pay" in page.text and int(page.headers["Retry-After"]) > 0


def test_a_busy_hotspot_behind_one_address_is_never_held_up_while_its_people_pay(product: Product) -> None:
    """Every other one gives up, 240 are asked in ten minutes, and nobody waits."""
    for _round in range(4):
        assert asked(product, 30) == [201] * 30
        all_end(product, "succeeded")
        assert asked(product, 30) == [201] * 30
        all_end(product, "cancelled")
        later(60)


def test_a_known_payer_and_the_staff_wait_for_no_stranger(product: Product) -> None:
    regular = new_phone()
    assert ask(product, regular).status_code == 201
    all_end(product, "succeeded")
    later(3_600)
    assert asked(product, 61) == [201] * 60 + [429]
    assert ask(product, regular, mac="AA:BB:CC:00:00:09").status_code == 201, "has paid here before"
    brian = product.api("brian")
    brian.client.environ_base["REMOTE_ADDR"] = "203.0.113.9"
    order = {"orderId": "SHOP-1", "amount": 5, "phoneNumber": new_phone()}
    assert brian.post("/api/mpesa/initiate", order).status_code == 201, "signed in"


def test_who_was_asked_already_may_try_again_at_once(product: Product) -> None:
    """Property 29 holds on a network that is at its limit too."""
    phone = new_phone()
    assert ask(product, phone).status_code == 201
    assert asked(product, 59) == [201] * 59 and asked(product, 1) == [429]
    all_end(product, "cancelled")
    assert ask(product, phone).status_code == 201


def test_a_device_that_keeps_its_address_makes_five_strangers_phones_ring(product: Product) -> None:
    mac = "AA:BB:CC:00:00:01"
    assert asked(product, 6, mac=mac) == [201] * 5 + [429]
    assert asked(product, 1, mac="AA:BB:CC:00:00:02") == [201]
    assert asked(product, 1, mac=mac, network="198.51.100.7") == [201], "nobody elsewhere can use up a device's turn"


def test_a_phone_counts_over_all_tenants(product: Product) -> None:
    """safety.md 13: six prompts per tenant made twelve in two."""
    phone = new_phone()
    statuses = []
    for n in range(7):
        statuses.append(ask(product, phone, slug=("mlima", "bahari")[n % 2], network=f"203.0.113.{n}").status_code)
        all_end(product, "cancelled")
    assert statuses == [201] * 6 + [429]
    later(601)
    assert ask(product, phone, slug="bahari").status_code == 201


def rung(product: Product, count: int, *, network: str) -> None:
    """So many prompts to invented phones, as if they had been asked for just now."""
    tenant_id = product.tenant_id()
    _number, token = product.invoice()
    with product.app.app_context(), transaction():
        payment = db.session.query(Payment).filter_by(token=token).one()
        rows = [
            {
                "tenant_id": tenant_id, "payment_id": payment.id, "gateway_id": payment.gateway_id, "token": new_token(),
                "reference": f"R{n}", "amount_cents": 2_000, "phone_hash": f"{n:064d}", "phone_key": f"{n:064d}",
                "network_key": personal.prompt_key("network", f"{network}{n // 60}"), "state": "cancelled",
                "created_at": clock.now(), "next_send_at": clock.now(), "failure": "", "sends": 1, "queries": 0,
            }
            for n in range(count)
        ]  # fmt: skip
        db.session.execute(insert(Push), rows)


def test_strangers_on_many_networks_leave_a_tenants_regulars_and_staff_their_turn(product: Product) -> None:
    """money.md D, proved: 600 prompts to invented phones used up a tenant's ten minutes for everybody."""
    regular = new_phone()
    assert ask(product, regular).status_code == 201
    all_end(product, "succeeded")
    rung(product, 600, network="192.0.2.")
    refused = ask(product, new_phone())
    assert refused.status_code == 429 and refused.headers["Retry-After"] == "60"
    assert ask(product, regular, network="198.51.100.8", mac="AA:BB:CC:00:00:09").status_code == 201
    order = {"orderId": "SHOP-1", "amount": 5, "phoneNumber": new_phone()}
    assert product.api("brian").post("/api/mpesa/initiate", order).status_code == 201
    assert asked(product, 1, slug="bahari") == [201], "another tenant has its own"
    with product.app.app_context(), transaction():
        db.session.execute(update(Push).values(reference=Push.reference + "x"))
    rung(product, 600, network="192.0.3.")
    assert ask(product, new_phone()).status_code == 429
    order |= {"orderId": "SHOP-2", "phoneNumber": new_phone()}
    assert product.api("brian").post("/api/mpesa/initiate", order).status_code == 429, "1,200 are enough for anybody"


def test_what_prompts_are_counted_by_tells_nobody_a_number_or_an_address(product: Product) -> None:
    phone = new_phone()
    ask(product, phone, mac="AA:BB:CC:00:00:01")
    with product.inside():
        push = db.session.query(Push).one()
        kept = [push.phone_key, push.network_key, push.device_key]
    assert all(one is not None and len(one) == 64 and set(one) <= set("0123456789abcdef") for one in kept)
    assert len({*kept, push.phone_hash}) == 4, "no one found by another's"
