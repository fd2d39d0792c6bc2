"""The contract of /api/sites and /api/hotspot/sessions: names, kinds of values, status codes, and whose they are."""

import re
from datetime import timedelta
from typing import Any

import pytest

from portal.hotspot.models import AccessSession
from portal.hotspot.routers import interface
from portal.hotspot.routers.interface import Finding, Health, Outcome
from portal.kernel import clock
from portal.kernel.db import db, transaction
from tests.support.clock import later
from tests.support.product import Product
from tests.support.sessions import pass_of, site_of, stay_of

SITE = {"id", "name", "kind", "address", "loginHosts"}
SESSION = {"id", "username", "mac", "site", "startedAt", "endedAt", "bytesIn", "bytesOut", "expiresAt"}
GIVEN = {
    "name": "Mlima Lodge", "kind": "radius", "address": "10.90.0.7", "secret": "hidden-secret",
    "loginHosts": ["wifi.mlima.test", "10.5.50.1"],
}  # fmt: skip


class Router:
    """A router that does as it is told to."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome, self.kicked = outcome, []  # type: ignore[var-annotated]

    def kick(self, site: Any, session: Any) -> Outcome:
        self.kicked.append((site.address, session.username))
        return self.outcome

    def check(self, site: Any) -> Health:
        return Health(self.outcome, (Finding("rights", False, "The user may not write.", "Give it the right."),))


def test_sites_are_made_changed_and_closed_and_their_secret_never_comes_back(product: Product) -> None:
    api = product.api("amina")
    made = api.post("/api/sites", GIVEN)
    assert made.status_code == 201 and set(made.json) >= SITE
    assert {name: made.json[name] for name in GIVEN if name != "secret"} == {
        name: value for name, value in GIVEN.items() if name != "secret"
    }
    uid = made.json["id"]
    changed = api.put(f"/api/sites/{uid}", {"name": "Mlima Bar", "secret": ""})
    assert changed.status_code == 200 and changed.json["name"] == "Mlima Bar"
    shown = api.get(f"/api/sites/{uid}")
    listed = api.get("/api/sites")
    assert listed.json == {"items": [shown.json], "nextCursor": None}
    everything = made.text + changed.text + shown.text + listed.text + api.get("/api/audit").text
    assert "hidden-secret" not in everything and '"secret":' not in everything
    gone = api.delete(f"/api/sites/{uid}")
    assert gone.status_code == 200 and gone.json["success"] is True
    assert api.get(f"/api/sites/{uid}").status_code == 404 and api.get("/api/sites").json["items"] == []


def test_what_is_wrong_is_named_and_a_taken_address_is_a_conflict(product: Product) -> None:
    api = product.api("amina")
    told = api.post("/api/sites", {"name": "", "kind": "cisco", "address": "nowhere", "loginHosts": "http://[oops"})
    assert told.status_code == 422 and told.json["error"] == "invalid_fields"
    assert set(told.json["fields"]) == {"name", "kind", "address", "loginHosts"}
    site_of(product, "bahari")
    told = api.post("/api/sites", GIVEN)
    assert told.status_code == 409 and told.json["error"] == "address_taken" and set(told.json["fields"]) == {"address"}
    assert "bahari" not in told.text.lower()


def test_the_secret_is_changed_only_after_a_fresh_sign_in(product: Product) -> None:
    api = product.api("amina")
    uid = api.post("/api/sites", GIVEN).json["id"]
    later(16 * 60)
    told = api.put(f"/api/sites/{uid}", {"secret": "another-secret"})
    assert told.status_code == 422 and told.json["error"] == "fresh_signin_required"
    assert api.put(f"/api/sites/{uid}", {"name": "New name"}).status_code == 200


def test_its_files_are_downloads_and_who_took_one_is_recorded(product: Product) -> None:
    api = product.api("amina")
    made = api.post("/api/sites", GIVEN).json
    assert "routeros.rsc" in made["files"]
    for name in made["files"]:
        answer = api.get(f"/api/sites/{made['id']}/files/{name}")
        if name == "wireguard.conf":  # before the router told its key
            assert answer.status_code == 409
            continue
        assert answer.status_code == 200 and answer.mimetype == "text/plain", name
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    assert api.get(f"/api/sites/{made['id']}/files/opennds.conf").status_code == 404, "of another kind of router"
    assert api.get(f"/api/sites/{made['id']}/files/passwd").status_code == 404
    taken = [row for row in api.get("/api/audit").json["items"] if row["action"] == "file_taken"]
    assert {row["new"] for row in taken} == {"routeros.rsc", "login.html", "api.json", "freeradius-client.conf"}


def test_a_check_lists_what_was_looked_at_how_it_is_and_what_to_do(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    interface.kinds()  # all of them are known before one is replaced
    monkeypatch.setitem(interface._adapters, "radius", Router(Outcome(True)))
    uid = site_of(product)
    told = product.api("amina").post(f"/api/sites/{uid}/check")
    assert told.status_code == 200 and told.json["success"] is False, "one is bad"
    found = {one["name"]: one for one in told.json["findings"]}
    assert found["rights"] == {
        "name": "rights", "state": "bad", "sentence": "The user may not write.", "whatToDo": "Give it the right.",
    }  # fmt: skip
    assert found["heartbeat"]["state"] == "warn" and found["heartbeat"]["whatToDo"]
    assert {one["state"] for one in found.values()} <= {"ok", "warn", "bad"}


def test_sessions_are_listed_newest_first_with_the_end_of_their_pass(product: Product) -> None:
    site, grant_id = site_of(product), pass_of(product)
    now = clock.now()
    over = stay_of(product, site, started_at=now - timedelta(hours=2), stopped_at=now - timedelta(hours=1))
    open_one = stay_of(product, site, grant_id=grant_id, started_at=now - timedelta(hours=3))
    stay_of(product, site_of(product, "bahari", address="10.90.0.8"))
    api = product.api("brian")
    everything = api.get("/api/hotspot/sessions").json
    assert [one["id"] for one in everything["items"]] == [over, open_one] and everything["nextCursor"] is None
    online = api.get("/api/hotspot/sessions?online=true").json["items"]
    assert [one["id"] for one in online] == [open_one]
    shown = online[0]
    assert set(shown) >= SESSION
    assert (shown["username"], shown["mac"], shown["site"]) == ("SKL1ABCD23", "AA:BB:CC:DD:EE:01", site)
    assert (shown["bytesIn"], shown["bytesOut"], shown["endedAt"]) == (1_000, 9_000, None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown["expiresAt"])
    assert everything["items"][0]["expiresAt"] is None, "on no pass"


def test_sessions_are_paged_without_gaps_or_repeats(either_product: Product) -> None:
    product = either_product
    site, now = site_of(product), clock.now()
    made = {stay_of(product, site, started_at=now - timedelta(minutes=n // 3)) for n in range(55)}
    api = product.api("brian")
    first = api.get("/api/hotspot/sessions").json
    second = api.get(f"/api/hotspot/sessions?cursor={first['nextCursor']}").json
    listed = [one["id"] for one in first["items"] + second["items"]]
    assert len(listed) == 55 and set(listed) == made and second["nextCursor"] is None
    assert api.get("/api/hotspot/sessions?cursor=oops").status_code == 422


@pytest.mark.parametrize(
    ("outcome", "state", "is_open"),
    [
        (Outcome(True, code="acknowledged"), "asked", True),  # the router said yes: accounting will tell
        (Outcome(False, True, "still_open", "Its accounting has not ended it."), "asked", True),
        (Outcome(True, code="no_session"), "gone", False),
        (Outcome(True), "gone", False),
        (Outcome(False, True, "timed_out", "It did not answer."), "failed", True),
    ],
)
def test_a_disconnect_says_what_really_came_of_it(
    product: Product, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, state: str, is_open: bool
) -> None:
    router = Router(outcome)
    interface.kinds()  # all of them are known before one is replaced
    monkeypatch.setitem(interface._adapters, "radius", router)
    uid = stay_of(product, site_of(product))
    told = product.api("brian").post(f"/api/hotspot/sessions/{uid}/disconnect")
    assert told.status_code == 200 and told.json["state"] == state and told.json["success"] is (state != "failed")
    assert router.kicked == [("10.90.0.7", "SKL1ABCD23")]
    with product.inside():
        assert (db.session.query(AccessSession).filter_by(uid=uid).one().stopped_at is None) is is_open


def test_a_router_that_hangs_is_not_asked_again_at_once_by_whoever_presses_on(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try holds one of a few threads that every tenant's pages need."""
    router = Router(Outcome(False, True, "timed_out", "It did not answer."))
    interface.kinds()  # all of them are known before one is replaced
    monkeypatch.setitem(interface._adapters, "radius", router)
    uid, api = stay_of(product, site_of(product)), product.api("brian")
    told = [api.post(f"/api/hotspot/sessions/{uid}/disconnect").json for _time in range(5)]
    assert [one["state"] for one in told] == ["failed"] * 5 and len(router.kicked) == 1
    assert "did not answer a moment ago" in told[-1]["message"]


def test_a_stay_that_ended_is_gone_without_asking_its_router(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    router = Router(Outcome(True))
    interface.kinds()  # all of them are known before one is replaced
    monkeypatch.setitem(interface._adapters, "radius", router)
    uid = stay_of(product, site_of(product), stopped_at=clock.now())
    assert product.api("brian").post(f"/api/hotspot/sessions/{uid}/disconnect").json["state"] == "gone"
    assert router.kicked == []


def test_another_tenants_sites_and_sessions_are_nowhere(product: Product) -> None:
    site = site_of(product, "bahari")
    uid = stay_of(product, site)
    api = product.api("amina")
    assert api.get("/api/sites").json["items"] == []
    for method, path in (("get", ""), ("put", ""), ("delete", ""), ("get", "/files/login.html"), ("post", "/check")):
        named = {"json": {"name": "x"}} if method == "put" else {}
        assert getattr(api, method)(f"/api/sites/{site}{path}", **named).status_code == 404, (method, path)
    assert api.post(f"/api/hotspot/sessions/{uid}/disconnect").status_code == 404
    with product.inside(), transaction():
        assert db.session.query(AccessSession).filter_by(uid=uid).one().stopped_at is None
