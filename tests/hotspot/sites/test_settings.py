"""A site's settings: what is taken, what is refused and by which name, what comes back, and who may change it."""

from typing import Any

import pytest

from portal.audit.models import AuditEntry
from portal.gateways.settings import StaleSignin
from portal.hotspot.models import Provisioning, Site
from portal.hotspot.sites import settings
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.errors import Conflict, NotFound, Refused
from tests.support.product import Product

RADIUS = {"name": "Mlima Lodge", "kind": "radius", "address": "10.90.0.7", "loginHosts": ["wifi.mlima.test"]}


def made(product: Product, slug: str = "mlima", **changes: Any) -> str:
    """The public id of a new site."""
    tenant_id = product.tenant_id(slug)
    with product.inside(), transaction():
        return settings.create(tenant_id, RADIUS | changes, actor="test").uid


def refused(product: Product, **changes: Any) -> dict[str, str]:
    """The fields that a new site with these settings is refused for, with their sentences."""
    tenant_id = product.tenant_id()
    with product.inside(), pytest.raises(Refused) as found, transaction():
        settings.create(tenant_id, RADIUS | changes, actor="test")
    return {name: str(sentence) for name, sentence in found.value.fields.items()}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "  ", "Give it a name"),
        ("name", "n" * 61, "at most 60"),
        ("kind", "cisco", "Must be one of radius, routeros, opennds, voucher"),
        ("address", "", "Enter the router's address"),
        ("address", "router.mlima.test", "Must be an IP address"),
        ("address", "10.90.0.0/24", "Must be an IP address"),
        ("address", "0.0.0.0", "No router can have"),  # noqa: S104
        ("address", "224.0.0.9", "No router can have"),
        ("address", "169.254.169.254", "No router can have"),
        ("address", ["10.0.0.1"], "Must be text"),
        ("secret", "short", "From 8 to 64"),
        ("secret", "with a blank in it", "From 8 to 64"),
        ("secret", 'quote"quote"', "Without quotes"),
        ("secret", "dollar$dollar", "Without quotes"),
        ("loginHosts", ["http://[oops"], "no host name"),
        ("loginHosts", ["8.8.8.8"], "not a private address"),
        ("loginHosts", [7], "list of host names"),
        ("loginHosts", [f"h{n}.test" for n in range(11)], "At most 10"),
        ("coaPort", 0, "port from 1 to 65535"),
        ("coaPort", "٣", "port from 1 to 65535"),
        ("apiTls", "yes", "true or false"),
        ("apiUsername", "a b", "letters, digits"),
    ],
)
def test_each_mistake_is_named(product: Product, field: str, value: Any, said: str) -> None:
    found = refused(product, **{field: value})
    assert set(found) == {field} and said in found[field]


def test_all_mistakes_are_named_at_once(product: Product) -> None:
    assert set(refused(product, name="", address="x", secret="y", coaPort=-1)) == {"name", "address", "secret", "coaPort"}  # fmt: skip


def test_hosts_and_addresses_are_taken_as_people_write_them(product: Product) -> None:
    uid = made(
        product, address=" 10.90.0.7 ", loginHosts="https://Wifi.Mlima.TEST/login, 10.5.50.1:80\nwifi.mlima.test. [fd00::1]:80"
    )  # fmt: skip
    with product.inside():
        site = settings.get_by_uid(product.tenant_id(), uid)
        assert site.address == "10.90.0.7" and site.login_hosts == "wifi.mlima.test 10.5.50.1 fd00::1"
    other = made(product, name="By API", kind="routeros", address="Router.Mlima.test:8730")
    with product.inside():
        site = settings.get_by_uid(product.tenant_id(), other)
        assert (site.address, site.api_port, site.api_username) == ("router.mlima.test", 8730, "mlango")


def test_secrets_that_nobody_gave_are_made_and_never_come_back(product: Product) -> None:
    first, second = made(product), made(product, name="Other", address="10.90.0.8")
    third = made(product, name="API", kind="routeros", address="10.90.0.9", secret="api-secret-1")
    with product.inside():
        sites = [settings.get_by_uid(product.tenant_id(), uid) for uid in (first, second, third)]
        secrets = [site.secret for site in sites[:2]]
        assert all(len(secret) == 32 for secret in secrets) and len(set(secrets)) == 2
        assert sites[2].api_password == "api-secret-1", "of a RouterOS site the one secret that is given opens its API"
        shown = str([settings.to_json(site) for site in sites])
        assert not any(secret in shown for secret in [*secrets, "api-secret-1"])
        assert settings.to_json(sites[0])["secretsKept"] == ["secret"]
        assert "api-secret-1" not in str(sites[2].api_password_sealed)


