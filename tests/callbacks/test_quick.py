"""The quick way of callbacks: the same rows and the same answers as the views', never before the commit, and whatever
is not ordinary is left to the views."""

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from portal.callbacks.quick import QuickDoor
from portal.gateways.models import Gateway, RetiredHook
from portal.kernel import personal
from portal.kernel.db import db, transaction
from portal.payments.inbox import inbox, together
from portal.payments.inbox.spool import Spool
from portal.payments.models import InboxItem
from tests.support.clock import wait_until
from tests.support.daraja import c2b_body, receipt
from tests.support.product import Product
from tests.support.rsgi import Sender, scope, served
from tests.support.source_addresses import ANYBODY, SAFARICOM, in_production

ACCEPTED = b'{"ResultCode": 0, "ResultDesc": "Accepted"}'
NOBODY = "0" * 40
TOKEN = "a1" * 20


def asked(
    path: str, body: bytes, *headers: tuple[str, str], client: str = SAFARICOM, **more: Any
) -> tuple[Any, Sender]:
    """A request with a callback's headers, and who sends it."""
    usual = {"host": "127.0.0.1:1", "content-type": "application/json", "content-length": str(len(body))}
    made = scope(*{**usual, **dict(headers)}.items(), path=path, **more)
    made.client = f"{client}:50000"
    return made, Sender([body])


def to_views_only(environ: Any, start_response: Any) -> list[bytes]:
    """In place of the views: whatever gets here did not take the quick way."""
    start_response("418 Left to the views", [])
    return [b"views"]


def remembered(product: Product) -> str:
    """The path of the tenant's doors, whose token this process knows."""
    hook = product.hook()
    with product.inside():
        assert inbox.gateway_by_token(hook.removeprefix("/hooks/")) is not None
    return hook


def rows(product: Product) -> list[dict[str, Any]]:
    """What is kept of each callback, its body open and its times left out."""
    with product.inside():
        kept = db.session.query(InboxItem).order_by(InboxItem.id).all()
        return [
            {name: getattr(one, name) for name in InboxItem.__table__.columns.keys()
             if name not in ("id", "body_sealed", "received_at", "next_at", "created_at")}
            | {"body": personal.open_text(one.body_sealed, one.tenant_id or 0)}
            for one in kept
        ]  # fmt: skip


def forget_rows(product: Product) -> None:
    with product.app.app_context(), transaction():
        db.session.query(InboxItem).delete()


@pytest.mark.parametrize("door", [f"stk/{TOKEN}", "c2b/confirmation", f"result/{TOKEN}", f"timeout/{TOKEN}"])
@pytest.mark.parametrize("body", [b'{"Body": {"a": "\xc3\xa9"}}', b"\xff not text", b"", b"x" * 65_536])
def test_what_is_kept_and_answered_is_what_the_views_keep_and_answer(
    either_product: Product, door: str, body: bytes
) -> None:
    product = either_product
    path = f"{remembered(product)}/{door}"
    quick, view = asked(path, body, ("x-request-id", "abc-1")), asked(path, body, ("x-request-id", "abc-1"))
    served(to_views_only, quick, door=QuickDoor(product.app))
    by_quick = rows(product)
    forget_rows(product)
    served(product.app, view)
    assert by_quick == rows(product) and len(by_quick) == 1 and by_quick[0]["remote_address"] == SAFARICOM
    (status, headers, answer), (status_of_view, headers_of_view, answer_of_view) = quick[1].said, view[1].said
    assert (status, answer) == (status_of_view, answer_of_view) == (200, ACCEPTED)
    assert sorted(headers) == sorted(headers_of_view) and ("x-request-id", "abc-1") in headers


