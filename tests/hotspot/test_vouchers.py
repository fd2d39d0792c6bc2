"""Vouchers: made, redeemed once, sold for cash in a drawer, taken back, expired."""

import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update
from sqlalchemy.exc import DBAPIError

from portal import fulfilment
from portal.hotspot.models import AccessGrant
from portal.hotspot.vouchers import batches, codes, counter, drawers, redeeming
from portal.hotspot.vouchers.models import Drawer, DrawerReport, Voucher
from portal.hotspot.vouchers.states import VOUCHER, VoucherState
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict, NotFound, Refused
from portal.kernel.states import IllegalMove
from portal.payments.models import Payment, Transaction
from portal.tenants.models import Tenant
from portal.users.models import User
from tests.support.clock import later
from tests.support.product import Product
from tests.support.selling import MAC, OTHER_MAC, Opened, package_of, seen
from tests.support.threads import together

LEGAL = {
    ("made", "sold"), ("made", "redeemed"), ("made", "void"), ("made", "expired"), ("sold", "redeemed"),
    ("sold", "void"), ("sold", "expired"), ("redeemed", "void"),
}  # fmt: skip


def make(product: Product, count: int = 1, package: str = "1 hour") -> list[str]:
    with product.app.app_context(), transaction():
        batch = batches.make(package_of(package), count, actor="test")
        return [one.code for one in batches.vouchers_of(batch)]


def redeem(product: Product, typed: str, *, mac: str = MAC) -> Opened:
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        return seen(redeeming.redeem(tenant_id, typed, mac=mac))


def state_of(product: Product, code: str) -> str:
    with product.inside():
        return db.session.query(Voucher.state).filter_by(code=code).scalar()  # type: ignore[no-any-return]


def test_a_code_is_short_unmistakable_and_not_to_be_guessed() -> None:
    made = {codes.new_code() for _n in range(500)}
    assert len(made) == 500 and all(re.fullmatch(r"[A-HJKMNP-Z2-9]{9}", one) for one in made)
    assert 31**9 > 2**44


@given(grouping=st.lists(st.sampled_from(["", " ", "-", "  ", "\t", "."]), min_size=9, max_size=9), lower=st.booleans())
def test_a_code_is_read_however_it_is_typed(grouping: list[str], lower: bool) -> None:
    code = "ABC23DEFG"
    typed = "".join(gap + letter for gap, letter in zip(grouping, code, strict=True))
    assert codes.normalise(typed.lower() if lower else typed) == code


@pytest.mark.parametrize(
    "typed", ["", "ABC", "ABC 23D EF0", "ABC 23D EFL", "ABC23DEFGH", "x" * 10_000, "'; DROP TABLE"]
)
def test_what_is_no_code_is_none(typed: str) -> None:
    assert codes.normalise(typed) == ""


def test_every_pair_of_states_is_a_move_or_is_none() -> None:
    for old in VoucherState:
        for new in VoucherState:
            if (old.value, new.value) in LEGAL:
                VOUCHER.check(old, new)
            else:
                with pytest.raises(IllegalMove):
                    VOUCHER.check(old, new)


# --- redeemed


def test_the_clock_starts_when_the_code_is_redeemed_and_it_is_name_and_password(product: Product) -> None:
    (code,) = make(product)
    later(7 * 86_400)
    before = clock.now()
    opened = redeem(product, f" {code[:3].lower()}-{code[3:6]} {code[6:]}")
    assert opened.username == code and opened.mac == MAC
    assert before <= opened.starts_at <= clock.now() and opened.expires_at - opened.starts_at == timedelta(hours=1)
    with product.inside():
        grant = db.session.query(AccessGrant).one()
        assert (grant.password, grant.origin, grant.purchase_id) == (code, "voucher", None)
    assert state_of(product, code) == "redeemed"


def test_a_code_opens_once_and_is_found_again(product: Product) -> None:
    (code,) = make(product)
    assert redeem(product, code) == redeem(product, code, mac=OTHER_MAC)
    with product.inside():
        assert db.session.query(AccessGrant).count() == 1
    later(3_601)
    with pytest.raises(redeeming.Used):
        redeem(product, code)


