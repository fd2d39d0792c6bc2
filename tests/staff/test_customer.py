"""The page of one customer: wallet, lines, what may be done about them, and what they bought at the hotspot."""

from datetime import timedelta

from portal.audit.models import AuditEntry
from portal.hotspot.models import AccessGrant
from portal.hotspot.pppoe.models import PppoeLine
from portal.kernel import clock
from portal.kernel.db import db
from tests.support.lines import MadeLine, line_of, pppoe_package, standing, typed_at_the_paybill
from tests.support.manual import customer
from tests.support.product import Product
from tests.support.visitors import csrf_of


def page_of(product: Product, line: MadeLine) -> str:
    with product.inside():
        uid = db.session.get_one(PppoeLine, line.id).customer.uid
    return f"/staff/customers/{uid}"


def test_staff_make_a_line_and_its_password_is_shown_once_more_only_on_the_record(product: Product) -> None:
    pppoe_package(product, 2_000, 30)
    owner, brian = customer(product), product.browser_of("brian")
    page = f"/staff/customers/{owner['id']}"
    csrf, uid = csrf_of(brian, page), brian.get(page).text.split('<option value="', 1)[1].split('"', 1)[0]
    terms = {"package": uid, "grace_days": "2", "locale": "sw", "is_renewed": "y", "csrf_token": csrf}
    assert brian.post(f"{page}/lines", data=terms | {"username": "Not a name!"}).status_code == 422
    made = brian.post(f"{page}/lines", data=terms | {"username": "otieno.home"})
    with product.inside():
        grant = db.session.query(AccessGrant).filter_by(username="otieno.home").one()
        password, line = grant.password, db.session.query(PppoeLine).one()
        assert (line.grace_days, line.locale, line.is_renewed, line.is_prompted) == (2, "sw", True, False)
        line_uid = line.uid
    assert made.status_code == 200 and password in made.text
    assert password not in brian.get(page).text
    assert brian.post(f"{page}/lines", data=terms | {"username": "otieno.home"}).status_code == 409
    assert password in brian.post(f"/staff/lines/{line_uid}/password", data={"csrf_token": csrf}).text
    renewed = brian.post(f"/staff/lines/{line_uid}/password", data={"csrf_token": csrf, "new": "1"}).text
    with product.inside():
        assert db.session.query(AuditEntry).filter_by(subject_kind="line", action="password_shown").count() == 3
        other = db.session.query(AccessGrant).filter_by(username="otieno.home").one().password
    assert other != password and other in renewed and password not in renewed


def test_staff_take_a_promise_suspend_lift_undo_and_close(product: Product) -> None:
    line = line_of(product, price=1_000)
    product.work()
    brian, page = product.browser_of("brian"), page_of(product, line)
    csrf = csrf_of(brian, page)

    def press(what: str, **form: str) -> str:
        address = f"/staff/lines/{line.uid}/{what}"
        return str(brian.post(address, data={"csrf_token": csrf} | form, follow_redirects=True).text)

    assert "On again for a day." in press("state", step="undo")
    assert standing(product, line).state == "active"
    day = f"{clock.nairobi(clock.now() + timedelta(days=2)):%Y-%m-%d}"
    assert "though nothing is paid" in press("promise", until=day)
    assert "one for each period" in press("promise", until=day)
    assert "Choose the day" in press("promise", until="tomorrow")
    assert "Suspended until you lift it" in press("state", step="suspend", reason="Abuse")
    assert standing(product, line).is_refused
    assert "Lifted" in press("state", step="lift")
    assert (standing(product, line).state, standing(product, line).is_refused) == ("active", False)
    assert "Nothing is online on this line." in press("disconnect")
    assert "Closed. What is in the wallet stays there." in press("state", step="close")
    assert standing(product, line).state == "closed"


def test_the_page_says_why_a_line_is_kept_on(product: Product) -> None:
    line = line_of(product, price=1_000)
    typed_at_the_paybill(product, 1, 1_000, line.account)
    product.work()
    typed_at_the_paybill(product, 2, 1_000, line.account[:-1])
    product.work()
    clock.move(timedelta(days=30, minutes=1))
    product.work()
    product.tokens.clear()
    page = product.browser_of("brian").get(page_of(product, line)).text
    assert "Money that may be theirs has arrived and has no home yet" in page


def test_a_customer_is_found_by_words_of_their_name_and_only_in_their_own_business(product: Product) -> None:
    line = line_of(product)
    brian = product.browser_of("brian")
    for words in ("achieng", "Home ACHIENG"):
        assert line.account in brian.get("/staff/customers", query_string={"q": words}).text
    for words in ("achi", "achieng otieno"):
        assert line.account not in brian.get("/staff/customers", query_string={"q": words}).text
    assert line.account not in product.browser_of("chege").get("/staff/customers?q=achieng").text


def test_other_terms_begin_with_the_next_period_and_another_tenant_s_package_never(product: Product) -> None:
    line = line_of(product, price=1_000)
    theirs = pppoe_package(product, 10, 30, slug="bahari")
    brian, page = product.browser_of("brian"), page_of(product, line)
    csrf = csrf_of(brian, page)
    with product.inside():
        from portal.hotspot.models import Package

        uid = db.session.get_one(Package, theirs).uid
    address = f"/staff/lines/{line.uid}/change"
    form = {"csrf_token": csrf, "package": uid, "locale": "en", "grace_days": "0"}
    assert "no such PPPoE package here" in brian.post(address, data=form, follow_redirects=True).text
    with product.inside():
        assert db.session.get_one(PppoeLine, line.id).package_id != theirs
