"""Safaricom's doors: whatever comes is acknowledged alike, nothing that was acknowledged is lost,
and a claim opens nothing."""

import io
import json
import sqlite3
from contextlib import closing, nullcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments.inbox import inbox
from portal.payments.models import InboxItem, Push, Transaction
from portal.payments.processing import jobs
from tests.support.clock import later
from tests.support.daraja import Pushed, c2b_body, receipt, stk_body
from tests.support.outages import database_away
from tests.support.product import Product

ACCEPTED = {"ResultCode": 0, "ResultDesc": "Accepted"}
LEGACY = ("/api/mpesa/callback", "/api/mpesa/callbacks/stk", "/api/portal/mpesa/callback")
NOBODY = "0" * 40


def accepted(answer: Any) -> None:
    """Exactly what Safaricom expects; nothing in it tells what exists here."""
    assert (answer.status_code, answer.json) == (200, ACCEPTED), answer.text
    assert answer.data == b'{"ResultCode": 0, "ResultDesc": "Accepted"}'


def stranger(product: Product) -> Any:
    """A stranger's browser."""
    return product.client()


def post(product: Product, path: str, body: bytes | str | Any, kind: str = "application/json") -> Any:
    data = body if isinstance(body, bytes | str) else json.dumps(body)
    return product.client().post(path, data=data, content_type=kind)


def money(product: Product) -> list[str | None]:
    """Receipts that are booked."""
    with product.inside():
        return [one.receipt for one in db.session.query(Transaction).order_by(Transaction.id)]


def outcomes(product: Product) -> list[str]:
    with product.inside():
        return [item.state for item in db.session.query(InboxItem).order_by(InboxItem.id)]


def next_query_at(product: Product, push: Pushed) -> Any:
    with product.inside():
        return db.session.get_one(Push, push.push_id).next_query_at


RUBBISH: list[Any] = [
    b"", b"null", b"[]", b"{}", b"1", b'"text"', b"{", b"\xff\xfe\x00", b"<xml/>", b"[" * 30_000, b"a=1&b=2",
    {"Body": []},
    {"Body": {"stkCallback": []}}, {"Body": {"stkCallback": None}}, [{"Body": {}}],
    {"Body": {"stkCallback": {"ResultCode": []}}},
    {"Body": {"stkCallback": {"CheckoutRequestID": ["a"], "ResultCode": 0}}},
    {"Body": {"stkCallback": {"CheckoutRequestID": "x" * 5_000, "ResultCode": {}}}}, {"Result": []},
    {"Result": {"ResultCode": "x"}},
    {"TransID": None, "TransAmount": "five"}, {"TransID": ["A"], "TransAmount": {}}, b'{"a": NaN}', b'{"a": 1e999}',
    b'{"Body": {"stkCallback": {"CheckoutRequestID": "a\\u0000b", "ResultCode": 0}}}', b'{"a": "\\ud800"}',
]  # fmt: skip


@pytest.mark.property(20)
@pytest.mark.property(46)
def test_rubbish_is_acknowledged_at_every_door_and_opens_nothing(product: Product) -> None:
    _number, token = product.invoice()
    push = product.pushed(token)
    doors = [
        f"{product.hook()}/stk/{push.token}", f"{product.hook()}/stk/{NOBODY}", f"/hooks/{NOBODY}/stk/{push.token}",
        f"{product.hook()}/c2b/confirmation", f"{product.hook()}/result/{NOBODY}", f"{product.hook()}/timeout/{NOBODY}",
        f"/hooks/{NOBODY}/c2b/confirmation", f"/hooks/{'x' * 200}/stk/{'y' * 200}", "/hooks/%00/stk/%00", *LEGACY,
        "/api/mpesa/callbacks/c2b/confirmation", "/api/mpesa/callbacks/c2b/validation",
        f"{product.hook()}/c2b/validation",
        f"/hooks/{NOBODY}/c2b/validation",
    ]  # fmt: skip
    for path in doors:
        for body in RUBBISH:
            accepted(post(product, path, body))
        for size in (64 * 1024 + 1, 1024 * 1024, 1024 * 1024 + 1):
            accepted(post(product, path, b"x" * size))
        accepted(post(product, path, b"a=" + b"x" * (1024 * 1024), "application/x-www-form-urlencoded"))
    product.settle()
    assert money(product) == [] and product.status(token)["status"] == "processing"
    assert set(outcomes(product)) == {"rejected"}, "kept for review, none of them tried again for ever"
    assert product.books() == []


