"""Messages: carried by a real mail server and an SMS provider's wire format, once, and kept while these are away."""

import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import responses

from portal import fulfilment
from portal.kernel import clock, queue
from portal.kernel.config import Config
from portal.kernel.db import db, transaction
from portal.notifications import channels, tell
from portal.outbox import deliver
from portal.outbox.carriers import Carried
from portal.outbox.deliver import deliver_due
from portal.outbox.models import OutboxItem
from portal.processes import scheduler, worker
from tests.support.application import config_for
from tests.support.clock import later, wait_until
from tests.support.daraja import new_phone, receipt
from tests.support.product import Product, closed_product, opened_product
from tests.support.services.certificates import make_certificate
from tests.support.services.smtp import Mail, SmtpSink

SMS = "https://api.africastalking.com/version1/messaging"


@pytest.fixture
def posted(sqlite_url: str, clean_redis_url: str, tmp_path: Path, smtp_sink) -> Iterator[Product]:  # type: ignore[no-untyped-def]
    product = opened_product(
        sqlite_url, clean_redis_url, tmp_path, smtp_url=smtp_sink.url, mail_from="Mlima <pay@mlima.test>",
        sms_username="mlima", sms_api_key="secret-key",
    ).furnish()  # fmt: skip
    yield product
    closed_product(product)


def states(product: Product) -> list[tuple[str, str]]:
    with product.inside():
        return [(item.state, item.last_error) for item in db.session.query(OutboxItem).order_by(OutboxItem.id)]


def text_of(mail: Mail) -> str:
    """What a person reads of it, whatever else it brings."""
    body = mail.message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def write(product: Product, **changes: object) -> None:
    with product.app.app_context():
        with transaction():
            for _twice in range(2):
                tell.by_email(
                    1,
                    "k1",
                    address="amina@example.com",
                    subject="Paid",
                    text="Receipt SKL1ABCD23",
                    locale="en",
                    **changes,
                )  # type: ignore[arg-type]
        db.session.remove()


@pytest.mark.property(61)
def test_who_paid_is_mailed_within_30_seconds_even_where_every_bell_is_lost(posted: Product, smtp_sink) -> None:  # type: ignore[no-untyped-def]
    """Each step finds its work by query alone, a round of the scheduler after the one before."""
    desk = posted.api("brian")
    patient = desk.post(
        "/api/patients", json={"name": "Achieng", "phone": new_phone(), "email": "achieng@example.com"}
    ).json
    asked_for = {
        "patientId": patient["id"], "clinicianId": desk.get("/api/clinicians").json["items"][0]["id"], "kind": "onsite",
        "startsAt": (clock.now() + timedelta(days=2)).isoformat(), "durationMinutes": 45, "price": 1_500,
    }  # fmt: skip
    booked = desk.post("/api/appointments", json=asked_for).json
    token = posted.api("wanjiru").post(f"/api/appointments/{booked['id']}/approve").json["paymentId"]
    push = posted.pushed(token)
    with posted.app.app_context():
        deliver_due()
    before = len(smtp_sink.mails)

    posted.app.extensions["redis"].flushall()
    assert posted.callback(push, receipt=receipt(5)).status_code == 200
    paid_at = clock.now()
    for job, work in (
        (queue.DRAIN, fulfilment.drain),
        (queue.PAID, fulfilment.deliver_paid),
        (queue.OUTBOX, deliver_due),
    ):
        later(2)  # the scheduler's round
        with posted.app.app_context():
            if job in scheduler.waiting():
                work()
            db.session.remove()
    smtp_sink.wait_for(before + 1)
    mails = [mail for mail in smtp_sink.mails[before:] if receipt(5) in text_of(mail)]
    assert [mail.recipients for mail in mails] == [("achieng@example.com",)]
    assert clock.now() - paid_at < timedelta(seconds=30)


