"""What is asked of M-Pesa beside payments: its list, its balance, its word on a receipt; and a gateway's addresses."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from portal.gateways.models import Gateway
from portal.kernel import clock, queue
from portal.kernel.db import db, transaction
from portal.payments.c2b import pull
from portal.payments.models import InboxItem, MpesaRequest, Transaction
from portal.payments.processing import jobs
from portal.processes import scheduler
from tests.support.clock import later, wait_until
from tests.support.daraja import c2b_body, new_phone, receipt
from tests.support.product import Product
from tests.support.visitors import csrf_of

LEGACY = "/api/mpesa/callbacks/c2b/confirmation"


@pytest.fixture
def stage(served: Product) -> Iterator[Callable[..., None]]:
    """Set faults of the simulated M-Pesa; they are gone after the test."""

    def order(**faults: Any) -> None:
        answer = requests.post(f"{served.daraja_url}/control", json={"faults": faults}, timeout=30)
        assert answer.status_code == 200, answer.text

    yield order
    order(noCallback=None, c2bLost=None, http500=None)


def gateway_uid(product: Product) -> str:
    return product.api("amina").get("/api/payment-gateways").json["items"][0]["id"]  # type: ignore[no-any-return]


def gateway_of(product: Product) -> dict[str, Any]:
    return product.api("amina").get(f"/api/payment-gateways/{gateway_uid(product)}").json  # type: ignore[no-any-return]


def sends(client: FlaskClient, path: str, page: str, **fields: Any) -> Any:
    """Send a form of a page, and read the page that follows."""
    given = {"csrf_token": csrf_of(client, page), **fields}
    return client.post(path, data=given, follow_redirects=True)


def messages_of(product: Product, phone: str) -> list[str]:
    told = requests.get(f"{product.daraja_url}/handset/{phone}", timeout=30).json()["messages"]
    return [message["text"] for message in told]


def pay_by_hand(product: Product, account: str, amount: int, phone: str = "", shortcode: str = "600111") -> str:
    """Pay from the phone's own menu; the receipt."""
    phone = phone or new_phone()
    answer = requests.post(
        f"{product.daraja_url}/handset/{phone}/pay",
        json={"shortcode": shortcode, "account": account, "amount": amount},
        timeout=10,
    ).json()
    assert answer["accepted"], answer
    return str(answer["receipt"])


def pull_now(product: Product) -> dict[str, Any]:
    answer = product.api("amina").post(f"/api/payment-gateways/{gateway_uid(product)}/pull", json={})
    assert answer.status_code == 200 and answer.json["success"], answer.text
    return answer.json  # type: ignore[no-any-return]


def register_pull(product: Product) -> None:
    path = f"/api/payment-gateways/{gateway_uid(product)}/register-pull"
    answer = product.api("amina").post(path, json={"nominatedNumber": "0722000000"})
    assert answer.status_code == 200, answer.text


def state_of_books(product: Product) -> tuple[Any, ...]:
    """What a second pull must leave as it is."""
    with product.inside():
        rows = db.session.query(Transaction).order_by(Transaction.id).all()
        return tuple(
            (one.receipt, one.amount_cents, one.unallocated_cents, one.unplaced_why, one.push_id, one.account)
            for one in rows
        )


# --- M-Pesa's list


def paid_in_silence(served: Product, stage: Any) -> tuple[str, str]:
    """(phone, paymentId) of a package that was paid, whose every callback was lost; the list is registered."""
    register_pull(served)
    phone = new_phone("00")
    stage(noCallback=1, c2bLost=1)
    given = {"tenant": "mlima", "packageId": served.package(), "phone": phone}
    token = served.client().post("/api/portal/mpesa/initiate", json=given).json["paymentId"]  # type: ignore[index]
    with served.inside():
        jobs.send_pushes()
    requests.post(f"{served.daraja_url}/handset/{phone}/pin", json={"pin": "1234"}, timeout=30)
    wait_until(lambda: any("Confirmed" in text for text in messages_of(served, phone)))
    return phone, token


def test_a_package_whose_every_callback_was_lost_opens_by_the_pull(served: Product, stage: Any) -> None:
    phone, token = paid_in_silence(served, stage)
    assert served.status(token)["status"] == "processing", "nobody told us"
    told = pull_now(served)
    assert told["rows"] >= 1 and told["new"] >= 1
    served.settle()
    status = served.status(token)
    assert status["status"] == "paid" and status["credentials"]["password"]
    assert status["receipt"] in messages_of(served, phone)[-1]
    before = state_of_books(served)
    assert pull_now(served)["new"] == 0
    served.settle()
    assert state_of_books(served) == before and served.books() == []


