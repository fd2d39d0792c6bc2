"""Sites that ask RADIUS: an order counts when the session is really gone, else it is tried again, else by the API."""

from collections.abc import Iterator

import pytest

from portal.hotspot.models import AccessGrant, AccessSession, Site
from portal.hotspot.radius import coa
from portal.hotspot.routers import connection, radius
from portal.hotspot.routers.interface import Outcome, Wanted
from portal.hotspot.routers.radius import Radius
from portal.kernel import clock
from portal.kernel.db import db, transaction
from tests.support.product import Product
from tests.support.routeros import StubRouter, router
from tests.support.routers import PHONE, change, grant, later, package, reconciled, row_of, session, site

ACKNOWLEDGED, NO_SESSION = Outcome(True, code="acknowledged"), Outcome(True, code="no_session")


@pytest.fixture
def stub() -> Iterator[StubRouter]:
    with router() as made:
        yield made


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(radius, "STOP_WITHIN_S", 0.0)


class Lodge:
    """A RADIUS site with one session that runs."""

    def __init__(self, product: Product, **more: object) -> None:
        self.product = product
        self.id = site(product, name="Lodge", kind="radius", address="127.0.0.1", secret="s" * 24, **more)
        self.sold = grant(product, package(product), provision_at=None)
        self.stay = session(product, self.id, self.sold)

    def kicked(self) -> Outcome:
        with self.product.inside():
            here, stay = db.session.get_one(Site, self.id), db.session.get_one(AccessSession, self.stay)
            db.session.expunge_all()
            return Radius().kick(here, stay)

    def stops(self) -> None:
        with self.product.inside(), transaction():
            db.session.get_one(AccessSession, self.stay).stopped_at = clock.now()


def answers(monkeypatch: pytest.MonkeyPatch, *outcomes: Outcome) -> list[str]:
    """What the router says to disconnects, one after the other, the last again and again."""
    asked: list[str] = []

    def disconnect(_site: Site, stay: AccessSession) -> Outcome:
        asked.append(stay.session_id)
        return outcomes[min(len(asked), len(outcomes)) - 1]

    monkeypatch.setattr(coa, "disconnect", disconnect)
    return asked


def test_an_ack_alone_is_no_end(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    lodge = Lodge(product)
    answers(monkeypatch, ACKNOWLEDGED)
    assert (lodge.kicked().is_done, lodge.kicked().code) == (False, "still_open")
    lodge.stops()
    assert lodge.kicked().is_done


def test_that_there_is_no_such_session_is_an_end(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, NO_SESSION)
    assert Lodge(product).kicked().is_done


def test_where_radius_does_not_the_api_does_and_reads_back(
    product: Product, stub: StubRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, ACKNOWLEDGED)
    lodge = Lodge(product, api_port=stub.port, api_uses_tls=False, api_username="mlango", api_password="router-secret")
    stub.menus["/ip/hotspot/active"].append({".id": "*A", "user": "UGRANT0001", "mac-address": PHONE})
    stub.fault = "keeps_sessions"
    assert lodge.kicked().code == "still_online"
    stub.fault = ""
    assert lodge.kicked().is_done and stub.online() == []


def test_an_ended_pass_is_disconnected_again_until_accounting_has_it_gone(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    lodge = Lodge(product)
    asked = answers(monkeypatch, ACKNOWLEDGED)
    change(product, lodge.sold, ended_at=clock.now())
    for pause_s in (0, 1, 3):
        later(seconds=pause_s + 0.1)
        reconciled(product)
    assert len(asked) == 3 and row_of(product, lodge.sold).confirmed_at is None
    with product.inside():
        tenant_id = db.session.get_one(Site, lodge.id).tenant_id
        assert [one.id for one in connection.without_right(tenant_id)] == [lodge.stay]
    lodge.stops()
    later(seconds=11)
    reconciled(product)
    assert len(asked) == 3 and row_of(product, lodge.sold).confirmed_at is not None


def test_speed_and_end_are_changed_where_they_run_and_data_by_a_new_sign_in(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    lodge = Lodge(product)
    kicks, changes = answers(monkeypatch, NO_SESSION), []
    monkeypatch.setattr(
        coa, "change", lambda _site, _stay, *, rate, seconds_left: changes.append((rate, seconds_left)) or ACKNOWLEDGED
    )
    with product.inside():
        here, stay = db.session.get_one(Site, lodge.id), db.session.get_one(AccessSession, lodge.stay)
        row = db.session.get_one(AccessGrant, lodge.sold)
        given = {
            "grant_id": row.id, "leader_id": row.id, "username": row.username, "password": "p", "mac": PHONE,
            "starts_at": row.starts_at, "expires_at": row.expires_at, "rate": "1M/2M",
        }  # fmt: skip
        db.session.expunge_all()
        assert Radius().change_live(here, stay, Wanted(**given)).is_done
        assert [(rate, 3_580 < left_s <= 3_600) for rate, left_s in changes] == [("1M/2M", True)] and kicks == []
        assert Radius().change_live(here, stay, Wanted(**given, data_bytes=5_000)).is_done
        assert kicks == ["80f00003"] and len(changes) == 1