def test_a_mail_goes_out_once_with_its_receipt(posted: Product, smtp_sink) -> None:  # type: ignore[no-untyped-def]
    write(posted)
    with posted.app.app_context():
        deliver_due()
        deliver_due()
    smtp_sink.wait_for(1)
    assert len(smtp_sink.mails) == 1 and states(posted) == [("done", "")]
    mail = smtp_sink.mails[0]
    assert "SKL1ABCD23" in mail.message.get_content() and mail.recipients == ("amina@example.com",)


def test_a_mail_waits_while_the_server_refuses_and_goes_later(posted: Product, smtp_sink) -> None:  # type: ignore[no-untyped-def]
    write(posted)
    smtp_sink.refuse_with = "451 try again later"
    with posted.app.app_context():
        deliver_due()
    assert states(posted)[0][0] == "new" and "451" in states(posted)[0][1]
    smtp_sink.refuse_with = None
    later(10)
    with posted.app.app_context():
        deliver_due()
    smtp_sink.wait_for(1)
    assert states(posted)[0][0] == "done"


def test_what_comes_too_late_is_not_sent(posted: Product, smtp_sink) -> None:  # type: ignore[no-untyped-def]
    write(posted, expires_at=clock.now() + timedelta(seconds=60))
    later(61)
    with posted.app.app_context():
        deliver_due()
    assert states(posted)[0][0] == "skipped" and not smtp_sink.mails


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (
            {
                "status": 201,
                "json": {
                    "SMSMessageData": {"Recipients": [{"statusCode": 101, "messageId": "ATXid_1", "status": "Success"}]}
                },
            },
            "done",
        ),
        (
            {
                "status": 201,
                "json": {"SMSMessageData": {"Recipients": [{"statusCode": 405, "status": "InsufficientBalance"}]}},
            },
            "new",
        ),
        (
            {
                "status": 201,
                "json": {"SMSMessageData": {"Recipients": [{"statusCode": 403, "status": "InvalidPhoneNumber"}]}},
            },
            "dead",
        ),
        (
            {"status": 201, "json": {"SMSMessageData": {"Recipients": [], "Message": "InvalidSenderId"}}},
            "new",
        ),
        ({"status": 401, "body": "The supplied authentication is invalid"}, "new"),
        ({"status": 502, "body": "bad gateway"}, "new"),
        ({"status": 201, "body": "welcome"}, "dead"),
    ],
)
def test_an_sms_goes_is_tried_again_or_is_given_up_as_the_provider_says(posted: Product, answer, state: str) -> None:  # type: ignore[no-untyped-def]
    with posted.app.app_context():
        with transaction():
            tell.by_sms(1, "k2", msisdn="254712345678", text="Paid", locale="en")
        db.session.remove()
        with responses.RequestsMock() as mock:
            mock.post(SMS, **answer)
            deliver_due()
            sent = mock.calls[0].request
            assert "to=%2B254712345678" in sent.body and sent.headers["apiKey"] == "secret-key"
    assert states(posted)[0][0] == state


