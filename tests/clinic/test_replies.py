"""Answers by SMS: 1 comes, 2 cancels, STOP is silence; from Africa's Talking's post to what becomes of the visit."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from portal.clinic import replies
from portal.clinic.models import Appointment
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.notifications.models import IncomingSms, Notice
from tests.support.clock import later
from tests.support.product import Product
from tests.support.telling import change, confirmed, phone_of, remind, told
from tests.support.threads import together

KEY = "a1" * 20


@pytest.fixture
def asking(product: Product) -> Iterator[Product]:
    """The product with a short number that takes answers."""
    yield takes_answers(product)


def takes_answers(product: Product) -> Product:
    config = product.app.config["PORTAL"]
    product.app.config["PORTAL"] = replace(config, sms_sender="20880", sms_key=KEY)
    return product


def reminded(product: Product, *, in_hours: float = 48, number: int = 5) -> tuple[str, str]:
    """(id, phone) of a visit whose patient was reminded a day before."""
    visit = confirmed(product, in_hours=in_hours, number=number)
    later((in_hours - 24) * 3_600 + 60)
    product.tokens.clear()
    remind(product)
    return visit["id"], phone_of(product, visit["id"])


def sends(product: Product, phone: str, text: str, message_id: str = "m-1") -> Any:
    """As Africa's Talking posts it, and what the worker then does."""
    form = {
        "from": f"+{phone}", "to": "20880", "text": text, "id": message_id, "linkId": "l-1",
        "date": "2026-11-22T09:30:00Z",
    }  # fmt: skip
    answer = product.client().post(f"/sms/{KEY}/incoming", data=form)
    with product.app.app_context():
        replies.answer()
        db.session.remove()
    return answer


def of(product: Product, uid: str) -> Appointment:
    with product.inside():
        found: Appointment = db.session.query(Appointment).filter_by(uid=uid).one()
        return found


def outcomes(product: Product) -> list[str]:
    with product.inside():
        assert all(one.body_sealed is None for one in db.session.query(IncomingSms))
        return [one.outcome for one in db.session.query(IncomingSms).order_by(IncomingSms.id)]


def desk_reads(product: Product) -> list[str]:
    with product.inside():
        return [one.text for one in db.session.query(Notice).filter(Notice.key.like("sms/%")).order_by(Notice.id)]


@pytest.mark.parametrize("text", ["1", " 1.", "Yes please", "NDIYO"])
def test_1_says_that_the_patient_comes(asking: Product, text: str) -> None:
    uid, phone = reminded(asking)
    assert sends(asking, phone, text).status_code == 204
    visit = of(asking, uid)
    assert visit.attending_at is not None and visit.status == "confirmed"
    when = f"{clock.nairobi(visit.starts_at):%d/%m/%Y %H:%M}"
    assert told(asking, "sms", "/reply/") == [f"Thank you. Mlima House expects you on {when}."]


def test_2_cancels_while_the_terms_allow_it_and_the_money_waits_for_the_clinic(asking: Product) -> None:
    uid, phone = reminded(asking)
    change(asking, uid, cancel_hours=2)
    sends(asking, phone, "2")
    assert of(asking, uid).status == "cancelled" and outcomes(asking) == ["cancelled"]
    assert "Your money is with the clinic" in told(asking, "sms", "/cancelled")[0]


def test_2_too_late_cancels_nothing_and_the_desk_reads_that_nobody_comes(asking: Product) -> None:
    uid, phone = reminded(asking)  # a day before, by terms of a day
    sends(asking, phone, "2")
    assert of(asking, uid).status == "confirmed" and outcomes(asking) == ["stays away"]
    assert told(asking, "sms", "/reply/") == [
        "Thank you for telling us. It is too late to cancel by SMS; about your money please call Mlima House 0700 000 001."
    ]
    read = desk_reads(asking)
    assert len(read) == 2 and all("nobody will come" in text for text in read), "administrator and receptionist"


def test_2_with_two_visits_ahead_cancels_neither(asking: Product) -> None:
    uid, phone = reminded(asking)
    other, _phone = reminded(asking, number=6)
    with asking.app.app_context(), transaction():
        first = db.session.query(Appointment).filter_by(uid=uid).one()
        second = db.session.query(Appointment).filter_by(uid=other).one()
        first.starts_at = second.starts_at  # both ahead, and both of one family's phone
        second.patient_id, first.cancel_hours, second.cancel_hours = first.patient_id, 0, 0
        second.remind_at, second.calendar_sequence = clock.now(), 1
        first.remind_at, first.calendar_sequence = clock.now(), 1
    remind(asking)
    sends(asking, phone, "2")
    assert (of(asking, uid).status, of(asking, other).status) == ("confirmed", "confirmed")
    assert told(asking, "sms", "/reply/") == [
        "You have 2 visits ahead, so none was cancelled. Please call Mlima House 0700 000 001."
    ]
    sends(asking, phone, "1", "m-2")
    assert of(asking, uid).attending_at is not None and of(asking, other).attending_at is not None


def test_stop_is_no_more_reminders_and_start_is_reminders_again(asking: Product) -> None:
    uid, phone = reminded(asking)
    sends(asking, phone, "STOP")
    later(23 * 3_600)
    remind(asking)
    assert len(told(asking, "sms", "/remind_")) == 1, "the one of the day before"
    change(asking, uid, remind_at=clock.now(), calendar_sequence=1)
    sends(asking, phone, "start", "m-2")
    remind(asking)
    assert len(told(asking, "sms", "/remind_")) == 2 and outcomes(asking) == ["stopped", "started"]