def test_the_same_callback_is_kept_once_and_its_payment_is_settled(product: Product) -> None:
    number, token = product.invoice(100)
    paid = json.dumps(c2b_body(receipt=receipt(1), amount=100, account=number)).encode()
    told = [asked(f"{remembered(product)}/c2b/confirmation", paid) for _n in range(5)]
    served(to_views_only, *told, door=QuickDoor(product.app))
    assert [sender.said[0] for _scope, sender in told] == [200] * 5 and len(rows(product)) == 1
    product.settle()
    assert product.status(token)["status"] == "paid" and product.books() == []


def retire(product: Product) -> None:
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).order_by(Gateway.id).first()
        assert gateway is not None
        db.session.add(RetiredHook(tenant_id=gateway.tenant_id, gateway_id=gateway.id, token=TOKEN))


@pytest.mark.parametrize("left", [
    {"method": "GET"}, {"method": "PUT"}, {"query": "lang=sw"}, {"path": "/hooks/{t}/c2b/validation"},
    {"path": "/hooks/{t}/c2b/confirmation/"}, {"path": "/hooks/{t}/stk/" + "1" * 65}, {"path": "/hooks/{t}/stk/a.b"},
    {"path": "/hooks/{t}/stk/"}, {"path": "/api/mpesa/callbacks/c2b/confirmation"},
    {"path": f"/hooks/{NOBODY}/stk/{TOKEN}"}, {"path": f"/hooks/{TOKEN}/stk/{TOKEN}"},
    {"body": b"x" * 65_537}, {"headers": {"content-length": str(10**9)}}, {"headers": {"host": "elsewhere.test"}},
    {"client": ANYBODY},
])  # fmt: skip
def test_what_is_not_ordinary_is_left_to_the_views(product: Product, left: dict[str, Any]) -> None:
    """An address of nobody's, of a gateway's past, of a stranger's, another name than ours, an odd request."""
    retire(product)
    remembered(product)
    in_production(product)
    config = product.app.config["PORTAL"]
    product.app.config["PORTAL"] = replace(config, development=False, public_url="https://pay.test")
    token = remembered(product).removeprefix("/hooks/")
    given = {"path": "/hooks/{t}/stk/" + TOKEN, "method": "POST", "body": b"{}", "client": SAFARICOM, "query": ""}
    ours = ("host", "pay.test")
    as_usual = asked(given["path"].format(t=token), b"{}", ours)  # type: ignore[attr-defined]
    odd = {**given, **left}
    headers = [ours, *left.get("headers", {}).items()]
    unusual = asked(
        odd["path"].format(t=token), odd["body"], *headers,
        client=odd["client"], method=odd["method"], query=odd["query"],
    )  # fmt: skip
    with product.inside():
        assert inbox.gateway_by_token(TOKEN) is not None, "its retired token is remembered as well"
    served(to_views_only, as_usual, unusual, door=QuickDoor(product.app))
    assert as_usual[1].said[0] == 200 and unusual[1].said[0] == 418 and len(rows(product)) == 1


def test_a_gateway_that_is_not_remembered_is_looked_up_by_the_views(product: Product) -> None:
    hook = product.hook()
    first, second = (asked(f"{hook}/stk/{number * 20}", b"{}") for number in ("b1", "b2"))
    left: list[str] = []

    def views(environ: Any, start_response: Any) -> Any:
        left.append(environ["PATH_INFO"])
        return product.app(environ, start_response)

    door = QuickDoor(product.app)
    served(views, first, door=door)
    served(views, second, door=QuickDoor(product.app))
    assert left == [f"{hook}/stk/{'b1' * 20}"] and len(rows(product)) == 2


def test_behind_a_proxy_the_caller_is_whom_it_names(product: Product) -> None:
    hook = remembered(product)
    product.app.config["PORTAL"] = replace(product.app.config["PORTAL"], trusted_proxies=1)
    told = asked(f"{hook}/stk/{TOKEN}", b"{}", ("x-forwarded-for", f"1.2.3.4, {SAFARICOM}"), client="10.0.0.1")
    served(to_views_only, told, door=QuickDoor(product.app))
    assert told[1].said[0] == 200 and [row["remote_address"] for row in rows(product)] == [SAFARICOM]