# ---- encryption on the way


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A mail server's certificate for the loopback, which this machine believes."""
    key, pem = tmp_path / "mail.key", tmp_path / "mail.pem"
    make_certificate("127.0.0.1", key, pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    return context


@pytest.fixture
def mail_server() -> Iterator[Callable[[ssl.SSLContext | None], SmtpSink]]:
    sinks = []

    def start(tls: ssl.SSLContext | None) -> SmtpSink:
        sinks.append(SmtpSink(tls))
        return sinks[-1]

    yield start
    for sink in sinks:
        sink.stop()


Starts = Callable[[ssl.SSLContext | None], SmtpSink]
LETTER = {"to": "amina@example.com", "subject": "Paid", "text": "Receipt SKL1ABCD23"}


def config_with(tmp_path: Path, sink: SmtpSink, credentials: str = "") -> Config:
    url = f"smtp://{credentials}{sink.host}:{sink.port}"
    return config_for("sqlite://", "redis://127.0.0.1:1", tmp_path, smtp_url=url)


@pytest.mark.parametrize("credentials", ["", "user:pass%20word@"])
def test_a_server_that_offers_starttls_gets_mail_and_password_encrypted(
    mail_server: Starts, certificate: ssl.SSLContext, tmp_path: Path, credentials: str
) -> None:
    """coverage.md A2: the extension was asked for before EHLO had named any, and everything went in clear."""
    sink = mail_server(certificate)
    channels.send_email(config_with(tmp_path, sink, credentials), "k", LETTER)
    assert sink.wait_for(1)[0].was_encrypted
    assert sink.passwords == ([("pass word", True)] if credentials else [])


def test_without_starttls_no_password_is_sent(mail_server: Starts, tmp_path: Path) -> None:
    """coverage.md A2: who strips STARTTLS on the way gets no password, and the mail waits."""
    sink = mail_server(None)
    with pytest.raises(channels.CannotCarry, match="STARTTLS") as refused:
        channels.send_email(config_with(tmp_path, sink, "user:password@"), "k", LETTER)
    assert not refused.value.is_permanent and sink.passwords == [] and sink.mails == []


def test_a_relay_of_our_own_without_password_needs_no_encryption(mail_server: Starts, tmp_path: Path) -> None:
    sink = mail_server(None)
    channels.send_email(config_with(tmp_path, sink), "k", LETTER)
    assert not sink.wait_for(1)[0].was_encrypted


@pytest.mark.parametrize("credentials", ["", "user:password@"])
def test_a_certificate_that_nobody_vouches_for_gets_neither_mail_nor_password(
    mail_server: Starts, certificate: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, credentials: str
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    sink = mail_server(certificate)
    with pytest.raises(channels.CannotCarry) as refused:
        channels.send_email(config_with(tmp_path, sink, credentials), "k", LETTER)
    assert not refused.value.is_permanent and sink.passwords == [] and sink.mails == []


@pytest.mark.parametrize(
    ("verb", "said", "is_permanent"),
    [
        ("AUTH", "535 5.7.8 Bad user name or password", False),
        ("MAIL", "550 You may not send from this address", False),
        ("RCPT", "450 4.7.1 Greylisted, try later", False),
        ("RCPT", "550 5.1.1 Nobody of that name", True),
    ],
)
def test_only_what_is_refused_for_the_messages_own_sake_is_given_up(
    mail_server: Starts, certificate: ssl.SSLContext, tmp_path: Path, verb: str, said: str, is_permanent: bool
) -> None:
    """A password that was changed at the provider killed every receipt until somebody mended SMTP_URL."""
    sink = mail_server(certificate)
    sink.refusals[verb] = said
    with pytest.raises(channels.CannotCarry) as refused:
        channels.send_email(config_with(tmp_path, sink, "user:password@"), "k", LETTER)
    assert refused.value.is_permanent is is_permanent and sink.mails == []


class Carrier:
    """Stands for a provider: what it does is chosen by the test; what was brought to it is remembered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.brought: list[str] = []
        self.fails_with: Exception | None = None
        self.meanwhile: Callable[[], object] = lambda: None
        monkeypatch.setitem(deliver.CARRIERS, "email", "carrier")
        monkeypatch.setattr(deliver, "import_attribute", lambda _name: self)

    def __call__(self, _config: object, key: str, _payload: object) -> Carried:
        self.brought.append(key)
        self.meanwhile()
        if self.fails_with is not None:
            raise self.fails_with
        return Carried("id-1")


def carry(product: Product) -> None:
    with product.inside():
        deliver_due()


def item_of(product: Product) -> tuple[str, int, int]:
    """(state, attempts, seconds until its next turn)."""
    with product.inside():
        item = db.session.query(OutboxItem).one()
        return item.state, item.attempts, round((item.next_at - clock.now()).total_seconds())


def test_a_message_is_tried_on_the_whole_schedule_and_then_dead(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests.md T2: dead after the second failure went unnoticed."""
    write(product)
    carrier = Carrier(monkeypatch)
    carrier.fails_with = ConnectionError("the provider is away")
    carry(product)
    for tries, pause_s in enumerate((5, 30, 120, 600, 3_600, 21_600), start=1):
        state, attempts, wait_s = item_of(product)
        assert (state, attempts, wait_s) == ("new", tries, pause_s)
        later(pause_s - 2)
        carry(product)
        assert len(carrier.brought) == tries, "not before its time"
        later(3)
        carry(product)
        assert len(carrier.brought) == tries + 1
    assert item_of(product)[:2] == ("dead", 7)
    later(86_400 * 30)
    carry(product)
    assert len(carrier.brought) == 7


def test_while_one_carrier_is_at_it_no_other_takes_the_same_message(
    either_product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests.md T1: a lease of one second went unnoticed: a provider may take half a minute to answer."""
    product = either_product
    write(product)
    carrier = Carrier(monkeypatch)

    def another_worker_looks() -> None:
        carrier.meanwhile = lambda: None
        later(85)
        carry(product)

    carrier.meanwhile = another_worker_looks
    carry(product)
    assert carrier.brought == ["email/k1"] and states(product) == [("done", "")]


def test_a_message_whose_worker_was_killed_comes_up_again(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """tests.md T1: the other side of the lease."""
    write(product)
    carrier = Carrier(monkeypatch)
    with product.inside():
        assert deliver._claim() is not None  # and here the worker dies
    later(89)
    carry(product)
    assert carrier.brought == []
    later(2)
    carry(product)
    assert carrier.brought == ["email/k1"]


def test_a_message_that_cannot_be_opened_is_given_up_in_its_time_and_stops_no_other(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money.md D, proved: its payload was read outside the `try`, and every run ended there, for ever."""
    write(product)
    with product.app.app_context():
        with transaction():
            bad = db.session.query(OutboxItem).one()
            bad.payload_sealed = bad.payload_sealed.replace("v1.test.", "v1.gone.")
            tell.by_email(1, "k2", address="brian@example.com", subject="Paid", text="Receipt SKL1ABCD24", locale="en")
        db.session.remove()
    carrier = Carrier(monkeypatch)
    carry(product)
    assert carrier.brought == ["email/k2"]
    for pause_s in (5, 30, 120, 600, 3_600, 21_600):
        later(pause_s + 1)
        carry(product)
    (state, why), other = states(product)
    assert state == "dead" and "not in the ring" in why and other == ("done", "")
    assert carrier.brought == ["email/k2"]


def test_mail_goes_while_the_sms_gateway_hangs_and_the_worker_is_busy(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that took ten seconds to say nothing held up every receipt behind its messages."""
    hangs, over, mailed = threading.Event(), threading.Event(), threading.Event()

    def carry(_config: object, key: str, _payload: object) -> Carried:
        if key.startswith("sms/"):
            assert hangs.wait(30)
        else:
            mailed.set()
        return Carried("id-1")

    monkeypatch.setattr(deliver, "import_attribute", lambda _name: carry)
    monkeypatch.setattr(deliver, "LOOK_EVERY_S", 0.01)
    with product.app.app_context(), transaction():
        tell.by_sms(1, "k1", msisdn="254712345678", text="Paid", locale="en")
        tell.by_email(1, "k2", address="a@example.com", subject="Paid", text="Paid", locale="en")
    threads = worker._carriers_of_messages(product.app, over)
    try:
        assert mailed.wait(10), "while the SMS hangs"
        with product.inside():
            deliver.deliver_orders()  # the worker's own job takes no message
        hangs.set()
        wait_until(lambda: {state for state, _error in states(product)} == {"done"})
    finally:
        hangs.set()
        over.set()
        for thread in threads:
            thread.join(10)
