"""Keys of the data at rest: a new one seals everything anew while the product runs, and nothing is lost to sight."""

from collections.abc import Iterator

import pytest
from sqlalchemy import inspect, text

from portal.clinic.models import Patient
from portal.gateways.models import Gateway
from portal.kernel import personal, vault
from portal.kernel.db import Base, db, transaction
from portal.notifications import tell
from portal.operations import rotation
from portal.outbox import write
from portal.outbox.models import OutboxItem
from portal.payments.models import InboxItem, Push
from tests.support.application import KEYS
from tests.support.daraja import c2b_body, receipt, stk_body
from tests.support.product import Product

PHONE = "254722345678"
NEWER = "newer:" + "b7" * 32


@pytest.fixture
def after_a_day(either_product: Product) -> Iterator[Product]:
    """A product with sealed values of every kind that a day leaves behind; its ring is put back."""
    product = either_product
    client = product.client()
    started = client.post(
        "/api/portal/mpesa/initiate", json={"tenant": "mlima", "packageId": product.package(), "phone": PHONE}
    )
    token = started.json["paymentId"]  # type: ignore[index]
    push = _ring(product, token)
    client.post(f"{product.hook()}/stk/{push.token}", json=stk_body(push, receipt=receipt(1)))
    paid = c2b_body(receipt=receipt(2), amount=70, account="LOST", msisdn=PHONE)
    client.post(f"{product.hook()}/c2b/confirmation", json=paid)
    product.settle()
    with product.app.app_context(), transaction():
        tell.by_sms(product.tenant_id(), "told", msisdn=PHONE, text="Paid.", locale="en")
    yield product
    vault.use(vault.KeyRing(KEYS))


