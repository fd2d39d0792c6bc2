"""What reaches people in the demonstration: SMS on the handset, e-mails on a page, both sent as in production."""

import dataclasses
import json
import socket

import pytest
import responses

from portal.notifications import channels
from portal.simulator.post import mailbox
from tests.support.application import config_for
from tests.support.clock import wait_until
from tests.support.simulator import Daraja, opened

BROWSER = {"Accept": "text/html"}
SMS = {"username": "sandbox", "to": "+254712345600", "message": "Your code is 123456", "bulkSMSMode": "1"}


@pytest.fixture
def daraja(tmp_path):
    with opened(tmp_path) as running:
        yield running


def test_an_sms_is_on_the_handset_in_the_providers_own_words(daraja: Daraja) -> None:
    answer = daraja.client.post("/version1/messaging", data=SMS, headers={"apiKey": "demo"})
    assert answer.status_code == 201
    said = answer.json["SMSMessageData"]
    assert said["Message"] == "Sent to 1/1 Total Cost: KES 0.8000"
    (recipient,) = said["Recipients"]
    assert recipient["statusCode"] == 101 and recipient["cost"] == "KES 0.8000"
    assert recipient["number"] == "+254712345600" and recipient["messageId"].startswith("ATXid_")
    assert [one["text"] for one in daraja.handset()["messages"]] == ["Your code is 123456"]


def test_one_message_to_many_is_one_line_each_and_a_wrong_number_stops_no_other(daraja: Daraja) -> None:
    form = SMS | {"to": "+254712345600,12,+254712345601"}
    said = daraja.client.post("/version1/messaging", data=form, headers={"apiKey": "demo"}).json["SMSMessageData"]
    assert [one["statusCode"] for one in said["Recipients"]] == [101, 403, 101]
    assert said["Message"] == "Sent to 2/3 Total Cost: KES 1.6000"
    assert len(daraja.handset("254712345601")["messages"]) == 1


@pytest.mark.parametrize(
    ("headers", "form", "status"), [({}, SMS, 401), ({"apiKey": "demo"}, {"username": "sandbox"}, 400)]
)
def test_who_has_no_key_or_says_nothing_is_refused(daraja: Daraja, headers, form, status) -> None:
    assert daraja.client.post("/version1/messaging", data=form, headers=headers).status_code == status
    assert daraja.handset()["messages"] == []


def test_the_products_own_carrier_is_understood(daraja: Daraja, tmp_path, sqlite_url, redis_url) -> None:
    config = dataclasses.replace(
        config_for(sqlite_url, redis_url, tmp_path),
        sms_username="sandbox", sms_api_key="demo", sms_base_url="http://simulator.test",
    )  # fmt: skip

    def carry(request):
        answer = daraja.client.post("/version1/messaging", data=request.body, headers=dict(request.headers))
        return answer.status_code, {}, answer.text

    with responses.RequestsMock() as wire:
        wire.add_callback("POST", "http://simulator.test/version1/messaging", callback=carry)
        sent = channels.send_sms(config, "k", {"to": "254712345600", "text": "Habari"})
    assert sent.provider_id.startswith("ATXid_") and sent.cost_cents == 80
    assert [one["text"] for one in daraja.handset()["messages"]] == ["Habari"]


def test_an_email_is_on_the_outbox_page(daraja: Daraja, tmp_path, sqlite_url, redis_url) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listening = mailbox.listen(daraja.app.extensions["simulator"].store, host="127.0.0.1", port=port)
    config = dataclasses.replace(
        config_for(sqlite_url, redis_url, tmp_path), smtp_url=f"smtp://127.0.0.1:{port}", mail_from="Upendo <u@u.test>"
    )
    letter = {"to": "amina@example.com", "subject": "Umelipa <b>", "text": "See http://127.0.0.1/pay/abc\n\nAsante"}
    try:
        channels.send_email(config, "k", letter)
    finally:
        listening.stop()
    (mail,) = daraja.client.get("/outbox").json["mails"]
    assert (mail["to"], mail["subject"], mail["text"]) == ("amina@example.com", "Umelipa <b>", letter["text"])
    assert mail["from"] == "Upendo <u@u.test>"
    page = daraja.client.get("/outbox", headers=BROWSER).text
    assert "Umelipa &lt;b&gt;" in page and '<a href="http://127.0.0.1/pay/abc"' in page


@pytest.fixture
def answering(tmp_path):
    with opened(tmp_path) as running:
        running.app.extensions["simulator"].store.keep("sms_callbacks", f"{running.listener.url}/sms/KEY")
        yield running


def posted_forms(running: Daraja, path: str, *, count: int) -> list[dict[str, str]]:
    """What the portal's door would have got, once so many posts have come."""
    found: list[dict[str, str]] = []

    def came() -> bool:
        store = running.app.extensions["simulator"].store
        store.move_clock(0.25)
        rows = store.all("SELECT * FROM log WHERE door = ?", f"SMS {path}")
        found[:] = [json.loads(row["body"]) for row in rows]
        assert all("KEY" not in row["address"] for row in rows)
        return len(found) >= count

    wait_until(came)
    return found


def test_a_delivery_report_follows_each_message(answering: Daraja) -> None:
    said = answering.client.post("/version1/messaging", data=SMS, headers={"apiKey": "demo"}).json
    [report] = posted_forms(answering, "delivery", count=1)
    assert report == {
        "id": said["SMSMessageData"]["Recipients"][0]["messageId"], "status": "Success",
        "phoneNumber": "+254712345600", "networkCode": "63902", "failureReason": "", "retryCount": "0",
    }  # fmt: skip


def test_the_handset_answers_by_sms(answering: Daraja) -> None:
    answering.client.post("/version1/messaging", data=SMS | {"from": "20880"}, headers={"apiKey": "demo"})
    assert answering.client.post("/handset/254712345600/sms", json={"text": "1"}).json == {"accepted": True}
    [form] = posted_forms(answering, "incoming", count=1)
    assert (form["from"], form["to"], form["text"]) == ("+254712345600", "20880", "1") and form["id"]
    assert answering.client.post("/handset/254712345600/sms", json={"text": " "}).status_code == 422


def test_without_a_reader_nothing_is_answered(daraja: Daraja) -> None:
    assert daraja.client.post("/handset/254712345600/sms", json={"text": "1"}).json["error"] == "no_reader"
