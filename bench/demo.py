"""The demonstration as a newcomer starts it: how soon a payer sees that the money came, and what it weighs.

A payer here buys a package, waits for the prompt on the simulated handset, enters the PIN, and then asks
for the status as the page does: every second, the first time at any moment within the first second.
"""

import random
import re
import sqlite3
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import requests

from bench.report import Section, percentile
from bench.servers import PORTAL, answers, free_port, scratch, start, stop, wait_until

MEDIAN_S, P95_S = 1.0, 2.0
MOST_PSS_MB, PAYMENTS_FIRST = 350, 20
POLL_EVERY_S = 1.0
GIVE_UP_S = 20.0
_PAID = re.compile(r'class="status is-(paid|preparing)"')
_VERSION = re.compile(r"status\?v=([0-9]+-[0-9])")


@dataclass(frozen=True)
class Demo:
    """The demonstration, running."""

    web: str
    simulator: str
    data: Path
    process: subprocess.Popen[bytes]


@dataclass(frozen=True)
class Seen:
    """One payment. Seconds from the accepted PIN; arrival and delivery as the database noted them."""

    pin_to_page_s: float
    callback_to_page_s: float
    callback_to_delivery_s: float


def measure(wanted: Sequence[str], *, quick: bool) -> list[Section]:
    """Latency, memory, or both, of one demonstration."""
    sections = []
    with _demo() as demo:
        if "latency" in wanted:
            sections.append(_latency(demo, 10 if quick else 40))
        else:
            _Payer(demo, 0).pays(poll_every_s=0.05)  # everything has worked once
        if "memory" in wanted:
            sections.append(_memory(demo))
    return sections


@contextmanager
def _demo() -> Iterator[Demo]:
    with scratch() as directory:
        port, simulator_port = free_port(), free_port()
        argv = [
            *PORTAL,
            "demo",
            "--port",
            str(port),
            "--simulator-port",
            str(simulator_port),
            "--data",
            str(directory / "demo"),
        ]
        process = start(argv, {"REDIS_URL": "", "DATABASE_URL": ""}, log=directory / "demo.log")
        web, simulator = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{simulator_port}"
        try:
            wait_until(lambda: answers(f"{web}/readyz") and answers(f"{simulator}/healthz"), of=process, what="demo")
            yield Demo(web, simulator, directory / "demo", process)
        finally:
            stop(process)


def _latency(demo: Demo, count: int) -> Section:
    _Payer(demo, 0).pays(poll_every_s=0.05)  # imports and caches: no payer meets them twice
    seen: dict[str, list[Seen]] = {"every second, as the page does": [], "at once, every 20 ms": []}
    for number in range(1, count + 1):
        seen["every second, as the page does"].append(_Payer(demo, 2 * number).pays(poll_every_s=POLL_EVERY_S))
        seen["at once, every 20 ms"].append(_Payer(demo, 2 * number + 1).pays(poll_every_s=0.02))
    section = Section(
        "From the callback to the payer's page",
        ("asked", "from", "n", "median s", "95 % within s", "most s", "verdict"),
    )
    for asked, ones in seen.items():
        for what, values in {
            "callback to page": [one.callback_to_page_s for one in ones],
            "PIN to page": [one.pin_to_page_s for one in ones],
            "callback to delivery": [one.callback_to_delivery_s for one in ones],
        }.items():
            median, p95 = percentile(values, 50), percentile(values, 95)
            verdict = ""
            if what == "callback to page":
                verdict = "meets it" if median < MEDIAN_S and p95 < P95_S else "MISSES IT"
            section.rows.append(
                (asked, what, str(len(values)), f"{median:.2f}", f"{p95:.2f}", f"{max(values):.2f}", verdict)
            )
    section.notes.append(
        f"The real demonstration on SQLite, one payer at a time. Aim: median below {MEDIAN_S:g} s and 95 % below "
        f"{P95_S:g} s from the callback's arrival to the first answer that says paid. Of the page's time, half a "
        "second on average is its own interval. Between PIN and callback lies the simulator."
    )
    return section