def _ring(product: Product, token: str):  # type: ignore[no-untyped-def]
    from portal.gateways.daraja import StkAccepted
    from portal.payments.models import Payment
    from portal.payments.stk import pushes
    from tests.support.daraja import Pushed

    with product.app.app_context():
        push = db.session.query(Push).join(Payment).filter(Payment.token == token).one()
        push_id = push.id
        with transaction():
            pushes.lease(push_id, hook_url="http://h/hooks")
        named = f"ws_CO_21112026154200{PHONE[3:]}"
        with transaction():
            pushes.accepted(push_id, StkAccepted(named, f"m-{push_id}", ""))
        push = db.session.get_one(Push, push_id)
        return Pushed(push.id, push.token, named, push.amount_cents // 100, PHONE, push.reference)


def sealed() -> dict[str, list[str]]:
    """`table.column` of everything sealed, and what stands there."""
    found = {}
    for mapper in Base.registry.mappers:
        table = mapper.local_table.name  # type: ignore[attr-defined]
        for one in inspect(mapper.class_).column_attrs:
            if one.key.endswith("_sealed"):
                rows = db.session.execute(text(f"SELECT {one.key} FROM {table} WHERE {one.key} IS NOT NULL"))  # noqa: S608
                if values := [row[0] for row in rows]:
                    found[f"{table}.{one.key}"] = values
    return found


def as_read() -> list[str | None]:
    """What the product reads of it: by tenant and column, through the product's own doors."""
    push = db.session.query(Push).one()
    gateway = db.session.query(Gateway).filter_by(id=push.gateway_id).one()
    tenant_id = push.tenant_id
    return [
        push.checkout_request_id,
        personal.open_phone(push.phone_sealed, tenant_id),
        gateway.secret("consumer_key"),
        gateway.secret("consumer_secret"),
        gateway.secret("passkey"),
        *(personal.open_text(item.body_sealed, tenant_id) for item in db.session.query(InboxItem).order_by("id")),
        *(write.payload_of(item)["text"] for item in db.session.query(OutboxItem).filter_by(kind="sms").order_by("id")),
        *(personal.open_text(one.name_sealed, tenant_id) for one in db.session.query(Patient).order_by("id")),
    ]


def test_a_new_key_seals_everything_anew_and_everything_is_read_and_found_as_before(after_a_day: Product) -> None:
    """coverage.md G5, tests.md W2: rotation is tried on a database that is full, not on an empty one."""
    with after_a_day.inside():
        before, hash_before = as_read(), personal.phone_hash(PHONE, 1)
        kept = sealed()
        assert {
            "gateways.consumer_key_sealed", "gateways.consumer_secret_sealed", "gateways.passkey_sealed",
            "payments.phone_sealed", "stk_pushes.phone_sealed", "stk_pushes.checkout_sealed", "inbox.body_sealed",
            "transactions.payer_name_sealed", "outbox.payload_sealed",
            "patients.name_sealed", "patients.phone_sealed",
        } <= set(kept), sorted(kept)  # fmt: skip
        assert before[:2] == [f"ws_CO_21112026154200{PHONE[3:]}", PHONE]
    vault.use(vault.KeyRing(f"{NEWER},{KEYS}"))
    with after_a_day.inside():
        assert rotation.rotate() == sum(len(values) for values in kept.values())
        assert all(value.startswith("v1.newer.") for values in sealed().values() for value in values)
        assert as_read() == before
        assert personal.phone_hash(PHONE, 1) == hash_before, "what was found by its hash is found on"
        named = personal.checkout_hash(f"ws_CO_21112026154200{PHONE[3:]}")
        assert db.session.query(Push).filter_by(checkout_hash=named).count() == 1
        assert rotation.rotate() == 0, "again costs nothing"


def test_a_rotation_that_was_stopped_is_finished_by_the_next(
    after_a_day: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """coverage.md G5: killed between two batches, some values wear the old key and some the new; both are read."""
    vault.use(vault.KeyRing(f"{NEWER},{KEYS}"))
    monkeypatch.setattr(rotation, "BATCH_ROWS", 1)
    reseal, calls = rotation._reseal, iter(range(100))

    def dies(row: object, table: str, column: str) -> bool:
        if next(calls) == 7:
            raise KeyboardInterrupt
        return reseal(row, table, column)

    with after_a_day.inside():
        before = as_read()
        monkeypatch.setattr(rotation, "_reseal", dies)
        with pytest.raises(KeyboardInterrupt):
            rotation.rotate()
        db.session.rollback()
        assert as_read() == before
        monkeypatch.setattr(rotation, "_reseal", reseal)
        rotation.rotate()
        assert all(value.startswith("v1.newer.") for values in sealed().values() for value in values)
        assert as_read() == before


def test_every_sealed_column_says_what_its_values_are_sealed_as(product: Product) -> None:
    """house.md: the rotation guessed it anew from tables' and columns' names."""
    said = {
        f"{mapper.local_table.name}.{one.key}": one.columns[0].info.get("sealed_as")  # type: ignore[attr-defined]
        for mapper in Base.registry.mappers
        for one in inspect(mapper.class_).column_attrs
        if one.key.endswith("_sealed") or "sealed_as" in one.columns[0].info
    }
    assert None not in said.values() and len(said) == 36
    assert said["stk_pushes.checkout_sealed"] == "checkout" and said["sms_submissions.text_sealed"] == "personal"
    assert said["sites.api_password_sealed"] == "access"
    assert said["gateways.passkey_sealed"] == "gateway.passkey" and said["invoices.payer_phone_sealed"] == "phone"
    assert said["outbox.payload_sealed"] == "outbox" and said["inbox.body_sealed"] == "personal"


def test_a_gateways_secrets_are_sealed_as_their_columns_say(after_a_day: Product) -> None:
    with after_a_day.app.app_context():
        for gateway in db.session.query(Gateway).filter(Gateway.passkey_sealed.is_not(None)):
            for name in ("consumer_key", "consumer_secret", "passkey"):
                kind = Gateway.__table__.c[f"{name}_sealed"].info["sealed_as"]
                kept = getattr(gateway, f"{name}_sealed")
                assert vault.unseal(kept, context=f"{kind}/{gateway.tenant_id}") == gateway.secret(name)
