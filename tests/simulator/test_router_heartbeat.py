"""The simulated router says each minute that it is there, in the words that the product reads."""

from datetime import timedelta
from pathlib import Path

from portal.hotspot.models import Site
from portal.kernel import clock
from portal.kernel.db import db
from portal.simulator.router import heartbeat
from portal.simulator.router.machine import RouterSpec
from tests.support import simulator
from tests.support.clock import wait_until
from tests.support.product import Product
from tests.support.routers import site


def test_its_heartbeats_are_those_of_the_script_and_stop_when_it_is_out_of_reach(
    served: Product, tmp_path: Path
) -> None:
    cafe = site(served, name="Cafe", kind="routeros")
    with served.inside():
        token = db.session.get_one(Site, cafe).token

    def seen() -> Site:
        with served.inside():
            row = db.session.get_one(Site, cafe)
            db.session.expunge(row)
            return row

    url = f"{served.url}/routers/{token}/heartbeat"
    with simulator.opened(tmp_path) as daraja:
        fleet = daraja.app.extensions["simulator"].fleet
        router = fleet.open([RouterSpec(name="cafe", heartbeat_url=url)])[0]
        wait_until(lambda: seen().last_seen_at is not None)
        first = seen()
        assert first.router_version == "7.16.2 (stable)" and first.tunnel_key == ""
        assert first.clock_skew_s is not None and abs(first.clock_skew_s) <= 2
        planned = router.machine.store.all("SELECT * FROM jobs WHERE kind = 'router_heartbeat'")
        assert [row["payload"] for row in planned if row["state"] == "due"] == ['{"router": "cafe"}']
        daraja.client.post("/control/routers/cafe", json={"faults": {"unreachable": True}})
        clock.move(timedelta(seconds=61))
        heartbeat.beat(router.machine)
        assert seen().last_seen_at == first.last_seen_at, "it is out of reach"
        daraja.client.post("/control/routers/cafe", json={"faults": {"unreachable": False}})
        heartbeat.beat(router.machine)
        assert seen().last_seen_at > first.last_seen_at
