"""What people are told of a visit: once, in their language, with a calendar file that follows it, live as JSON."""

import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from icalendar import Calendar

from portal import fulfilment
from portal.clinic.models import Appointment
from portal.kernel import clock
from portal.kernel.db import after_commit, db, transaction
from portal.notifications import channels
from portal.notifications.models import Notice
from portal.outbox.deliver import deliver_due
from tests.support.appointments import book
from tests.support.clock import wait_until
from tests.support.daraja import receipt
from tests.support.product import Product
from tests.support.refunds import refund_asked, refund_sent, result, result_told, with_initiator
from tests.support.services.certificates import make_certificate
from tests.support.telling import confirmed, letters, starts_of, token_of, told
from tests.support.threads import together

# --- a real mail server


class Kept:
    """What a mail server was given."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []
        self.was_encrypted: list[bool] = []
        self.logins: list[bytes] = []

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes) and server.transport is not None
        self.letters.append(message_from_bytes(envelope.content, policy=policy.default))
        self.was_encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        return "250 Taken"

    def sign_in(self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, who: Any) -> AuthResult:
        assert isinstance(who, LoginPassword)
        self.logins.append(who.password)
        return AuthResult(success=who.password == b"pass word", handled=False)


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A certificate for the loopback that this machine believes."""
    key, pem = tmp_path / "mail.key", tmp_path / "mail.pem"
    make_certificate("127.0.0.1", key, pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pem, key)
    return made


@pytest.fixture(params=["STARTTLS", "TLS"])
def mail(request: pytest.FixtureRequest, context: ssl.SSLContext) -> Iterator[tuple[str, Kept]]:
    """(SMTP_URL, what came) of aiosmtpd, which takes no mail without encryption and password."""
    kept = Kept()
    options: dict[str, Any] = {"hostname": "127.0.0.1", "port": 0, "authenticator": kept.sign_in}
    if request.param == "TLS":
        server = _Plain(kept, ssl_context=context, auth_require_tls=False, **options)
    else:
        server = _Plain(kept, tls_context=context, require_starttls=True, auth_required=True, **options)
    server.start()
    scheme = "smtps" if request.param == "TLS" else "smtp"
    assert server.server is not None
    port = server.server.sockets[0].getsockname()[1]
    yield f"{scheme}://clinic:pass%20word@127.0.0.1:{port}", kept
    server.stop()


