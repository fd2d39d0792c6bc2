"""One gateway that is silent, or whose secrets do not open, holds up no other's prompts, questions and refunds."""

import json
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest
import responses

from portal.gateways import breaker, daraja
from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments import daraja_requests
from portal.payments.c2b import pull
from portal.payments.models import MpesaRequest, Push, Refund
from portal.payments.processing import gateway_pool, jobs, request_jobs
from portal.payments.refunds import refunds
from portal.payments.stk import pushes, queries
from portal.tenants.models import Tenant
from tests.support.clock import later, wait_until
from tests.support.daraja import ACCEPTED, DARAJA, new_phone, receipt
from tests.support.product import Product
from tests.support.refunds import paid_by_hand, with_initiator

SILENT = "http://silent.test"
TOKEN = {"access_token": "t0ken", "expires_in": "3599"}
ANSWERED = {
    "ConversationID": "AG_1", "OriginatorConversationID": "o-1", "ResponseCode": "0", "ResponseDescription": "ok",
}  # fmt: skip
QUERY = "/mpesa/stkpushquery/v1/query"
STATUS = "/mpesa/transactionstatus/v1/query"
PULLED = "/pulltransactions/v1/query"


class Silence:
    """The doors of a server that answers nobody until `end` is set; how many were ever inside at once."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self.inside = self.most = 0
        self._guard = threading.Lock()

    def __call__(self, _request: Any) -> tuple[int, dict[str, str], str]:
        with self._guard:
            self.inside += 1
            self.most = max(self.most, self.inside)
        assert self.end.wait(120)
        with self._guard:
            self.inside -= 1
        return 503, {}, "<html>"


@pytest.fixture
def silence(product: Product) -> Iterator[Silence]:
    """mlima's M-Pesa is silent, bahari's answers."""
    with product.app.app_context(), transaction():
        gateway_of("mlima").base_url, gateway_of("bahari").base_url = SILENT, DARAJA
    one = Silence()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for path in ("/mpesa/stkpush/v1/processrequest", QUERY, STATUS, PULLED):
            mock.add_callback(responses.POST, SILENT + path, callback=one)
        mock.get(f"{DARAJA}/oauth/v1/generate", json=TOKEN)
        mock.get(f"{SILENT}/oauth/v1/generate", json=TOKEN)
        mock.post(f"{DARAJA}/mpesa/stkpush/v1/processrequest", json=ACCEPTED)
        mock.post(
            DARAJA + QUERY, json={"ResponseCode": "0", "ResultCode": "1032", "ResultDesc": "cancelled"} | ACCEPTED
        )
        mock.post(DARAJA + STATUS, json=ANSWERED)
        mock.post(DARAJA + PULLED, json={"ResponseCode": "1001", "Response": [[]]})
        yield one
        one.end.set()


def gateway_of(slug: str) -> Gateway:
    return db.session.query(Gateway).join(Tenant, Tenant.id == Gateway.tenant_id).filter(Tenant.slug == slug).one()


def ask(product: Product, slug: str) -> str:
    body = {"tenant": slug, "packageId": product.package(slug=slug), "phone": new_phone()}
    answer = product.client().post("/api/portal/mpesa/initiate", json=body)
    assert answer.status_code == 201 and answer.json is not None
    token: str = answer.json["paymentId"]
    return token


def prompts_of(product: Product) -> list[tuple[str, int]]:
    with product.inside():
        return [(push.state, push.sends) for push in db.session.query(Push).order_by(Push.id)]


def break_secret(slug: str) -> None:
    """As if it were sealed under a key that is gone."""
    gateway = gateway_of(slug)
    for name in ("consumer_key_sealed", "passkey_sealed"):
        setattr(gateway, name, (getattr(gateway, name) or "").replace("v1.test.", "v1.gone."))


def meanwhile(product: Product, silence: Silence, job: Any, is_done: Any) -> None:
    """Run the job until something is so although a server is silent; then let the server speak."""

    def work() -> None:
        with product.inside():
            job()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        wait_until(is_done)
        wait_until(lambda: silence.inside > 0)  # or nobody was at the silent server, and this proves nothing
    finally:
        silence.end.set()
        worker.join()


def test_a_silent_gateway_holds_up_no_other_tenants_prompts(product: Product, silence: Silence) -> None:
    """money.md C29: eight prompts to a silent server held every other tenant's back, for 80 s and more."""
    for _person in range(10):
        ask(product, "mlima")
    ask(product, "bahari")
    meanwhile(
        product, silence, jobs.send_pushes, lambda: silence.inside == 8 and prompts_of(product)[-1][0] == "awaiting_pin"
    )
    assert silence.most == 8