@pytest.mark.property(20)
@given(body=st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["Body", "stkCallback", "ResultCode", "CheckoutRequestID",
    "CallbackMetadata", "Item", "Name", "Value", "x"]), inner, max_size=4),
    max_leaves=8,
))  # fmt: skip
@settings(max_examples=100)
def test_whatever_json_stands_in_a_callback_it_is_acknowledged(product: Product, body: Any) -> None:
    if not hasattr(product, "at_hand"):
        product.at_hand = product.pushed(product.invoice()[1])  # type: ignore[attr-defined]
        product.hook_path = product.hook()  # type: ignore[attr-defined]
    push = product.at_hand  # type: ignore[attr-defined]
    accepted(post(product, f"{product.hook_path}/stk/{push.token}", {"Body": {"stkCallback": body}}))  # type: ignore[attr-defined]
    accepted(post(product, LEGACY[0], {"Body": {"stkCallback": body}}))
    assert money(product) == []


@pytest.mark.property(46)
@pytest.mark.parametrize("what", ["gateway", "push", "tenant", "amount", "checkout"])
def test_a_success_that_fits_no_push_of_ours_opens_nothing_until_mpesa_agrees(product: Product, what: str) -> None:
    _number, token = product.invoice(1_500)
    push = product.pushed(token)
    body = stk_body(push, receipt=receipt(1))
    path = f"{product.hook()}/stk/{push.token}"
    if what == "gateway":
        path = f"/hooks/{NOBODY}/stk/{push.token}"
    elif what == "push":
        path = f"{product.hook()}/stk/{NOBODY}"
    elif what == "tenant":
        path = f"{product.hook('bahari')}/stk/{push.token}"
    elif what == "amount":
        body = stk_body(push, receipt=receipt(1), amount=1)
    else:
        body = stk_body(push, receipt=receipt(1), checkout_id="ws_CO_of_another")
    before = next_query_at(product, push)
    accepted(post(product, path, body))
    product.settle()
    assert money(product) == [] and product.status(token)["status"] == "processing"
    if what != "tenant":  # another tenant's gateway may not even hurry this one's questions
        assert next_query_at(product, push) <= clock.now() < before, "M-Pesa is asked at once"
    else:  # tests.md A5
        assert next_query_at(product, push) == before
    accepted(product.callback(push, receipt=receipt(1)))
    product.settle()
    assert product.status(token)["status"] == "paid" and money(product) == [receipt(1)] and product.books() == []


@pytest.mark.property(75)
def test_a_replay_and_any_order_change_nothing_that_is_paid(product: Product) -> None:
    _number, token = product.invoice(300)
    push = product.pushed(token)
    accepted(product.callback(push, code=1032))
    product.settle()
    accepted(product.callback(push, receipt=receipt(1)))
    product.settle()
    assert product.status(token)["status"] == "paid"
    for code in (1032, 1, 1037, 2001, "weird"):
        accepted(product.callback(push, code=code))
    for _again in range(3):
        accepted(product.callback(push, receipt=receipt(1)))
    product.settle()
    assert product.status(token)["status"] == "paid" and money(product) == [receipt(1)] and product.books() == []


@pytest.mark.parametrize("path", LEGACY)
def test_the_source_documents_paths_answer_the_check_and_only_make_us_ask(product: Product, path: str) -> None:
    accepted(stranger(product).get(path))
    _number, token = product.invoice()
    push = product.pushed(token)
    before = next_query_at(product, push)
    accepted(post(product, path, stk_body(push, receipt=receipt(1))))
    product.settle()
    assert next_query_at(product, push) <= clock.now() < before
    assert money(product) == [] and outcomes(product) == [] and product.status(token)["status"] == "processing"
    accepted(post(product, path, stk_body(push, code=1032)))
    product.settle()
    assert product.status(token)["status"] == "processing", "a stranger cannot end a payment either"


def test_a_confirmation_without_a_token_books_nothing(product: Product) -> None:
    number, token = product.invoice(500)
    accepted(
        post(product, "/api/mpesa/callbacks/c2b/confirmation", c2b_body(receipt=receipt(1), amount=500, account=number))
    )
    product.settle()
    assert money(product) == [] and product.status(token)["status"] == "pending"