class _Plain(Controller):
    """Its port is chosen by the system: there it is called to see whether it answers."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        socket.create_connection(self.server.sockets[0].getsockname(), timeout=5).close()


def calendar_of(letter: EmailMessage) -> tuple[Any, Any, str]:
    """(calendar, its event, METHOD of the part that mail programs read)."""
    part = next(one for one in letter.walk() if one.get_content_type() == "text/calendar")
    book = Calendar.from_ical(part.get_content())
    return book, book.walk("VEVENT")[0], str(part.get_param("method"))


@pytest.mark.property(26)
@pytest.mark.property(61)
def test_mail_goes_encrypted_with_the_clinics_name_and_a_calendar_file(
    product: Product, mail: tuple[str, Kept]
) -> None:
    url, kept = mail
    product.app.config["PORTAL"] = replace(
        product.app.config["PORTAL"], smtp_url=url, mail_from="Mlango <pay@mlango.test>"
    )
    visit = confirmed(product)
    with product.app.app_context():
        deliver_due()
        db.session.remove()
    [letter] = [one for one in kept.letters if "is confirmed" in str(one["Subject"])]
    assert all(kept.was_encrypted) and set(kept.logins) == {b"pass word"}
    assert letter["From"] == "Mlima House <pay@mlango.test>" and letter["To"] == "achieng@example.com"
    text = letter.get_body(("plain",))
    assert text is not None and receipt(5) in text.get_content()
    book, event, method = calendar_of(letter)
    assert (book["METHOD"], method, event["SEQUENCE"], event["STATUS"]) == ("REQUEST", "REQUEST", 0, "CONFIRMED")
    assert event["UID"] == f"appt-{visit['id']}@mlango" and event["SUMMARY"] == "Mlima House"
    assert event.decoded("DTSTART") == starts_of(product, visit["id"]).replace(microsecond=0)
    assert event["ORGANIZER"] == "mailto:pay@mlango.test" and event["ATTENDEE"] == "mailto:achieng@example.com"
    assert event["LOCATION"] == "Moi Avenue 1"
    [file] = [one for one in letter.walk() if one.get_filename() == "invite.ics"]
    assert b"METHOD:REQUEST" in file.get_payload(decode=True)
    for word in ("Wanjiru", "Consultation"):
        assert word not in str(letter), "discreet: others may see the screen"


def test_who_is_refused_at_the_mail_server_waits(product: Product, mail: tuple[str, Kept], tmp_path: Path) -> None:
    url, kept = mail
    config = replace(product.app.config["PORTAL"], smtp_url=url.replace("pass%20word", "wrong"))
    with pytest.raises(channels.CannotCarry) as refused:
        channels.send_email(config, "k", {"to": "a@example.com", "subject": "s", "text": "t"})
    assert not refused.value.is_permanent and kept.letters == []


def cards(product: Product) -> list[tuple[str, str, int, str]]:
    """(key part, method, sequence, begin) of the calendar files in the outbox, in order."""
    found = [letter["calendar"] for letter in letters(product) if "calendar" in letter]
    return [(one["uid"], one["method"], one["sequence"], one["starts_at"]) for one in found]


def test_the_calendar_follows_the_visit_under_one_uid_with_a_higher_sequence_each_time(product: Product) -> None:
    visit = confirmed(product)
    uid, first = f"appt-{visit['id']}@mlango", clock.rfc3339(starts_of(product, visit["id"]))
    begins = clock.now() + timedelta(days=5)
    for to in (begins, begins + timedelta(days=1), begins):
        answer = product.api("brian").post(
            f"/api/appointments/{visit['id']}/reschedule", json={"startsAt": to.isoformat()}
        )
        assert answer.status_code == 200, answer.text
    product.api("brian").post(f"/api/appointments/{visit['id']}/cancel", json={"reason": "Away."})
    there, later = clock.rfc3339(begins), clock.rfc3339(begins + timedelta(days=1))
    assert cards(product) == [
        (uid, "REQUEST", 0, first), (uid, "REQUEST", 1, there), (uid, "REQUEST", 2, later), (uid, "REQUEST", 3, there),
        (uid, "CANCEL", 4, there),
    ]  # fmt: skip


def test_nothing_goes_into_a_calendar_before_it_is_paid(product: Product) -> None:
    uid = book(product).json["id"]
    product.api("wanjiru").post(f"/api/appointments/{uid}/approve")
    product.api("brian").post(f"/api/appointments/{uid}/cancel", json={"reason": "Away."})
    assert cards(product) == []


def test_each_patient_is_told_in_their_own_language(product: Product) -> None:
    uid = book(product).json["id"]
    with product.app.app_context(), transaction():
        db.session.query(Appointment).filter_by(uid=uid).one().patient.locale = "sw"
    product.api("wanjiru").post(f"/api/appointments/{uid}/approve")
    [text] = told(product, "sms", "/approved")
    assert text.startswith("MAJARIBIO, si pesa halisi: Miadi yako ya ") and "imekubaliwa. Lipa KES 1,500: " in text


def test_a_declined_visit_is_told_with_its_reason(product: Product) -> None:
    uid = book(product).json["id"]
    product.api("wanjiru").post(f"/api/appointments/{uid}/decline", json={"reason": "The doctor is away that day"})
    [text] = told(product, "sms", "/declined")
    assert text.endswith("cannot take place. The doctor is away that day. Please ask for another time.")


# --- what fails, and what goes back


def tell_failed(product: Product) -> None:
    with product.app.app_context():
        fulfilment.tell_failed()
        db.session.remove()


def notices_of(product: Product, part: str) -> list[str]:
    with product.inside():
        return [one.text for one in db.session.query(Notice).filter(Notice.key.contains(part)).order_by(Notice.id)]


@pytest.mark.property(28)
@pytest.mark.property(63)
@pytest.mark.parametrize(
    ("code", "why"),
    [("2001", "Wrong M-Pesa PIN."), ("1", "Not enough M-Pesa balance."), ("1032", "You cancelled the M-Pesa prompt.")],
)
def test_a_failed_payment_is_told_to_the_patient_with_its_reason(product: Product, code: str, why: str) -> None:
    uid = book(product).json["id"]
    token = product.api("wanjiru").post(f"/api/appointments/{uid}/approve").json["paymentId"]
    product.callback(product.pushed(token), code=code)
    product.settle()
    for _again in range(2):
        tell_failed(product)
    said = f"Your payment of KES 1,500 did not go through: {why} Try again: http://127.0.0.1:1/pay/{token}"
    assert notices_of(product, "/failed/") == [said]
    assert told(product, "sms", "/failed") == [f"TEST, no real money: {said}"]
    assert product.api("wanjiru").get(f"/api/appointments/{uid}").json["status"] == "approved"


def test_a_second_failure_is_told_inside_alone_and_one_that_was_paid_meanwhile_to_nobody(product: Product) -> None:
    uid = book(product).json["id"]
    token = product.api("wanjiru").post(f"/api/appointments/{uid}/approve").json["paymentId"]
    for _twice in range(2):
        product.callback(product.pushed(token), code="2001")
        product.settle()
        tell_failed(product)
    assert len(notices_of(product, "/failed/")) == 2 and len(told(product, "sms", "/failed")) == 1
    product.callback(product.pushed(token), code="2001")
    product.settle()
    product.callback(product.pushed(token), receipt=receipt(5))
    product.settle()
    tell_failed(product)
    assert len(notices_of(product, "/failed/")) == 2


def test_two_workers_tell_a_failure_once(either_product: Product) -> None:
    product = either_product
    uid = book(product).json["id"]
    token = product.api("wanjiru").post(f"/api/appointments/{uid}/approve").json["paymentId"]
    product.callback(product.pushed(token), code="2001")
    product.settle()
    together(product, fulfilment.tell_failed, fulfilment.tell_failed)
    assert len(notices_of(product, "/failed/")) == 1 and len(told(product, "sms", "/failed")) == 1


def sent_back(product: Product, uid: str) -> None:
    with_initiator(product)
    [refund_id] = refund_asked(product, token_of(product, uid))
    result_told(product, refund_sent(product, refund_id), result(TransactionReceipt="UKL1REFUND"))
    for _again in range(2):
        with product.app.app_context():
            fulfilment.withdraw_unpaid()
            db.session.remove()


def test_money_sent_back_is_told_once_with_its_receipt(product: Product) -> None:
    visit = confirmed(product)
    sent_back(product, visit["id"])
    [text] = told(product, "sms", "/refunded/")
    assert text.startswith("TEST, no real money: Mlima House sent you KES 1,500 back by M-Pesa, receipt ")


# --- live


class Subscriber:
    """Somebody's program that follows the channels of docs/events.md with a Redis client of its own."""

    def __init__(self, product: Product, *patterns: str) -> None:
        self.pubsub = product.app.extensions["redis"].pubsub(ignore_subscribe_messages=True)
        self.pubsub.psubscribe(*patterns)
        self.pubsub.get_message(timeout=5)
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def events(self, count: int) -> list[tuple[str, str]]:
        """(channel, event), once there are so many."""

        def came() -> bool:
            while (message := self.pubsub.get_message(timeout=0.05)) is not None:
                self.heard.append((message["channel"].decode(), json.loads(message["data"])))
            return len(self.heard) >= count

        wait_until(came, within_s=10)
        return [(channel, event["event"]) for channel, event in self.heard]