class _Payer:
    """One phone, buying the first package."""

    def __init__(self, demo: Demo, number: int) -> None:
        self.demo = demo
        self.msisdn = f"2547{number:06d}00"
        self.http = requests.Session()

    def pays(self, *, poll_every_s: float) -> Seen:
        token, version = self._buys()
        self._waits_for_the_prompt()
        url = f"{self.demo.web}/pay/{token}/status"
        if found := _VERSION.search(self.http.get(url, params={"v": version}, timeout=5).text):
            version = found[1]
        answer = self.http.post(f"{self.demo.simulator}/handset/{self.msisdn}/pin", json={"pin": "1234"}, timeout=5)
        accepted_at = time.time()
        answer.raise_for_status()
        time.sleep(random.uniform(0, poll_every_s))  # noqa: S311 - a phase, no secret
        while time.time() < accepted_at + GIVE_UP_S:
            page = self.http.get(url, params={"v": version}, timeout=5)
            now = time.time()
            if _PAID.search(page.text):
                arrived_at, delivered_at = self._noted(token)
                return Seen(now - accepted_at, now - arrived_at, delivered_at - arrived_at)
            if found := _VERSION.search(page.text):
                version = found[1]
            time.sleep(max(0.0, poll_every_s - (time.time() - now)))
        raise RuntimeError(f"The page did not say paid within {GIVE_UP_S:g} s.")

    def _buys(self) -> tuple[str, str]:
        packages = self.http.get(f"{self.demo.web}/api/portal/packages?tenant=mawingu", timeout=5).json()["items"]
        form = {"package": packages[0]["id"], "phone": self.msisdn}
        page = self.http.post(f"{self.demo.web}/hotspot/mawingu/", data=form, timeout=10)
        found = re.search(r"/pay/([0-9a-f]{40})/status\?v=([0-9]+-[0-9])", page.text)
        if found is None:
            raise RuntimeError(f"Buying did not lead to a page that waits: {page.status_code} {page.url}")
        return found[1], found[2]

    def _waits_for_the_prompt(self) -> None:
        until = time.monotonic() + GIVE_UP_S
        handset = f"{self.demo.simulator}/handset/{self.msisdn}"
        while not self.http.get(handset, headers={"Accept": "application/json"}, timeout=5).json()["prompts"]:
            if time.monotonic() > until:
                raise RuntimeError("The prompt never came.")
            time.sleep(0.05)
        time.sleep(0.3)  # a person reads it: M-Pesa's answer to the push has been taken in by then

    def _noted(self, token: str) -> tuple[float, float]:
        """When the callback was kept, and when what was bought was delivered, as the database says."""
        asked = (
            "SELECT i.received_at, p.fulfilled_at FROM payments p JOIN stk_pushes s ON s.payment_id = p.id "
            "JOIN inbox i ON i.push_token = s.token WHERE p.token = ? AND p.fulfilled_at IS NOT NULL"
        )
        until = time.monotonic() + GIVE_UP_S
        with closing(sqlite3.connect(f"file:{self.demo.data}/portal.db?mode=ro", uri=True)) as connection:
            while (row := connection.execute(asked, (token,)).fetchone()) is None:
                if time.monotonic() > until:
                    raise RuntimeError("It was never delivered.")
                time.sleep(0.02)
        first, last = (datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() for at in row)
        return first, last


def _memory(demo: Demo) -> Section:
    for number in range(1_000, 1_000 + PAYMENTS_FIRST):  # what is shared at the start is copied where it is used
        _Payer(demo, number).pays(poll_every_s=0.05)
    section = Section("Memory of the demonstration", ("process", "processes", "RSS MB", "PSS MB", "target", "verdict"))
    held: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for pid, name in _family(demo.process.pid):
        if (figures := _rollup(pid)) is not None:
            held[name].append(figures)
    for name, ones in sorted(held.items()):
        rss, pss = (sum(values) for values in zip(*ones, strict=True))
        section.rows.append((name, str(len(ones)), f"{rss:.0f}", f"{pss:.0f}", "", ""))
    rss, pss = (sum(values) for values in zip(*(one for ones in held.values() for one in ones), strict=True))
    verdict = "meets it" if pss <= MOST_PSS_MB else "MISSES IT"
    section.rows.append(
        ("all", str(sum(map(len, held.values()))), f"{rss:.0f}", f"{pss:.0f}", f"<= {MOST_PSS_MB}", verdict)
    )
    section.notes.append(
        f"After {PAYMENTS_FIRST} payments. PSS counts a shared page once among those who share it; its sum is what the"
        " machine needs."
    )
    return section


def _family(root: int) -> list[tuple[int, str]]:
    """(process id, role) of `root` and all below it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    family = [root]
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    return [(pid, _role(pid)) for pid in family]


def _role(pid: int) -> str:
    """What the product calls it; the process that was started, which keeps its own name, is a supervisor too."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"
    if name.startswith(("redis", "valkey")):
        return "redis"
    roles = ("web", "push", "money", "outside", "scheduler", "simulator")  # Linux keeps fifteen characters
    return next((role for role in roles if f"mlango-{role}"[:15] == name), "supervisor")


def _rollup(pid: int) -> tuple[float, float] | None:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    kilobytes = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB", text, flags=re.MULTILINE))
    return int(kilobytes["Rss"]) / 1024, int(kilobytes["Pss"]) / 1024