def test_two_who_redeem_a_code_at_one_moment_get_one_pass(either_product: Product) -> None:
    product = either_product
    (code,) = make(product)
    macs = [f"AA:BB:CC:00:01:{at:02X}" for at in range(6)]
    opened = together(product, *[lambda mac=mac: redeem(product, code, mac=mac) for mac in macs])  # type: ignore[misc]
    assert len({one.id for one in opened}) == 1
    with product.inside():
        assert db.session.query(AccessGrant).count() == 1


def test_a_code_that_is_voided_while_it_is_redeemed_is_open_to_nobody(either_product: Product) -> None:
    product = either_product
    (code,) = make(product)

    def void() -> None:
        with transaction():
            batches.void(batches.get(product_tenant, code), why="lost", actor="test")

    def try_it() -> None:
        try:
            with transaction():
                redeeming.redeem(product_tenant, code, mac=MAC)
        except Refused:
            pass

    product_tenant = product.tenant_id()
    together(product, void, try_it)
    with product.inside():
        assert db.session.query(Voucher).one().state == "void"
        assert all(not one.is_open for one in db.session.query(AccessGrant))


def test_another_business_code_is_none_here(product: Product) -> None:
    (code,) = make(product)
    with product.app.app_context(), transaction(), pytest.raises(NotFound):
        redeeming.redeem(db.session.query(Tenant.id).filter_by(slug="bahari").scalar(), code)


def test_what_is_not_redeemed_in_time_expires_and_what_is_redeemed_does_not(product: Product) -> None:
    used, unused = make(product, 2)
    redeem(product, used)
    later(365 * 86_400 + 60)
    with pytest.raises(redeeming.Used):
        redeem(product, unused)
    with product.app.app_context(), transaction():
        assert (batches.expire(), batches.expire()) == (1, 0)
    assert (state_of(product, used), state_of(product, unused)) == ("redeemed", "expired")


def test_a_voided_code_ends_what_it_opened(product: Product) -> None:
    (code,) = make(product)
    opened = redeem(product, code)
    with product.app.app_context(), transaction():
        batches.void(batches.get(opened_tenant(), code), why="stolen", actor="test")
    with product.inside():
        assert not db.session.get_one(AccessGrant, opened.id).is_open
    with pytest.raises(redeeming.Used):
        redeem(product, code)
    with product.app.app_context(), transaction(), pytest.raises(Conflict):
        batches.void(batches.get(opened_tenant(), code), why="again", actor="test")


def opened_tenant() -> int:
    return db.session.query(Tenant.id).filter_by(slug="mlima").scalar()  # type: ignore[no-any-return]


def test_a_lost_sheet_is_voided_but_for_what_was_redeemed(product: Product) -> None:
    used, *others = make(product, 5)
    redeem(product, used)
    with product.app.app_context(), transaction():
        batch = batches.page_of_batches(opened_tenant())[0][0]
        assert batches.void_unsold(batch, why="lost", actor="test") == 4
    assert state_of(product, used) == "redeemed" and {state_of(product, one) for one in others} == {"void"}


# --- sold at a counter


def opened_drawer(product: Product, float_cents: int = 50_000, name: str = "brian") -> None:
    with product.app.app_context(), transaction():
        drawers.open_drawer(opened_tenant(), user_of(name), float_cents=float_cents, actor="test")


def user_of(name: str) -> int:
    return db.session.query(User.id).filter_by(email=f"{name}@mlima.test").scalar()  # type: ignore[no-any-return]


def sell(product: Product, key: str, *, package: str = "1 hour", printed: str = "", name: str = "brian") -> str:
    with product.app.app_context(), transaction():
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        drawer = drawers.current(tenant.id, user_of(name))
        assert drawer is not None
        common: dict[str, Any] = {"user_id": user_of(name), "actor": "test", "key": key}
        if printed:
            return counter.sell_printed(tenant, drawer, printed, **common).code
        return counter.sell(tenant, drawer, package_of(package), **common).code