def test_the_pull_fills_in_the_receipt_of_money_that_only_a_query_knows(served: Product, stage: Any) -> None:
    phone, token = paid_in_silence(served, stage)
    later(30)
    served.settle_until(lambda: served.status(token)["status"] == "paid")
    first = served.status(token)
    assert first["receipt"] is None
    pull_now(served)
    served.settle()
    second = served.status(token)
    assert second["receipt"] and second["credentials"] == first["credentials"], "credentials never change"
    with served.inside():
        assert db.session.query(Transaction).filter_by(receipt=second["receipt"]).count() == 1
    assert served.books() == []


def test_money_by_hand_is_found_by_the_schedulers_bell_and_goes_where_its_account_says(served: Product) -> None:
    register_pull(served)
    number, token = served.invoice(700)
    paid = pay_by_hand(served, number, 700)
    lost = pay_by_hand(served, "no idea", 80)
    with served.inside():
        queue.connection().delete("waits:pull")
        scheduler.sweep(0)
        queue.run("pull")
    served.settle()
    assert served.status(token)["status"] == "paid" and served.status(token)["receipt"] == paid
    items = served.api("amina").get(f"/api/transactions?receipt={lost}").json["items"]
    assert items[0]["state"] == "unallocated" and items[0]["channel"] == "pull"
    gateway = gateway_of(served)
    assert gateway["pullRegisteredAt"] and gateway["pulledUntil"]
    before = state_of_books(served)
    with served.inside():
        pull.pull_due()
    assert gateway_of(served)["pulledUntil"] == gateway["pulledUntil"], "once in five minutes is enough"
    later(900)
    with served.inside():
        pull.pull_due()
    assert gateway_of(served)["pulledUntil"] > gateway["pulledUntil"]
    assert state_of_books(served) == before and served.books() == []


def test_a_confirmation_that_follows_the_pull_is_a_second_word(served: Product) -> None:
    register_pull(served)
    number, token = served.invoice(300)
    code = pay_by_hand(served, number, 300)
    pull_now(served)
    body = c2b_body(receipt=code, amount=300, account=number)
    assert served.client().post(f"{served.hook()}/c2b/confirmation", json=body).status_code == 200
    served.settle()
    assert served.status(token)["status"] == "paid" and served.books() == []
    with served.inside():
        assert db.session.query(Transaction).filter_by(receipt=code).count() == 1


def test_a_pull_that_fails_says_why_and_its_window_stays(served: Product, stage: Any) -> None:
    path = f"/api/payment-gateways/{gateway_uid(served)}/pull"
    answer = served.api("amina").post(path, json={})
    assert answer.status_code == 409 and answer.json["error"] == "pull_not_registered"
    register_pull(served)
    stage(http500={"times": 1, "endpoint": "pull"})
    answer = served.api("amina").post(path, json={})
    assert answer.status_code == 422 and answer.json["error"] == "mpesa_refused"
    assert gateway_of(served)["pulledUntil"] is None
    stage(http500={"times": 1, "endpoint": "pull"})
    with served.inside():
        pull.pull_due()
    assert gateway_of(served)["pulledUntil"] is None
    number, token = served.invoice(40)
    pay_by_hand(served, number, 40)
    pull_now(served)
    assert served.status(token)["status"] == "paid"


