"""Paid means online, proved: one line a purchase, the same for payer and staff, each step with its time."""

from datetime import timedelta

from portal.hotspot import proof
from portal.hotspot.models import AccessGrant, AccessSession, Provisioning, Purchase, Site
from portal.kernel import clock
from portal.kernel.db import db, transaction
from tests.support.hotspot import prompt_sent
from tests.support.product import Product
from tests.support.sessions import site_of, stay_of


def bought(product: Product) -> str:
    """The token of a purchase that waits for its PIN."""
    answer = product.client().post(
        "/api/portal/mpesa/initiate",
        json={"tenant": "mlima", "packageId": product.package("1 day"), "phone": "0712345678"},
    )
    return answer.json["paymentId"]  # type: ignore[index, no-any-return]


def paid(product: Product, token: str) -> int:
    """The row id of the grant that it opened."""
    product.callback(prompt_sent(product, token), receipt="SKL1ABCD23")
    product.work()
    with product.inside():
        return db.session.query(AccessGrant.id).scalar()  # type: ignore[no-any-return]


def line(product: Product) -> list[tuple[str, str, bool]]:
    """(step, state, whether it has a time) of the one purchase."""
    with product.inside():
        found = proof.of_payment(db.session.query(Purchase.payment_id).scalar())
        assert found is not None
        return [(one.name, one.state, one.at is not None) for one in found.steps]


def provisioned(product: Product, site_uid: str, grant_id: int, **values: object) -> None:
    with product.inside(), transaction():
        site = db.session.query(Site).filter_by(uid=site_uid).one()
        db.session.query(Provisioning).delete()
        db.session.add(
            Provisioning(tenant_id=site.tenant_id, site_id=site.id, grant_id=grant_id, wanted="on", **values)
        )


def test_the_line_goes_on_only_as_far_as_it_is_proved(product: Product) -> None:
    site = site_of(product, kind="routeros")
    token = bought(product)
    assert line(product) == [
        ("paid", "now", False), ("opened", "todo", False), ("router", "todo", False), ("online", "todo", False),
    ]  # fmt: skip
    grant_id = paid(product, token)
    provisioned(product, site, grant_id)
    opened = [("paid", "done", True), ("opened", "done", True)]
    assert line(product) == [*opened, ("router", "now", False), ("online", "todo", False)]
    provisioned(product, site, grant_id, last_error="The router does not answer.", attempts=3)
    assert line(product)[2] == ("router", "failed", False)
    provisioned(product, site, grant_id, confirmed_at=clock.now(), next_at=None)
    opened.append(("router", "done", True))
    assert line(product) == [*opened, ("online", "todo", False)]
    stay = stay_of(product, site, grant_id=grant_id, bytes_in=0, bytes_out=0)
    assert line(product)[3] == ("online", "now", False), "signed in is not online: nothing has moved"
    with product.inside(), transaction():
        db.session.query(AccessSession).filter_by(uid=stay).update({"bytes_out": 10})
    opened.append(("online", "done", True))
    assert line(product) == opened
    with product.inside(), transaction():
        db.session.get_one(AccessGrant, grant_id).ended_at = clock.now()
    assert line(product) == [*opened, ("over", "now", False)], "ended, and still online"
    with product.inside(), transaction():
        db.session.query(AccessSession).filter_by(uid=stay).update({"stopped_at": clock.now()})
    assert line(product) == [*opened, ("over", "done", True)]


def test_what_was_online_before_this_was_bought_counts_from_the_purchase(product: Product) -> None:
    site, token = site_of(product), bought(product)
    grant_id = paid(product, token)
    stay_of(product, site, grant_id=grant_id, started_at=clock.now() - timedelta(hours=3))
    with product.inside():
        found = proof.of_payment(db.session.query(Purchase.payment_id).scalar())
        assert found is not None and found.is_online
        at = {one.name: one.at for one in found.steps}
        assert at["online"] >= at["opened"]  # type: ignore[operator]


def test_payer_and_staff_read_the_same_line(product: Product) -> None:
    site_of(product)
    token = bought(product)
    paid(product, token)
    for page in (product.client().get(f"/pay/{token}"), product.browser_of("amina").get(f"/staff/attempts/{token}")):
        assert "From the money to the internet" in page.text and "Access opened" in page.text
        assert page.text.index("Access opened") < page.text.index("Router may ask for it")


def test_what_buys_no_access_has_no_line(product: Product) -> None:
    _number, token = product.invoice()
    assert "From the money to the internet" not in product.browser_of("amina").get(f"/staff/attempts/{token}").text