def close(product: Product, counted_cents: int, name: str = "brian") -> DrawerReport:
    with product.app.app_context(), transaction():
        drawer = drawers.current(opened_tenant(), user_of(name))
        assert drawer is not None
        report = drawers.close(drawer, counted_cents=counted_cents, actor="test")
        db.session.flush()
        db.session.refresh(report)
        db.session.expunge(report)
        return report


def test_each_sale_is_cash_in_the_books_and_the_report_counts_it(product: Product) -> None:
    opened_drawer(product)
    hour, day = sell(product, "k1"), sell(product, "k2", package="1 day")
    (printed,) = make(product)
    assert sell(product, "k3", printed=printed) == printed
    assert sell(product, "k1") == hour, "a form that is sent twice sells one"
    report = close(product, 50_000 + 8_500)
    assert (report.number, report.float_cents, report.sales_cents) == (1, 50_000, 9_000)
    assert (report.expected_cents, report.counted_cents, report.variance_cents) == (59_000, 58_500, -500)
    assert report.lines == [
        {"package": "1 day", "count": 1, "cents": 5_000}, {"package": "1 hour", "count": 2, "cents": 4_000}
    ]  # fmt: skip
    with product.inside():
        cash = db.session.query(Transaction).filter_by(channel="cash").all()
        assert sorted(one.amount_cents for one in cash) == [2_000, 2_000, 5_000]
        assert {one.state for one in db.session.query(Voucher)} == {"sold"}
    assert product.books() == [] and redeem(product, day).username == day


def test_a_sale_that_is_taken_back_voids_its_code_and_leaves_nothing_owed(product: Product) -> None:
    opened_drawer(product)
    code = sell(product, "k1")
    opened = redeem(product, code)
    product.work()
    uid = product.api("amina").get("/api/payments/manual").json["items"][0]["id"]
    assert product.api("amina").delete(f"/api/payments/manual/{uid}", json={"reason": "Wrong one"}).status_code == 200
    product.work()
    assert state_of(product, code) == "void" and product.books() == []
    with product.inside():
        assert not db.session.get_one(AccessGrant, opened.id).is_open
        assert db.session.query(Payment).one().state == "closed"
    assert close(product, 50_000).variance_cents == 0


def test_one_code_of_a_sheet_is_sold_once(either_product: Product) -> None:
    product = either_product
    (code,) = make(product)
    for name in ("brian", "amina"):
        opened_drawer(product, name=name)

    def try_it(name: str) -> str:
        try:
            return sell(product, f"k-{name}", printed=code, name=name)
        except Conflict:
            return ""

    sold = together(product, lambda: try_it("brian"), lambda: try_it("amina"))
    assert sorted(sold) == ["", code] and product.books() == []
    with product.inside():
        assert db.session.query(Transaction).count() == 1


def test_a_drawer_is_closed_once_and_sells_no_more(either_product: Product) -> None:
    product = either_product
    opened_drawer(product)
    with product.inside():
        drawer_id = db.session.query(Drawer.id).scalar()

    def close_it() -> str:
        try:
            with transaction():
                drawers.close(db.session.get_one(Drawer, drawer_id), counted_cents=50_000, actor="test")
            return "closed"
        except Conflict:
            return ""

    assert sorted(together(product, close_it, close_it)) == ["", "closed"]
    with product.app.app_context(), transaction(), pytest.raises(Conflict):
        tenant = db.session.query(Tenant).filter_by(slug="mlima").one()
        drawer = db.session.get_one(Drawer, drawer_id)
        counter.sell(tenant, drawer, package_of("1 hour"), user_id=user_of("brian"), actor="test", key="k")


def test_a_sale_while_the_drawer_is_counted_is_in_the_report_or_refused(either_product: Product) -> None:
    product = either_product
    opened_drawer(product, 0)

    def try_it(key: str) -> bool:
        try:
            sell(product, key)
        except (Conflict, AssertionError):
            return False
        return True

    *sold, report = together(product, *[lambda at=at: try_it(f"k{at}") for at in range(3)], lambda: close(product, 0))  # type: ignore[misc]
    assert report.sales_cents == 2_000 * sum(sold)