def test_validation_looks_at_the_amount_too(product: Product) -> None:
    """coverage.md P-6: of an account that is known, and more than is due, C2B00013; a part is welcome."""

    def ask(slug: str, account: str, amount: int) -> str:
        shortcode = {"mlima": "600111", "bahari": "600222"}[slug]
        asked = c2b_body(receipt=receipt(1), amount=amount, account=account, shortcode=shortcode)
        return str(post(product, f"{product.hook(slug)}/c2b/validation", asked).json["ResultCode"])

    number, token = product.invoice(500)
    assert [ask("mlima", number, amount) for amount in (501, 5_000, 500, 499, 1)] == [
        "C2B00013",
        "C2B00013",
        "0",
        "0",
        "0",
    ]
    theirs, _token = product.invoice(500, slug="bahari")
    assert ask("bahari", theirs, 5_000) == "0", "who refuses no unknown account keeps a surplus, too"
    push = product.pushed(token)
    product.callback(push, receipt=receipt(2))
    product.settle()
    assert ask("mlima", number, 500) == "C2B00012"


def test_validation_answers_within_the_contract(product: Product) -> None:
    number, token = product.invoice(500)

    def ask(slug: str, account: str, shortcode: str) -> Any:
        answer = post(product, f"{product.hook(slug)}/c2b/validation",
                      c2b_body(receipt=receipt(1), amount=500, account=account, shortcode=shortcode))  # fmt: skip
        assert answer.status_code == 200 and set(answer.json) == {"ResultCode", "ResultDesc"}
        return answer.json["ResultCode"]

    assert ask("mlima", number, "600111") == 0 and ask("mlima", f" {number.lower()} ", "600111") == 0
    assert ask("mlima", "NOBODY", "600111") == "C2B00012", "mlima refuses unknown accounts"
    assert ask("bahari", "NOBODY", "600222") == 0, "bahari takes them, and staff place them"
    assert ask("mlima", number, "600222") == ask("bahari", number, "600111") == "C2B00015"
    assert ask("bahari", number, "600222") == 0, "another tenant's account is as unknown as any"
    product.callback(product.pushed(token), receipt=receipt(2))
    product.settle()
    assert ask("mlima", number, "600111") == "C2B00012", "nothing is left to pay"
    for body in RUBBISH:
        accepted(post(product, f"{product.hook()}/c2b/validation", body))
    for legacy in (number, "NOBODY"):
        accepted(
            post(product, "/api/mpesa/callbacks/c2b/validation", c2b_body(receipt=receipt(1), amount=5, account=legacy))
        )
    with product.inside():
        assert db.session.query(InboxItem).filter_by(kind="c2b").count() == 0, "a question is not money"


def spooled(product: Product) -> int:
    return product.app.extensions["spool"].depth()


