"""Word of the same money comes by callback, by query, by C2B and in a pasted message, late, twice and in any order."""

from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from portal.gateways.daraja import StkAccepted, StkAnswer
from portal.hotspot.models import AccessGrant, Purchase
from portal.kernel.db import db, transaction
from portal.payments.models import Payment, Push
from portal.payments.stk import pushes, queries
from tests.support.clock import later
from tests.support.daraja import Pushed, c2b_body, new_phone, receipt
from tests.support.product import Product
from tests.support.sms import message, paste

MAC, DAY = "AA:BB:CC:00:00:77", timedelta(days=1)
PROVES = ("callback", "query", "c2b")  # a pasted message alone is a claim
STEPS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from((*PROVES, "paste", "settle", "wait"))), min_size=1, max_size=9
)


def bought(product: Product, msisdn: str) -> Pushed:
    """A day for one device, whose prompt is on its phone."""
    body = {"tenant": "mlima", "packageId": product.package(), "phone": msisdn, "macAddress": MAC}
    asked = product.client().post("/api/portal/mpesa/initiate", json=body)
    assert asked.status_code == 201, asked.text
    with product.app.app_context():
        payment = db.session.query(Payment).filter_by(token=asked.json["paymentId"]).one()  # type: ignore[index]
        push_id = db.session.query(Push.id).filter_by(payment_id=payment.id).scalar()
        with transaction():
            pushes.lease(push_id, hook_url="http://test/hooks")
        accepted = StkAccepted(
            checkout_request_id=f"ws_CO_{push_id:010d}{msisdn[3:]}", merchant_request_id=f"m-{push_id}",
            customer_message="",
        )  # fmt: skip
        with transaction():
            pushes.accepted(push_id, accepted)
        push = db.session.get_one(Push, push_id)
        return Pushed(push.id, push.token, accepted.checkout_request_id, 50, msisdn, push.reference)


def told(product: Product, by: str, push: Pushed, code: str) -> None:
    """What M-Pesa or the payer says of this money."""
    if by == "callback":
        assert product.callback(push, receipt=code).status_code == 200
    elif by == "query":
        with product.app.app_context(), transaction():
            queries.take_answer(push.push_id, StkAnswer(state="paid", result_code="0", result_desc="ok"))
    elif by == "c2b":
        body = c2b_body(receipt=code, amount=50, account=push.reference)
        assert product.client().post(f"{product.hook()}/c2b/confirmation", json=body).status_code == 200
    elif by == "paste":
        paste(product, message(code), mac=MAC)
    elif by == "settle":
        product.settle()
    else:
        later(40)


def ends(product: Product) -> dict[int, tuple[datetime, datetime]]:
    """Of each payment's grant: from when to when."""
    with product.inside():
        rows = db.session.query(Purchase.payment_id, AccessGrant.starts_at, AccessGrant.expires_at)
        found = rows.join(AccessGrant, AccessGrant.purchase_id == Purchase.id).order_by(AccessGrant.id).all()
        assert len({row[0] for row in found}) == len(found), "two grants of one payment"
        assert db.session.query(AccessGrant).count() == len(found), "a grant that nobody paid for"
        return {payment_id: (starts_at, expires_at) for payment_id, starts_at, expires_at in found}


def no_end_goes_back(before: dict[int, tuple[datetime, datetime]], after: dict[int, tuple[datetime, datetime]]) -> None:
    for payment_id, (_starts_at, expires_at) in before.items():
        assert after[payment_id][1] >= expires_at


def test_no_order_of_word_gives_two_grants_or_moves_an_end_backwards(product: Product) -> None:
    def begun() -> tuple[list[Pushed], dict[int, tuple[datetime, datetime]]]:
        phone = new_phone()
        first = bought(product, phone)
        told(product, "callback", first, receipt(0))  # the device has a day already
        product.settle()
        later(130)  # M-Pesa takes one equal prompt to a phone in two minutes
        return [bought(product, phone), bought(product, new_phone())], ends(product)

    @settings(max_examples=100, deadline=None)
    @given(steps=STEPS)
    def in_any_order(steps: list[tuple[int, str]]) -> None:
        pushed, known = product.begin_again(begun)
        for which, by in steps:
            told(product, by, pushed[which], receipt(which + 1))
            now = ends(product)
            no_end_goes_back(known, now)
            known = now
        product.settle()
        now = ends(product)
        no_end_goes_back(known, now)
        paid = {which for which, by in steps if by in PROVES}
        assert len(now) == 1 + len(paid)
        stays = sorted(now.values())
        assert [until - since for since, until in stays] == [DAY] * len(stays)
        assert all(one[1] == other[0] for one, other in zip(stays, stays[1:], strict=False)), "one follows on the other"
        assert product.books() == []

    in_any_order()