def test_a_gateway_that_did_not_answer_is_tried_one_at_a_time(product: Product, silence: Silence) -> None:
    """money.md C29: two such gateways would fill every thread again and again."""
    with product.inside():
        breaker.failed(gateway_of("mlima").id, daraja.OutcomeUnknown("silent"))
    for _person in range(4):
        ask(product, "mlima")
    ask(product, "bahari")
    meanwhile(product, silence, jobs.send_pushes, lambda: prompts_of(product)[-1][0] == "awaiting_pin")
    assert silence.most == 1


def test_what_a_full_gateway_has_waiting_does_not_fill_the_list(product: Product) -> None:
    """money.md C29: the oldest hundred were looked at, whosever they were."""
    for _person in range(2):
        ask(product, "mlima")
    ask(product, "bahari")
    with product.inside():
        ours, others = gateway_of("mlima").id, gateway_of("bahari").id
        assert [gateway_id for _push, gateway_id in pushes.due_to_send()] == [ours, ours, others]
        assert [gateway_id for _push, gateway_id in pushes.due_to_send([ours])] == [others]


def test_no_row_of_a_gateway_that_has_enough_to_do_is_looked_for(product: Product) -> None:
    """money.md C31: else its waiting rows fill the list, and nobody else's turn comes."""
    looked: list[list[int]] = []

    def due(without: Collection[int]) -> list[tuple[int, int]]:
        looked.append(list(without))
        return [(3, 8)]

    errand = gateway_pool.Errand(due, lambda _row: None, lambda _row, _error: None, lambda _gateway: 2)
    with product.inside():
        in_flight: Any = {1: (7, Future()), 2: (7, Future()), 4: (9, Future())}
        assert gateway_pool._next(errand, in_flight, set(), 8) == [(3, 8)]
    assert looked == [[7]]


def test_a_row_whose_work_failed_is_not_tried_again_in_the_same_run(product: Product) -> None:
    """Where it cannot even be put off it stays due: over and over, it would keep a thread from everybody else."""
    tried: list[int] = []

    def fail(row_id: int) -> None:
        tried.append(row_id)
        raise ZeroDivisionError

    def cannot_put_off(_row: int, _error: Exception) -> None:
        raise ZeroDivisionError

    errand = gateway_pool.Errand(lambda _full: [(3, 8), (4, 8)], fail, cannot_put_off, lambda _gateway: 2)
    with product.inside():
        done = gateway_pool.run(errand, threads=2, lasting=timedelta(seconds=1))
    assert sorted(tried) == [3, 4] and done == 2


def test_a_silent_gateway_holds_up_no_other_tenants_queries(product: Product, silence: Silence) -> None:
    """money.md C29."""
    for _bill in range(6):
        product.pushed(product.invoice(100)[1])
    product.pushed(product.invoice(100, "bahari")[1])
    later(16)
    meanwhile(
        product, silence, jobs.ask_mpesa, lambda: silence.inside == 2 and prompts_of(product)[-1][0] == "cancelled"
    )
    assert silence.most == 2