def test_what_is_neither_is_read_at_the_desk_with_the_number(asking: Product) -> None:
    _uid, phone = reminded(asking)
    sends(asking, phone, "Nitachelewa dakika kumi 😊 =1+1")
    assert desk_reads(asking)[
        0
    ] == f"SMS from {phone[:3]} {phone[3:6]} {phone[6:9]} {phone[9:]}: Nitachelewa dakika kumi 😊 =1+1".replace(
        f"{phone[:3]} ", "0", 1
    ) or desk_reads(asking)[0].endswith(": Nitachelewa dakika kumi 😊 =1+1")
    assert outcomes(asking) == ["for the desk"] and told(asking, "sms", "/reply/") == [], "no robot answers a robot"


@pytest.mark.parametrize(
    "text",
    ["No problem, I will be there", "2 minutes late, please wait", "Hapana shida, nitakuja", "1 or 2 of us may come"],
)
def test_a_sentence_that_begins_like_an_answer_is_read_by_a_person(asking: Product, text: str) -> None:
    """Such a sentence took away the visit of somebody who was on the way."""
    uid, phone = reminded(asking)
    change(asking, uid, cancel_hours=2)
    sends(asking, phone, text)
    visit = of(asking, uid)
    assert visit.status == "confirmed" and visit.attending_at is None
    assert outcomes(asking) == ["for the desk"] and desk_reads(asking)[0].endswith(f": {text}")


@pytest.mark.parametrize("text", ["2 please", "Hapana, samahani.", "No, thank you!"])
def test_a_courtesy_beside_an_answer_changes_nothing_about_it(asking: Product, text: str) -> None:
    uid, phone = reminded(asking)
    change(asking, uid, cancel_hours=2)
    sends(asking, phone, text)
    assert of(asking, uid).status == "cancelled"


@pytest.mark.parametrize("text", ["1", "2"])
def test_who_sends_the_same_all_day_costs_the_clinic_one_message(asking: Product, text: str) -> None:
    """A machine that says OK to every message would be answered for ever."""
    _uid, phone = reminded(asking)
    for at in range(5):
        sends(asking, phone, text, f"m-{at}")
    assert len(told(asking, "sms", "/reply/")) == 1 and len(outcomes(asking)) == 5


def test_a_post_that_the_provider_repeats_counts_once(asking: Product) -> None:
    uid, phone = reminded(asking)
    for _again in range(3):
        sends(asking, phone, "1")
    assert len(told(asking, "sms", "/reply/")) == 1 and len(outcomes(asking)) == 1
    assert of(asking, uid).attending_at is not None


def test_two_workers_answer_one_message_once(either_product: Product) -> None:
    asking = takes_answers(either_product)
    uid, phone = reminded(asking)
    change(asking, uid, cancel_hours=2)
    form = {"from": f"+{phone}", "to": "20880", "text": "2", "id": "m-1", "date": "2026-11-22T09:30:00Z"}
    together(
        asking,
        lambda: asking.client().post(f"/sms/{KEY}/incoming", data=form),
        lambda: asking.client().post(f"/sms/{KEY}/incoming", data=form),
    )
    together(asking, replies.answer, replies.answer)
    assert outcomes(asking) == ["cancelled"] and len(told(asking, "sms", "/cancelled")) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"from": "+254700111222"}, {"from": "nobody"}, {"from": ""}, {"id": ""}, {"text": ""}, {"text": "1" * 5_000},
        {"from": "+254\0"},
    ],
)  # fmt: skip
def test_what_is_nobodys_or_nothing_changes_nothing(asking: Product, changes: dict[str, str]) -> None:
    uid, phone = reminded(asking)
    form = {"from": f"+{phone}", "to": "20880", "text": "1", "id": "m-1", "date": "x"} | changes
    assert asking.client().post(f"/sms/{KEY}/incoming", data=form).status_code == 204
    with asking.app.app_context():
        replies.answer()
        db.session.remove()
    assert of(asking, uid).attending_at is None


def test_the_doors_open_by_their_key_alone(asking: Product) -> None:
    _uid, phone = reminded(asking)
    form = {"from": f"+{phone}", "text": "2", "id": "m-1", "status": "Failed"}
    for door in ("incoming", "delivery"):
        for key in ("x" * 40, KEY[:-1], KEY.upper(), "ä" * 40):
            assert asking.client().post(f"/sms/{key}/{door}", data=form).status_code == 404
        assert asking.client().post(f"/sms/{KEY}/{door}", data={"text": "x" * 9_000}).status_code == 413
    asking.app.config["PORTAL"] = replace(asking.app.config["PORTAL"], sms_key="")
    assert asking.client().post("/sms//incoming", data=form).status_code in (404, 308)
    with asking.inside():
        assert db.session.query(IncomingSms).count() == 0


def test_one_at_fault_stops_no_other(asking: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    uid, phone = reminded(asking)
    with asking.app.app_context(), transaction():
        db.session.add(IncomingSms(provider_id="broken", body_sealed=json.dumps({"from": "x"})))
    sends(asking, phone, "1")
    assert of(asking, uid).attending_at is not None