def test_a_row_that_the_database_could_not_take_is_asked_for_again(
    served: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_pull(served)
    (number, token), (other, second) = served.invoice(40), served.invoice(50)
    pay_by_hand(served, number, 40)
    pay_by_hand(served, other, 50)
    real = pull.completion.place

    def stumble(gateway: Any, paid: Any, incoming: Any, **named: Any) -> Any:
        if paid.account == number:
            raise OperationalError("INSERT", {}, Exception("the server went away"), connection_invalidated=True)
        return real(gateway, paid, incoming, **named)

    with monkeypatch.context() as patch:
        patch.setattr(pull.completion, "place", stumble)
        answer = served.api("amina").post(f"/api/payment-gateways/{gateway_uid(served)}/pull", json={})
        assert answer.json["success"] is False
    assert served.status(second)["status"] == "paid" and served.status(token)["status"] == "pending"
    assert gateway_of(served)["pulledUntil"] is None
    pull_now(served)
    assert served.status(token)["status"] == "paid" and gateway_of(served)["pulledUntil"]


# --- balance, certificate, initiator


def test_the_balance_is_asked_for_and_shown_with_its_time(served: Product) -> None:
    served.give_initiator()
    uid = gateway_uid(served)
    answer = served.api("amina").post(f"/api/payment-gateways/{uid}/balance", json={})
    assert answer.status_code == 202 and answer.json["success"] is True and answer.json["message"]
    again = served.api("amina").post(f"/api/payment-gateways/{uid}/balance", json={})
    assert again.status_code == 202
    with served.inside():
        assert db.session.query(MpesaRequest).filter_by(kind="balance").count() == 1, "one question is enough"
    part = f"/staff/gateways/{uid}/balance"
    asking = served.browser_of("amina").get(part).text
    assert "appears here by itself" in asking and f'hx-get="{part}"' in asking
    served.settle_until(lambda: gateway_of(served)["balancesAt"])
    told = served.browser_of("amina").get(part).text
    assert "Utility Account" in told and "hx-get" not in told, "it asks no more"
    balances = gateway_of(served)["balances"]
    assert {one["account"] for one in balances} >= {"Utility Account"}
    assert all(isinstance(one["available"], int | float) for one in balances)
    page = served.browser_of("amina").get(f"/staff/gateways/{uid}").text
    assert "Utility Account" in page and "As M-Pesa said on" in page
    assert served.api("brian").post(f"/api/payment-gateways/{uid}/balance", json={}).status_code == 403
    assert served.api("chege").post(f"/api/payment-gateways/{uid}/balance", json={}).status_code == 404


def test_a_gateway_without_an_initiator_says_what_is_missing(product: Product) -> None:
    uid = gateway_uid(product)
    answer = product.api("amina").post(f"/api/payment-gateways/{uid}/balance", json={})
    assert answer.status_code == 409 and "security credential" in answer.json["message"]
    client = product.browser_of("amina")
    page = sends(client, f"/staff/gateways/{uid}/balance", f"/staff/gateways/{uid}")
    assert "security credential" in page.text


@pytest.mark.parametrize("form", ["pem", "der", "pasted"])
def test_a_certificate_is_uploaded_as_it_is_and_its_fingerprint_shown(served: Product, form: str) -> None:
    text = requests.get(f"{served.daraja_url}/certificate", timeout=30).text
    der = x509.load_pem_x509_certificate(text.encode()).public_bytes(Encoding.DER)
    client, uid = served.browser_of("amina"), gateway_uid(served)
    page = f"/staff/gateways/{uid}"
    given: dict[str, Any] = {
        "name": "mlima paybill", "display_name": "MLIMA HOUSE", "type": "MPESA_API", "sub_type": "PAYBILL",
        "shortcode": "600111", "env": "sandbox", "base_url": served.daraja_url, "for_clinic": "y",
        "for_hotspot": "y", "is_default": "y", "initiator_name": "mlima-api",
        "initiator_password": "Safaricom123!",
    }  # fmt: skip
    if form == "pasted":
        given["certificate"] = text.replace("\n", "\r\n")
    else:
        content = text.encode() if form == "pem" else der
        given["certificate_file"] = (io.BytesIO(content), "SandboxCertificate.cer")
    answer = sends(client, page, page, **given)
    assert answer.status_code == 200 and "Saved." in answer.text
    shown = gateway_of(served)["certificateFingerprint"]
    assert len(shown) == 95 and shown in answer.text
    asked = served.api("amina").post(f"/api/payment-gateways/{uid}/balance", json={})
    assert asked.status_code == 202
    served.settle_until(lambda: gateway_of(served)["balancesAt"])


def test_what_is_no_certificate_is_refused_at_its_field(product: Product) -> None:
    client, uid = product.browser_of("amina"), gateway_uid(product)
    page = f"/staff/gateways/{uid}"
    given = {
        "name": "n", "type": "MPESA_API", "sub_type": "PAYBILL", "shortcode": "600111", "env": "sandbox",
    }  # fmt: skip
    for content in (b"not a certificate", b"x" * 30_000, b"\xff\x00"):
        answer = sends(client, page, page, **given, certificate_file=(io.BytesIO(content), "x.cer"))
        assert answer.status_code == 422 and "certificate" in answer.text
    assert gateway_of(product)["certificateFingerprint"] is None


def test_a_halted_initiator_is_shown_and_used_again_when_somebody_has_looked(served: Product) -> None:
    served.give_initiator()
    with served.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        gateway.initiator_name = "nobody"
    uid = gateway_uid(served)
    path = f"/api/payment-gateways/{uid}"
    served.api("amina").post(f"{path}/balance", json={})
    served.settle_until(lambda: gateway_of(served)["initiatorHalted"])
    assert served.api("amina").post(f"{path}/balance", json={}).status_code == 409
    client, page = served.browser_of("amina"), f"/staff/gateways/{uid}"
    text = client.get(page).text
    assert "The initiator is halted" in text and "2001" in text
    saved = served.api("amina").put(path, json={"name": "another name", "initiatorName": "nobody"})
    assert saved.json["initiatorHalted"], "saving a name says nothing of the initiator"
    with served.app.app_context(), transaction():
        db.session.query(Gateway).filter_by(shortcode="600111").one().initiator_name = "mlima-api"
    after = sends(client, f"{page}/release", page)
    assert "The initiator is used again." in after.text and "The initiator is halted" not in after.text
    assert served.api("amina").post(f"{path}/balance", json={}).status_code == 202
    served.settle_until(lambda: gateway_of(served)["balancesAt"])
    assert served.api("amina").post(f"{path}/release-initiator", json={}).status_code == 409


# --- addresses


def test_addresses_are_registered_in_both_versions_and_changed_while_the_old_ones_work(served: Product) -> None:
    client, uid = served.browser_of("amina"), gateway_uid(served)
    page = f"/staff/gateways/{uid}"
    for version in ("v2", "v1"):
        for silent in ("Cancelled", "Completed"):
            answer = sends(client, f"{page}/register", page, version=version, response_type=silent)
            assert "Safaricom reports payments by hand to us now." in answer.text
    wrong = sends(client, f"{page}/register", page, version="v3")
    assert "version" in wrong.text and "Must be v2 or v1" in wrong.text
    path = f"/api/payment-gateways/{uid}/register-urls"
    assert served.api("amina").post(path, json={"version": "v1", "responseType": "Completed"}).status_code == 200
    refused = served.api("amina").post(path, json={"responseType": "completed"})
    assert refused.status_code == 422 and "responseType" in refused.json["fields"]
    old = served.hook()
    after = sends(client, f"{page}/rotate", page)
    assert served.hook() != old and "Those before work until the next change" in after.text
    assert gateway_of(served)["urlsRegisteredAt"] is None
    number, token = served.invoice(90)
    pay_by_hand(served, number, 90)  # M-Pesa still knows the old address only
    served.settle_until(lambda: served.status(token)["status"] == "paid")


# --- receipts that strangers name


def paste(product: Product, text: str) -> dict[str, Any]:
    given = {"tenant": "mlima", "packageId": product.package("1 hour"), "smsText": text}
    answer = product.client().post("/api/portal/mpesa/verify-sms", json=given)
    assert answer.status_code == 200, answer.text
    return answer.json  # type: ignore[return-value]


def test_an_unknown_message_makes_us_ask_and_the_next_paste_opens(served: Product, stage: Any) -> None:
    served.give_initiator()
    stage(c2bLost=1)
    phone = new_phone()
    pay_by_hand(served, "WIFI", 20, phone)
    text = messages_of(served, phone)[-1]
    first = paste(served, text)
    assert (first["status"], first["reason"]) == ("queued", "asking_mpesa")
    assert "half a minute" in first["message"] and "paymentId" not in first
    assert paste(served, text)["reason"] == "asking_mpesa", "asked once, however often it is pasted"
    with served.inside():
        assert db.session.query(MpesaRequest).count() == 1
    served.settle_until(lambda: state_of_books(served))
    third = paste(served, text)
    assert third["status"] == "verified" and third["credentials"]["password"]
    with served.inside():
        assert db.session.query(Transaction).one().channel == "status"
    assert paste(served, text)["reason"] == "already_used" and served.books() == []


def test_a_message_that_mpesa_does_not_know_stays_closed(served: Product) -> None:
    served.give_initiator()
    phone = new_phone()
    pay_by_hand(served, "WIFI", 20, phone)
    forged = messages_of(served, phone)[-1].replace(messages_of(served, phone)[-1][:10], receipt(77))
    page = served.client().post("/hotspot/mlima/paid", data={"sms_text": forged, "package": served.package("1 hour")})
    assert page.status_code == 200 and "We are asking M-Pesa about this payment" in page.text
    served.settle_until(lambda: answered(served))
    assert paste(served, forged)["reason"] == "unknown_payment"
    with served.inside():
        assert db.session.query(Transaction).count() == 0


def answered(product: Product) -> bool:
    with product.inside():
        return db.session.query(MpesaRequest).filter_by(state="answered").first() is not None


def test_without_an_initiator_an_unknown_message_is_refused_as_before(product: Product) -> None:
    text = (
        f"{receipt(5)} Confirmed. Ksh20.00 sent to MLIMA HOUSE for account WIFI on 21/11/26 at 3:42 PM "
        "New M-PESA balance is Ksh1.00."
    )
    assert paste(product, text)["status"] == "rejected"


def claim(product: Product, body: Any) -> None:
    answer = product.client().post(LEGACY, json=body)
    assert answer.status_code == 200 and answer.json == {"ResultCode": 0, "ResultDesc": "Accepted"}


def inbox_of(product: Product) -> list[tuple[str, str]]:
    with product.inside():
        return [(one.kind, one.state) for one in db.session.query(InboxItem).order_by(InboxItem.id)]


def test_a_confirmation_without_a_token_is_believed_when_mpesa_says_the_same(served: Product, stage: Any) -> None:
    served.give_initiator()
    stage(c2bLost=1)
    number, token = served.invoice(450)
    code = pay_by_hand(served, number, 450)
    body = c2b_body(receipt=code, amount=450, account=number)
    for _twice in range(2):
        claim(served, body)
    assert inbox_of(served) == [("claim", "new")] and served.status(token)["status"] == "pending"
    served.settle_until(lambda: served.status(token)["status"] == "paid")
    assert ("claim", "done") in inbox_of(served) and served.books() == []
    with served.inside():
        assert db.session.query(MpesaRequest).count() == 1
    claim(served, body)
    with served.inside():
        assert db.session.query(MpesaRequest).count() == 1, "money that is known needs no question"


def test_a_forged_claim_opens_nothing_and_does_not_shut_out_the_true_one(served: Product, stage: Any) -> None:
    served.give_initiator()
    stage(c2bLost=1)
    (number, token), (_other, second) = served.invoice(450), served.invoice(9_000)
    code = pay_by_hand(served, number, 450)
    claim(served, c2b_body(receipt=code, amount=9_000, account=_other))
    claim(served, c2b_body(receipt=code, amount=450, account=number))
    claim(served, c2b_body(receipt=receipt(99), amount=9_000, account=_other))
    served.settle_until(lambda: served.status(token)["status"] == "paid")

    def is_over() -> bool:
        later(65)  # its records may be late: M-Pesa is asked three times before it is disbelieved
        return not any(state == "waiting" for kind, state in inbox_of(served) if kind == "claim")

    served.settle_until(is_over)
    assert served.status(second)["status"] == "pending" and served.books() == []
    assert [state for _kind, state in inbox_of(served) if _kind == "claim"].count("rejected") == 2


@pytest.mark.parametrize("is_own", [True, False])
def test_a_claims_account_is_hearsay_where_mpesa_reports_to_our_own_addresses(
    served: Product, stage: Any, is_own: bool
) -> None:
    served.give_initiator()
    stage(c2bLost=1)
    with served.app.app_context(), transaction():
        db.session.query(Gateway).filter_by(shortcode="600111").update({"urls_registered_at": clock.now()})
    (number, token), (other, second) = served.invoice(450), served.invoice(450)
    phone = new_phone()
    code = pay_by_hand(served, number, 450, phone)
    push = served.pushed(token if is_own else second, phone if is_own else new_phone())
    claim(served, c2b_body(receipt=code, amount=450, account=number if is_own else other))
    served.settle_until(lambda: all(state != "waiting" for _kind, state in inbox_of(served)))
    with served.inside():
        booked = db.session.query(Transaction).one()
        assert (booked.receipt, booked.unallocated_cents) == (code, 0 if is_own else 450_00), push
    assert (served.status(token)["status"] == "paid") is is_own
    assert served.status(second)["status"] != "paid" and served.books() == []
    if not is_own:
        assert other in served.browser_of("brian").get("/staff/unmatched").text, "its account is shown to staff"


def test_what_m_pesa_cannot_have_written_is_not_kept(product: Product) -> None:
    claim(product, c2b_body(receipt="0000", amount=5, account="A"))
    claim(product, c2b_body(receipt=receipt(50), amount=5, account="A", shortcode="999999"))
    assert inbox_of(product) == []


def test_a_claim_goes_to_the_gateway_that_knows_its_account(product: Product) -> None:
    with product.app.app_context(), transaction():
        for gateway in db.session.query(Gateway):
            gateway.shortcode = "600111"
            gateway.initiator_name = "api"
            gateway.keep_secret("security_credential", "ready-made")
    number, _token = product.invoice(50, slug="bahari")
    claim(product, c2b_body(receipt=receipt(1), amount=50, account="nobody knows"))
    claim(product, c2b_body(receipt=receipt(2), amount=50, account=number))
    product.work(rounds=1)
    bahari = product.tenant_id("bahari")
    with product.inside():
        asked = [(one.tenant_id, one.receipt) for one in db.session.query(MpesaRequest)]
    assert asked == [(bahari, receipt(2))]