def test_a_subscriber_follows_a_visit_from_failure_to_refund(product: Product) -> None:
    uid = book(product).json["id"]
    approved = product.api("wanjiru").post(f"/api/appointments/{uid}/approve").json
    token, patient = approved["paymentId"], approved["patientId"]
    listener = Subscriber(product, "clinic:*", "patient:*", "appointment:*")
    product.callback(product.pushed(token), code="2001")
    product.settle()
    tell_failed(product)
    channels_of = [f"appointment:{uid}", "clinic:1", f"patient:{patient}"]
    assert sorted(listener.events(3)) == [(channel, "failed") for channel in channels_of]
    failed = listener.heard[0][1]
    assert failed.pop("at").endswith("Z")
    assert failed == {
        "event": "failed", "paymentId": token, "reference": approved["invoiceNumber"], "amount": 1500, "receipt": None,
        "testMode": True, "resultCode": "2001", "reason": "Wrong M-Pesa PIN.",
    }  # fmt: skip
    product.callback(product.pushed(token), receipt=receipt(5))
    product.settle()
    listener.events(9)
    assert sorted((channel, event["event"], event["receipt"]) for channel, event in listener.heard[3:]) == sorted(
        (channel, event, receipt(5)) for channel in channels_of for event in ("confirmed", "paid")
    )
    confirmed_event = next(event for _channel, event in listener.heard if event["event"] == "confirmed")
    assert (confirmed_event["appointmentId"], confirmed_event["status"]) == (uid, "confirmed")
    sent_back(product, uid)
    assert sorted(listener.events(12)[9:]) == [(channel, "refunded") for channel in channels_of]
    product.tokens.clear()
    product.api("brian").post(f"/api/appointments/{uid}/cancel", json={"reason": "Away."})
    assert sorted(listener.events(15)[12:]) == [(channel, "cancelled") for channel in channels_of]
    for _channel, event in listener.heard:
        assert "254" not in json.dumps(event | {"at": "", "paymentId": "", "appointmentId": ""}), "no phone"
        assert "Achieng" not in json.dumps(event), "no person"


def test_what_is_rolled_back_is_heard_of_by_nobody(product: Product) -> None:
    said: list[str] = []
    with product.app.app_context():
        with pytest.raises(ZeroDivisionError), transaction():
            after_commit(lambda: said.append("all"))
            raise ZeroDivisionError
        with transaction():
            after_commit(lambda: said.append("outside"))
            for name in ("undone", "kept"):
                nested = db.session.begin_nested()
                after_commit(lambda name=name: said.append(name))  # type: ignore[misc]
                nested.rollback() if name == "undone" else nested.commit()
            with db.session.begin_nested() as outer:
                with db.session.begin_nested():
                    after_commit(lambda: said.append("within what was undone"))
                outer.rollback()
            assert said == [], "not before the commit"
        with transaction():
            pass
    assert said == ["outside", "kept"]


@pytest.mark.property(2)
def test_who_is_booked_by_the_clinic_is_told_where_the_visit_is_seen_and_changed(product: Product) -> None:
    book(product)
    for kind in ("sms", "email"):
        [text] = told(product, kind, "/asked_for")
        assert "Mlima House will answer you about " in text and "http://127.0.0.1:1/visit/" in text