@pytest.mark.property(73)
def test_with_the_database_away_callbacks_wait_on_disk_and_none_is_lost_or_doubled(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    (number, first), (_other, second) = product.invoice(300), product.invoice(400)
    pushes = [product.pushed(first), product.pushed(second)]
    paths = [f"{product.hook()}/stk/{push.token}" for push in pushes]
    by_hand = f"{product.hook()}/c2b/confirmation"
    with database_away(product, monkeypatch):
        for _twice in range(2):
            for n, path in enumerate(paths):
                accepted(post(product, path, stk_body(pushes[n], receipt=receipt(n))))
        accepted(post(product, by_hand, c2b_body(receipt=receipt(7), amount=50, account=number)))
        accepted(post(product, f"/hooks/{NOBODY}/stk/{NOBODY}", stk_body(pushes[0], receipt=receipt(8))))
        accepted(
            post(
                product,
                by_hand.replace("confirmation", "validation"),
                c2b_body(receipt=receipt(9), amount=5, account="X"),
            )
        )
        accepted(post(product, LEGACY[0], stk_body(pushes[0], receipt=receipt(1))))
        page = stranger(product).get(f"/pay/{first}")
        assert page.status_code == 503 and "Nothing was lost" in page.text and page.headers["Retry-After"]
        assert stranger(product).get("/api/portal/packages?tenant=mlima").json["error"] == "unavailable"
        assert stranger(product).get("/healthz").status_code == 200
        assert stranger(product).get("/readyz").json["checks"]["database"] is False
    assert spooled(product) == 6
    disk = b"".join(file.read_bytes() for file in (product.app.config["PORTAL"].data_dir / "spool").iterdir())
    assert receipt(0).encode() not in disk and pushes[0].msisdn.encode() not in disk, "the spool is sealed"
    with product.inside():
        assert jobs.take_in_spool() == 6 and jobs.take_in_spool() == 0
    product.settle()
    assert spooled(product) == 0 and sorted(filter(None, money(product))) == [receipt(0), receipt(1), receipt(7)]
    assert product.status(first)["status"] == product.status(second)["status"] == "paid" and product.books() == []


def test_a_locked_database_is_waited_for_shortly_then_the_disk_takes_it(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.kernel.db.HURRIED_MS", 50)
    _number, token = product.invoice(300)
    push = product.pushed(token)
    path = f"{product.hook()}/stk/{push.token}"
    file = product.app.config["PORTAL"].database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        accepted(post(product, path, stk_body(push, receipt=receipt(1))))
        other.execute("ROLLBACK")
    assert spooled(product) == 1
    with product.inside():
        assert jobs.take_in_spool() == 1
    product.settle()
    assert product.status(token)["status"] == "paid"


def test_with_database_and_disk_away_mpesa_is_told_to_come_again(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    _number, token = product.invoice(300)
    push = product.pushed(token)
    path = f"{product.hook()}/stk/{push.token}"
    monkeypatch.setattr(product.app.extensions["spool"], "_limit_bytes", 10)
    with database_away(product, monkeypatch):
        answer = post(product, path, stk_body(push, receipt=receipt(1)))
        assert answer.status_code == 503 and answer.json["ResultCode"] == 1
    assert spooled(product) == 0
    accepted(post(product, path, stk_body(push, receipt=receipt(1))))
    product.settle()
    assert product.status(token)["status"] == "paid"


def test_redis_may_be_away_and_callbacks_are_kept_all_the_same(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis

    def refuse(*_given: Any, **_named: Any) -> Any:
        raise redis.ConnectionError("away")

    _number, token = product.invoice(300)
    push = product.pushed(token)
    path = f"{product.hook()}/stk/{push.token}"
    with monkeypatch.context() as patch:
        patch.setattr(product.app.extensions["redis"], "execute_command", refuse)
        accepted(post(product, path, stk_body(push, receipt=receipt(1))))
    product.settle()
    assert product.status(token)["status"] == "paid"


def test_the_old_address_works_on_after_a_rotation_and_the_one_before_no_more(product: Product) -> None:
    from portal.gateways import settings as gateway_settings
    from portal.gateways.models import Gateway
    from portal.kernel.db import transaction

    addresses = [product.hook()]
    for _turn in range(2):
        with product.app.app_context(), transaction():
            gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
            gateway_settings.rotate_hooks(gateway, actor="test")
        inbox.forget_doors()
        addresses.append(product.hook())
    assert len(set(addresses)) == 3
    for n, address in enumerate(addresses):
        number, _token = product.invoice(100)
        accepted(post(product, f"{address}/c2b/confirmation", c2b_body(receipt=receipt(n), amount=100, account=number)))
    product.settle()
    assert money(product) == [receipt(1), receipt(2)]


def test_a_late_callback_of_a_long_night_still_counts(product: Product) -> None:
    _number, token = product.invoice(300)
    push = product.pushed(token)
    later(6 * 3_600)
    with product.inside():
        jobs.expire_pushes()
    assert product.status(token)["status"] == "timed_out"
    accepted(product.callback(push, receipt=receipt(1)))
    product.settle()
    assert product.status(token)["status"] == "paid" and product.books() == []


@pytest.mark.parametrize("door, kind, push_token, request_token", [
    ("stk/abc", "stk", "abc", None),
    ("result/abc", "result", None, "abc"),
    ("timeout/abc", "timeout", None, "abc"),
    ("c2b/confirmation", "c2b", None, None),
])  # fmt: skip
@pytest.mark.parametrize("is_spooled", [False, True])
def test_the_token_of_an_address_is_kept_as_what_it_names(
    product: Product, monkeypatch: pytest.MonkeyPatch, door: str, kind: str, push_token: str | None,
    request_token: str | None, is_spooled: bool,
) -> None:  # fmt: skip
    address = f"{product.hook()}/{door}"
    with database_away(product, monkeypatch) if is_spooled else nullcontext():
        accepted(post(product, address, {}))
    assert spooled(product) == int(is_spooled)
    with product.inside():
        assert jobs.take_in_spool() == int(is_spooled)
    with product.inside():
        kept = db.session.query(InboxItem).one()
        assert (kept.kind, kept.push_token, kept.request_token) == (kind, push_token, request_token)


@pytest.mark.parametrize("column, kind", [("push_token", "result"), ("request_token", "stk"), ("push_token", "c2b")])
def test_a_token_of_another_kind_is_refused_by_the_database(either_product: Product, column: str, kind: str) -> None:
    with either_product.app.app_context(), pytest.raises(IntegrityError), transaction():
        db.session.add(InboxItem(kind=kind, dedupe="x", body_sealed="", **{column: "abc"}))


def test_an_address_that_no_database_takes_blocks_no_other_callback(either_product: Product) -> None:
    """A NUL in the address once went to the spool, where it kept every later callback of this machine out."""
    product = either_product
    for path in ("/hooks/%00/c2b/confirmation", f"{product.hook()}/stk/%00", f"{product.hook()}/stk/{'x' * 90}"):
        answer = product.client().post(path, data=b"{}", content_type="application/json")
        assert answer.status_code == 200 and answer.json["ResultCode"] == 0
    spool = product.app.extensions["spool"]
    assert spool.depth() == 0
    with product.app.app_context():
        bad = inbox.envelope("stk", gateway_token="\0", body=b"{}", remote_address="")
        number, token = product.invoice(100)
        pushed = product.pushed(token)
        good = inbox.envelope(
            "stk", gateway_token=product.hook().rpartition("/")[2], push_token=pushed.token,
            body=json.dumps(stk_body(pushed)).encode(), remote_address="",
        )  # fmt: skip
        spool.append(bad)
        spool.append(good)
        assert inbox.take_in(spool, product.app.config["PORTAL"].callback_addresses) == 2 and spool.depth() == 0
        db.session.remove()
    product.settle()
    assert product.status(token)["status"] == "paid"


def test_a_gateway_that_was_called_back_is_archived_not_deleted(either_product: Product) -> None:
    amina = either_product.api("amina")
    made = amina.post(
        "/api/payment-gateways",
        {
            "name": "x",
            "shortcode": "600999",
            "consumerKey": "k",
            "consumerSecret": "s",
            "passkey": "p",
            "env": "sandbox",
        },
    ).json
    with either_product.inside():
        hook = db.session.query(Gateway.hook_token).filter_by(uid=made["id"]).scalar()
    either_product.client().post(f"/hooks/{hook}/c2b/confirmation", data=b"{}", content_type="application/json")
    answer = amina.delete(f"/api/payment-gateways/{made['id']}")
    assert answer.status_code == 200 and answer.json["archived"] is True


def test_a_gateway_with_a_long_name_is_removed_on_either_database(either_product: Product) -> None:
    """money.md C33: PostgreSQL refused the audit's 40 characters, and the answer was 422."""
    amina = either_product.api("amina")
    given = {
        "name": "Mawingu Hotspot Paybill of the Thika Road branch",
        "shortcode": "600999", "consumerKey": "k", "consumerSecret": "s", "passkey": "p", "env": "sandbox",
    }  # fmt: skip
    uid = amina.post("/api/payment-gateways", given).json["id"]
    assert amina.delete(f"/api/payment-gateways/{uid}").status_code == 200


def test_a_body_that_states_no_length_is_held_to_the_same_size(product: Product) -> None:
    """tests.md, second guards: hooks.py:37. What is too large is read no further and kept nowhere."""
    path = f"{product.hook()}/c2b/confirmation"
    for size, is_kept in ((64 * 1024, True), (64 * 1024 + 1, False)):
        answer = product.client().post(
            path,
            input_stream=io.BytesIO(b"x" * size),
            headers={"Transfer-Encoding": "chunked"},
            environ_overrides={"wsgi.input_terminated": True},
        )
        accepted(answer)
        with product.inside():
            assert (db.session.query(InboxItem).count() == 1) is is_kept
        with product.app.app_context():
            with transaction():
                db.session.query(InboxItem).delete()
            db.session.remove()
