"""A production gateway that is called from an address that is not Safaricom's: kept, confirmed another way, never lost."""

from dataclasses import replace
from typing import Any

import pytest

from portal.db import db, transaction
from portal.gateways.models import Gateway
from portal.payments import inbox, settle
from portal.payments.models import InboxItem, Payment, Push, Transaction
from tests.house import House, c2b_body, csrf_of, receipt
from tests.payments.test_corners import asked
from tests.payments.test_refund_answers import of, result, sent, told
from tests.payments.test_refunds import with_initiator


@pytest.fixture
def real(house: House) -> tuple[House, str, str]:
    """(house, number, paymentId) of an invoice of KES 100 in real money; these tests call from 127.0.0.1."""
    with_initiator(house)
    number, token = house.invoice(100)
    with house.app.app_context(), transaction():
        for owner in (Gateway, Payment):
            db.session.query(owner).update({"environment": "production"})
    inbox.forget_doors()
    return house, number, token


def by_hand_from_anywhere(house: House, number: str) -> int:
    """A payment by hand that nobody may believe yet; its row."""
    body = c2b_body(receipt=receipt(1), amount=100, account=number)
    assert house.client().post(f"{house.hook()}/c2b/confirmation", json=body).status_code == 200
    house.settle()
    with house.inside():
        item = db.session.query(InboxItem).filter_by(kind="c2b").one()
        assert item.state == "waiting" and item.is_foreign and db.session.query(Transaction).count() == 0
        return item.id


def test_a_callback_waits_for_m_pesas_word_and_is_believed_then(real: tuple[House, str, str]) -> None:
    house, _number, token = real
    pushed = house.pushed(token)
    house.callback(pushed, receipt=receipt(1))
    house.settle()
    assert house.status(token)["status"] != "paid"
    with house.app.app_context(), transaction():
        push = db.session.get_one(Push, pushed.push_id)
        settle.confirmed_by_query(push, db.session.get_one(Gateway, push.gateway_id))
    assert (house.status(token)["status"], house.status(token)["receipt"]) == ("paid", receipt(1))
    assert house.books() == []


def test_a_payment_by_hand_is_believed_when_somebody_who_looked_replays_it(real: tuple[House, str, str]) -> None:
    house, number, token = real
    item_id = by_hand_from_anywhere(house, number)
    with house.app.app_context(), transaction():
        inbox.replay(item_id)
    house.settle()
    assert house.status(token)["status"] == "paid" and house.books() == []


@pytest.mark.parametrize(("given", "is_taken"), [({}, True), ({"outcome": "refuse"}, False)])
def test_staff_take_a_payment_by_hand_or_refuse_it(
    real: tuple[House, str, str], given: dict[str, Any], is_taken: bool
) -> None:
    house, number, token = real
    item_id = by_hand_from_anywhere(house, number)
    brian = house.browser_of("brian")
    assert "that is not known" in brian.get("/staff/unmatched").text
    given = given | {"csrf_token": csrf_of(brian, "/staff/unmatched")}
    brian.post(f"/staff/unmatched/undecided/{item_id}", data=given)
    assert (house.status(token)["status"] == "paid") is is_taken
    assert "To decide" not in brian.get("/staff/unmatched").text and house.books() == []


def test_a_result_is_known_by_its_secret_address(real: tuple[House, str, str]) -> None:
    house, number, token = real
    item_id = by_hand_from_anywhere(house, number)
    with house.app.app_context(), transaction():
        inbox.replay(item_id)
    house.settle()
    one = asked(house, token, None, "reversal")[0]
    told(house, sent(house, one), result(Amount=100))
    assert of(house, one)[0] == "done" and house.books() == []


@pytest.mark.parametrize(
    ("listed", "caller", "is_foreign"),
    [
        ("196.201.214.0/24", "196.201.214.200", False),
        ("196.201.214.77/24", "196.201.214.200", False),
        ("196.201.214.0/24", "196.201.213.200", True),
        ("196.201.214.200", "::ffff:196.201.214.200", False),
        ("196.201.214.200", "::ffff:196.201.214.201", True),
        ("2001:db8:5::/48", "2001:db8:5::9", False),
        ("2001:db8:5::/48", "2001:db8:6::9", True),
        ("196.201.214.200", "not an address", True),
    ],
)
def test_the_list_of_addresses_takes_ranges_and_knows_mapped_ones(
    house: House, listed: str, caller: str, is_foreign: bool
) -> None:
    """money.md C33: ranges matched nothing, and neither did a listed address written as ::ffff:."""
    house.app.config["PORTAL"] = replace(house.app.config["PORTAL"], callback_addresses=("10.9.9.9", listed))
    with house.app.app_context(), transaction():
        db.session.query(Gateway).update({"environment": "production"})
    inbox.forget_doors()
    answer = house.client().post(f"{house.hook()}/c2b/confirmation", data=b"{}", environ_base={"REMOTE_ADDR": caller})
    assert answer.status_code == 200
    with house.inside():
        assert db.session.query(InboxItem).one().is_foreign is is_foreign