def test_a_silent_gateway_holds_up_no_other_tenants_questions(product: Product, silence: Silence) -> None:
    """money.md C29: they were asked one after the other."""
    with_initiator(product)
    with product.app.app_context(), transaction():
        mine, other = gateway_of("mlima"), gateway_of("bahari")
        other.initiator_name, other.security_credential_sealed = "api", None
        other.keep_secret("security_credential", "ready-made")
        for n in range(3):
            daraja_requests.ask(mine, "status", daraja_requests.Subject(receipt=f"UKL1ABCD2{n}"))
        last = daraja_requests.ask(other, "status", daraja_requests.Subject(receipt="UKL1ABCD26")).id

    def is_asked() -> bool:
        with product.inside():
            return db.session.get_one(MpesaRequest, last).conversation_id == "AG_1"

    meanwhile(product, silence, request_jobs.send_due, is_asked)
    assert silence.most == 1


def test_a_silent_gateway_holds_up_no_other_tenants_list_of_payments(product: Product, silence: Silence) -> None:
    """One was asked after the other: so many silent ones made every other one's lost callbacks wait for minutes."""
    with product.app.app_context(), transaction():
        for slug in ("mlima", "bahari"):
            gateway_of(slug).pull_registered_at = clock.now()
        ours, others = gateway_of("mlima").id, gateway_of("bahari").id
        assert ours < others, "or nobody waits behind the silent one"

    def is_pulled(gateway_id: int) -> bool:
        with product.inside():
            return db.session.get_one(Gateway, gateway_id).pulled_until is not None

    meanwhile(product, silence, pull.pull_due, lambda: is_pulled(others))
    assert not is_pulled(ours), "its turn comes again"