def in_a_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_nothing_is_acknowledged_before_its_commit_and_who_came_meanwhile_is_written_at_once(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook, may_commit, sizes = remembered(product), threading.Event(), list[int]()
    keep_all = together.keep_all

    def slowly(given: Sequence[together.Row]) -> Any:
        sizes.append(len(given))
        assert may_commit.wait(30)
        return keep_all(given)

    monkeypatch.setattr(together, "keep_all", slowly)
    told = [asked(f"{hook}/stk/{number:040d}", b"{}") for number in range(30)]
    thread = in_a_thread(lambda: served(to_views_only, *told, door=QuickDoor(product.app)))
    wait_until(lambda: sizes)
    assert [sender.said for _scope, sender in told] == [[]] * 30 and rows(product) == []
    may_commit.set()
    thread.join()
    assert [sender.said[0] for _scope, sender in told] == [200] * 30 and len(rows(product)) == 30
    assert sum(sizes) == 30 and len(sizes) <= 2, "one transaction for the first, one for all others"


def test_a_database_that_is_away_is_asked_once_and_the_disk_keeps_all(product: Product) -> None:
    """Nobody waits for it in vain: not who waited behind the first, and not who comes later."""
    hook, asked_times, door = remembered(product), list[int](), QuickDoor(product.app)

    def away(given: Sequence[together.Row]) -> Any:
        asked_times.append(len(given))
        wait_until(lambda: len(door._waiting) == 11)
        raise OperationalError("INSERT", {}, Exception("the server is away"))

    async def first_alone(environ: Any, body: bytes) -> Any:
        if not environ["PATH_INFO"].endswith("/" + "0" * 40):
            while not asked_times:
                await asyncio.sleep(0)
        return await door(environ, body)

    with product.app.app_context():
        engine = db.engine
    together._of_database[engine] = together.Together(away)
    told = [asked(f"{hook}/stk/{number:040d}", b"{}") for number in range(12)]
    later = asked(f"{hook}/stk/{12:040d}", b"{}")
    try:
        served(product.app, *told, door=first_alone)
        served(product.app, later, door=door)
    finally:
        del together._of_database[engine]
        inbox.forget_doors()
    spool: Spool = product.app.extensions["spool"]
    assert [sender.said[0] for _scope, sender in (*told, later)] == [200] * 13 and spool.depth() == 13
    assert asked_times == [1] and rows(product) == []


def test_a_row_at_fault_costs_no_other_its_acknowledgement(product: Product) -> None:
    hook = remembered(product)
    token = hook.removeprefix("/hooks/")
    until, known = inbox._doors[token]
    assert known is not None
    inbox._doors[TOKEN] = until, replace(known, gateway_id=10**6)  # a gateway that is gone: its key is nowhere
    good, bad = asked(f"{hook}/stk/{TOKEN}", b"{}"), asked(f"/hooks/{TOKEN}/stk/{TOKEN}", b"{}")
    served(to_views_only, good, bad, door=QuickDoor(product.app))
    assert (good[1].said[0], bad[1].said[0]) == (200, 418) and len(rows(product)) == 1
    later = asked(f"{hook}/stk/{'c1' * 20}", b"{}")
    served(to_views_only, later, door=QuickDoor(product.app))
    assert later[1].said[0] == 200, "the database is not said to be away"


def test_a_fault_of_ours_leaves_all_that_were_written_together_to_the_views(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_given: object) -> Any:
        raise ZeroDivisionError("a mistake of ours")

    hook = remembered(product)
    door = QuickDoor(product.app)
    with monkeypatch.context() as patch:
        patch.setattr(together, "keep_all", fail)
        told = [asked(f"{hook}/stk/{number:040d}", b"{}") for number in range(3)]
        served(product.app, *told, door=door)
    assert [sender.said[0] for _scope, sender in told] == [200] * 3 and len(rows(product)) == 3
