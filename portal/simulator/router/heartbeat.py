"""Each minute a router says that it is there, in the words of the script that a site's page gives."""

import json

import requests

from portal.kernel import clock
from portal.simulator.router.machine import Machine
from portal.simulator.router.menus import VERSION

JOB, EVERY_S, TIMEOUTS_S = "router_heartbeat", 60.0, (3.0, 5.0)


def begin(machine: Machine) -> None:
    """At once, then each minute; what an earlier start of this router had planned is dropped."""
    store, payload = machine.store, {"router": machine.name}
    with store.transaction():
        store.run("DELETE FROM jobs WHERE kind = ? AND state = 'due' AND payload = ?", JOB, json.dumps(payload))
        if machine.spec.heartbeat_url:
            store.add_job(JOB, payload)


def beat(machine: Machine) -> None:
    """Say it once, and plan the next time. A router that is out of reach says nothing; nobody's answer matters."""
    if not machine.spec.heartbeat_url:
        return
    machine.store.add_job(JOB, {"router": machine.name}, after_s=EVERY_S)
    if machine.has_fault("unreachable"):
        return
    now = clock.nairobi(machine.store.now())
    said = f"version={VERSION}\nclock={now:%Y-%m-%d %H:%M:%S}\noffset=03:00:00\nkey="
    try:
        with requests.Session() as session:
            session.trust_env = False
            session.post(machine.spec.heartbeat_url, data=said, timeout=TIMEOUTS_S, allow_redirects=False)
    except requests.RequestException:
        pass  # it says so again in a minute