def test_a_report_is_changed_by_nobody(either_product: Product) -> None:
    product = either_product
    opened_drawer(product)
    close(product, 50_000)
    with product.app.app_context(), pytest.raises(DBAPIError), transaction():
        db.session.execute(update(DrawerReport).values(counted_cents=0))
    with product.app.app_context(), pytest.raises(DBAPIError), transaction():
        db.session.query(DrawerReport).delete()


def test_drawers_are_numbered_in_a_row_and_one_is_open_a_seller(product: Product) -> None:
    opened_drawer(product)
    opened_drawer(product)
    with pytest.raises(Conflict):
        opened_drawer(product, 60_000)
    assert close(product, 50_000).number == 1
    opened_drawer(product, 60_000)
    assert close(product, 60_000).number == 2


# --- through the API


def test_the_api_makes_codes_that_open_the_internet(product: Product) -> None:
    answer = product.api("brian").post("/api/vouchers", {"packageId": product.package("1 hour"), "count": 3})
    assert answer.status_code == 201 and len(answer.json["items"]) == 3 and answer.json["batchId"]
    code = answer.json["items"][0]["code"]
    assert redeem(product, code).username == code
    listed = product.api("brian").get("/api/vouchers").json
    assert {one["code"] for one in listed["items"]} == {one["code"] for one in answer.json["items"]}
    assert {one["state"] for one in listed["items"] if one["code"] == code} == {"redeemed"}
    assert {one["batchId"] for one in listed["items"]} == {answer.json["batchId"]} and listed["nextCursor"] is None


@pytest.mark.parametrize("count", [0, -1, 1_001, "many", 1.5, True, None, 10**30])
def test_how_many_are_made_is_within_bounds(product: Product, count: object) -> None:
    asked = {"packageId": product.package("1 hour"), "count": count}
    answer = product.api("brian").post("/api/vouchers", asked)
    assert answer.status_code == 422 and set(answer.json["fields"]) == {"count"}


def test_codes_of_what_is_not_sold_here_are_not_made(product: Product) -> None:
    theirs = product.package("1 hour", "bahari")
    assert product.api("brian").post("/api/vouchers", {"packageId": theirs, "count": 1}).status_code == 404


def test_a_paid_sale_is_delivered_and_asks_for_nothing_more(product: Product) -> None:
    opened_drawer(product)
    sell(product, "k1")
    with product.inside():
        fulfilment.deliver_paid()
        payment = db.session.query(Payment).one()
        assert payment.fulfilled_at is not None and payment.fulfil_error == ""


def test_no_list_of_codes_or_drawers_shows_another_businesss(product: Product) -> None:
    """A code is as good as money to whoever reads it."""
    mlima, bahari = product.tenant_id(), product.tenant_id("bahari")
    with product.app.app_context(), transaction():
        seller = db.session.query(User.id).limit(1).scalar()
        theirs = batches.make(package_of("1 day", "bahari"), 2, actor="test")
        drawer = drawers.open_drawer(bahari, seller, float_cents=5_000, actor="test")
        drawers.close(drawer, counted_cents=5_000, actor="test")
        batch_id = theirs.id
    with product.inside():
        assert batches.page(mlima) == ([], None)
        assert batches.page_of_batches(mlima) == ([], None)
        assert drawers.reports(mlima) == ([], None)
        assert [one.batch_id for one in batches.page(bahari)[0]] == [batch_id, batch_id]
        assert [one.id for one in batches.page_of_batches(bahari)[0]] == [batch_id]
        assert [one.counted_cents for one in drawers.reports(bahari)[0]] == [5_000]
    assert product.api("amina").get("/api/vouchers").json == {"items": [], "nextCursor": None}


def test_a_printed_code_whose_shelf_life_is_over_is_sold_to_nobody_though_no_sweep_has_been(product: Product) -> None:
    opened_drawer(product)
    (printed,) = make(product)
    with product.app.app_context(), transaction():
        db.session.query(Voucher).filter_by(code=printed).one().expires_at = clock.now() - timedelta(seconds=1)
    with pytest.raises(Conflict):
        sell(product, "k1", printed=printed)
    assert state_of(product, printed) == "made"