def test_a_radius_address_is_one_routers_over_all_tenants_and_the_refusal_tells_nobody_whose(product: Product) -> None:
    made(product, slug="bahari")
    with pytest.raises(Conflict) as told:
        made(product)
    assert told.value.code == "address_taken" and set(told.value.fields) == {"address"}
    assert "bahari" not in str(told.value).lower()
    made(product, kind="voucher")  # no packets come from it
    with pytest.raises(Conflict) as told:
        made(product, address="10.90.0.9")
    assert told.value.code == "name_taken"


def test_the_address_of_a_closed_site_is_free_for_another_business(product: Product) -> None:
    uid = made(product, slug="bahari")
    with product.inside(), transaction():
        settings.close(settings.get_by_uid(product.tenant_id("bahari"), uid), actor="test")
    assert made(product)


def test_no_order_of_ours_goes_to_another_tenants_router(product: Product) -> None:
    """By its API a stranger's router would be asked for passwords in our name, and lose its place in the tunnel."""
    made(product, slug="bahari")
    api = {"kind": "routeros", "secret": "", "name": "Theirs"}
    with pytest.raises(Conflict) as told:
        made(product, **api)
    assert told.value.code == "address_taken"
    uid = made(product, **api, address="10.90.0.8")
    by_hand = made(product, kind="voucher", name="By hand")
    for mine, moved in ((uid, {"address": "10.90.0.7"}), (by_hand, {"kind": "routeros"})):
        with product.inside(), pytest.raises(Conflict), transaction():
            site = settings.get_by_uid(product.tenant_id(), mine)
            settings.change(site, moved, actor="t", is_fresh_signin=True)
    made(product, **api | {"name": "One"}, address="127.0.0.1")
    made(product, **api | {"name": "Two"}, address="127.0.0.1", slug="bahari")  # simulators stand there


def test_what_leads_codes_or_orders_elsewhere_needs_a_fresh_sign_in_and_is_audited(product: Product) -> None:
    uid = made(product)
    tenant_id = product.tenant_id()
    guarded = {
        "kind": "opennds", "address": "10.90.0.99", "secret": "another-secret", "loginHosts": ["evil.test"],
        "apiUsername": "x", "apiPassword": "another-secret", "apiTls": False,
    }  # fmt: skip
    for name, value in guarded.items():
        with product.inside(), pytest.raises(StaleSignin), transaction():
            settings.change(settings.get_by_uid(tenant_id, uid), {name: value}, actor="t", is_fresh_signin=False)
    with product.inside(), pytest.raises(StaleSignin), transaction():
        settings.create(tenant_id, RADIUS | {"name": "N", "address": "10.1.1.1"}, actor="t", is_fresh_signin=False)
    with product.inside(), transaction():
        site = settings.get_by_uid(tenant_id, uid)
        kept = site.secret
        same = {"name": "Renamed", "secret": "", "address": "10.90.0.7", "loginHosts": ["wifi.mlima.test"]}
        settings.change(site, same, actor="user:7", is_fresh_signin=False)
        assert site.name == "Renamed" and site.secret == kept, "an empty secret keeps the one before"
    with product.inside(), transaction():
        settings.change(settings.get_by_uid(tenant_id, uid), {"secret": "another-secret"}, actor="user:7", is_fresh_signin=True)  # fmt: skip
    with product.inside():
        rows = db.session.query(AuditEntry).filter_by(subject_kind="site", action="changed").all()
        assert [row.details["fields"] for row in rows] == [["name"], ["secret"]]
        assert "another-secret" not in str([row.details for row in rows])


def test_a_closed_site_keeps_its_history_tells_its_router_nothing_and_frees_its_name_and_address(
    product: Product,
) -> None:
    uid, tenant_id = made(product), product.tenant_id()
    with product.inside(), transaction():
        settings.close(settings.get_by_uid(tenant_id, uid), actor="test")
    with product.inside():
        with pytest.raises(NotFound):
            settings.get_by_uid(tenant_id, uid)
        assert db.session.query(Site).filter_by(uid=uid).one().closed_at <= clock.now()
        assert db.session.query(Provisioning).filter(Provisioning.next_at.is_not(None)).count() == 0
    assert made(product) != uid


def test_another_tenants_site_is_nowhere(product: Product) -> None:
    uid = made(product, slug="bahari")
    with product.inside(), pytest.raises(NotFound):
        settings.get_by_uid(product.tenant_id(), uid)


def test_a_routeros_name_cannot_become_a_radius_address(product: Product) -> None:
    uid, tenant_id = made(product, kind="routeros", address="router.mlima.test"), product.tenant_id()
    with product.inside(), pytest.raises(Refused) as told, transaction():
        settings.change(settings.get_by_uid(tenant_id, uid), {"kind": "radius"}, actor="t", is_fresh_signin=True)
    assert set(told.value.fields) == {"address"}