def test_who_answered_last_time_is_asked_first_for_its_list_and_once_in_a_run(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent for days, they would fill every thread, and nobody else's turn came within the run."""
    with product.app.app_context(), transaction():
        for slug in ("mlima", "bahari"):
            gateway_of(slug).pull_registered_at = clock.now()
        gateway_of("bahari").pulled_until = clock.now()
        ours, others = gateway_of("mlima").id, gateway_of("bahari").id
    later(3_600)
    asked: list[int] = []
    monkeypatch.setattr(pull, "pull", asked.append)  # takes nothing in, so its window stays
    monkeypatch.setattr(pull, "THREADS", 1)
    with product.inside():
        pull.pull_due()
    assert asked == [others, ours]


def test_a_sender_may_take_as_long_as_its_timeouts_before_it_counts_as_gone(product: Product) -> None:
    """money.md C29: after 60 s a prompt that was still being sent was called unconfirmed, and stayed so."""
    ask(product, "mlima")
    with product.app.app_context(), transaction():
        push_id = db.session.query(Push).one().id
        assert pushes.lease(push_id, hook_url="http://h/hooks") is not None
    later(110)
    with product.inside():
        jobs.expire_pushes()
    assert prompts_of(product) == [("sending", 1)]
    later(11)
    with product.inside():
        jobs.expire_pushes()
    assert prompts_of(product) == [("unconfirmed", 1)]
    with product.app.app_context(), transaction():
        pushes.not_sent(push_id, daraja.Unreachable("No connection. Nothing was sent."))
    assert prompts_of(product) == [("declined", 1)], "it certainly was not sent: the payer may try again"


def test_a_prompt_whose_gateway_has_no_readable_secrets_is_declined_at_once(product: Product, silence: Silence) -> None:
    """money.md C30: it was tried a hundred times a second."""
    tokens = [ask(product, "mlima"), ask(product, "bahari")]
    with product.app.app_context(), transaction():
        break_secret("mlima")
    with product.inside():
        jobs.send_pushes()
    assert prompts_of(product) == [("declined", 1), ("awaiting_pin", 1)]
    assert product.status(tokens[0])["status"] == "failed"
    with product.inside():
        assert "PORTAL_DATA_KEYS" in db.session.query(Push).order_by(Push.id).all()[0].failure


@pytest.mark.parametrize("error", [ValueError("a bad row"), None])
def test_a_prompt_that_cannot_be_made_is_tried_once_and_stops_no_other(
    product: Product, silence: Silence, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """money.md C30: the loop took the same push up again and again for two minutes."""
    ask(product, "mlima"), ask(product, "bahari")
    tries: list[int] = []
    real = pushes.lease

    def claim(push_id: int, **named: Any) -> Any:
        tries.append(push_id)
        if error is not None and len(tries) == 1:
            raise error
        return real(push_id, **named)

    monkeypatch.setattr(pushes, "lease", claim)
    if error is None:
        with product.app.app_context(), transaction():
            first = db.session.query(Push).order_by(Push.id).first()
            assert first is not None
            first.phone_sealed = (first.phone_sealed or "").replace("v1.test.", "v1.gone.")
    with product.inside():
        jobs.send_pushes()
    assert len(tries) == len(set(tries)) == 2
    assert prompts_of(product) == [("declined", 0), ("awaiting_pin", 1)]


def test_a_gateway_without_readable_secrets_stops_no_other_tenants_questions(
    product: Product, silence: Silence
) -> None:
    """money.md C30: every tenant's questions and refunds waited behind one gateway's."""
    with_initiator(product)
    with product.app.app_context(), transaction():
        mine, other = gateway_of("mlima"), gateway_of("bahari")
        other.initiator_name = "api"
        other.keep_secret("security_credential", "ready-made")
        daraja_requests.ask(mine, "status", daraja_requests.Subject(receipt="UKL1ABCD25"))
        daraja_requests.ask(other, "status", daraja_requests.Subject(receipt="UKL1ABCD26"))
        break_secret("mlima")
    with product.inside():
        request_jobs.send_due()
        first, second = db.session.query(MpesaRequest).order_by(MpesaRequest.id).all()
        assert (first.state, first.sends) == ("failed", 1) and "PORTAL_DATA_KEYS" in first.answer
        assert (second.state, second.conversation_id) == ("sent", "AG_1")


def test_a_query_of_a_gateway_without_readable_secrets_takes_its_turn_and_stops_no_other(
    product: Product, silence: Silence
) -> None:
    """money.md C30: the same kind: its pushes stayed at the head of the line."""
    product.pushed(product.invoice(100)[1])
    product.pushed(product.invoice(100, "bahari")[1])
    with product.app.app_context(), transaction():
        break_secret("mlima")
    later(16)
    with product.inside():
        jobs.ask_mpesa()
        assert queries.due() == []
        mine = db.session.query(Push).order_by(Push.id).first()
        assert mine is not None and mine.queries == 1 and mine.next_query_at is not None
    assert [state for state, _sends in prompts_of(product)] == ["awaiting_pin", "cancelled"]


def test_a_refund_whose_work_fails_is_put_off_and_stops_no_other(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money.md C30: no guard for each."""
    with_initiator(product)
    amina = product.api("amina")
    for n in range(2):
        number, token = product.invoice(1_000 + n)
        paid_by_hand(product, 1_000 + n, number, receipt(n))
        assert amina.post(f"/api/mpesa/{token}/refund", json={"amount": 1_000 + n}).status_code in (200, 201, 202)
    begun: list[int] = []

    def begin(refund_id: int) -> None:
        begun.append(refund_id)
        if len(begun) == 1:
            raise ValueError("a bad row")

    monkeypatch.setattr(refunds, "begin", begin)
    with product.inside():
        request_jobs.send_due()
        first, second = db.session.query(Refund).order_by(Refund.id).all()
        assert begun == [first.id, second.id]
        assert first.next_at is not None and first.next_at > clock.now() and first.state == "approved"


def test_a_question_that_fails_unforeseen_is_put_off(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """money.md C30."""
    with_initiator(product)
    with product.app.app_context(), transaction():
        asked = daraja_requests.ask(gateway_of("mlima"), "status", daraja_requests.Subject(receipt="UKL1ABCD25")).id

    def claim(_request_id: int) -> None:
        raise ValueError(json.dumps({"a": "bad row"}))

    monkeypatch.setattr(daraja_requests, "lease", claim)
    with product.inside():
        request_jobs.send_due()
        put_off = db.session.get_one(MpesaRequest, asked)
        assert put_off.state == "created" and put_off.next_at is not None and put_off.next_at > clock.now()
        assert daraja_requests.due() == []
