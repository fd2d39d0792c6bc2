"""Callbacks taken and unchanged polls answered, each against its baseline, in pairs that follow each other."""

import http.client
import re
import statistics
from collections.abc import Callable
from urllib.parse import urlsplit

from bench import load, stock
from bench.load import Load, Script, drive
from bench.report import Section, spread
from bench.servers import THREADS, Stage, stage

INGEST_TARGET, POLL_TARGET, CAPTIVE_TARGET = 0.65, 0.5, 0.1
KINDS = ("sqlite", "postgresql")
POLLED_PAYMENTS = 500
AN_HOUR_S = 3_600.0


def ingest(*, quick: bool) -> Section:
    """The callback's door: token, dedupe, sealing, durable insert, job."""
    section = _section("Callback ingest")
    for kind in KINDS:
        with stage(kind) as on:
            app = on.app()
            token = stock.furnish(app)
            product, bare = on.web(), on.baseline()
            used = 1

            def pair(seconds: float) -> tuple[Load, Load]:
                nonlocal used
                stock.empty_inbox(app)  # noqa: B023 - called within the round
                paths = "/insert/x/{token}", f"/hooks/{token}/stk/{{token}}"  # noqa: B023
                scripts = [stock.callbacks(path, first=used) for path in paths]
                below = drive(bare, scripts[0], seconds=seconds, directory=on.directory)  # noqa: B023
                ours = drive(product, scripts[1], seconds=seconds, directory=on.directory)  # noqa: B023
                used += ours.made
                return below, ours

            section.rows.append(_compare(on, "durable insert", pair, INGEST_TARGET, quick=quick))
            _explain_failures(section, on)
    return section


def poll(*, quick: bool) -> Section:
    """The status poll that finds nothing new: young payments, and those old enough to make us ask M-Pesa."""
    section = _section("Unchanged status poll")
    for kind in KINDS:
        with stage(kind) as on:
            app = on.app()
            stock.furnish(app)
            stock.fill(app, POLLED_PAYMENTS)
            product, bare = on.web(), on.baseline()
            for what, offset_s, hints, phase in (
                ("first 20 s", AN_HOUR_S, 0, 0),
                ("later, M-Pesa is asked too", -60.0, 2, 1),
            ):
                stock.ring_again(app, at_offset_s=offset_s)
                version = f"3-{hints}-{phase}"
                scripts = (
                    stock.polls(f"/poll/{{token}}?v={version}", count=POLLED_PAYMENTS),
                    stock.polls(f"/pay/{{token}}/status?v={version}", count=POLLED_PAYMENTS),
                )

                def pair(seconds: float, scripts: tuple[Script, Script] = scripts) -> tuple[Load, Load]:
                    for url, script in zip((bare, product), scripts, strict=True):  # noqa: B023
                        _expect_204(url, script)
                    below = drive(bare, scripts[0], seconds=seconds, directory=on.directory)  # noqa: B023
                    return below, drive(product, scripts[1], seconds=seconds, directory=on.directory)  # noqa: B023

                # 60 to 120 s old is one phase: the repetitions must end within it
                section.rows.append(_compare(on, what, pair, POLL_TARGET, quick=quick or phase > 0))
    section.notes.append(
        "The target is for the first 20 s, in which most people pay. Later a poll also looks, every five seconds a "
        "payment, whether M-Pesa should be asked."
    )
    return section


def captive(*, quick: bool) -> Section:
    """The captive portal's first page, as a router sends a new phone to it, against a bare page of what is on sale."""
    section = _section("Captive portal's first page")
    for kind in KINDS:
        with stage(kind) as on:
            stock.furnish(on.app())
            product, bare = on.web(), on.baseline()
            path = "/hotspot/bench/?mac=AA:BB:CC:00:11:22&identity=r1&link-login-only=http://10.5.50.1/login"
            sizes = _first_load(product, path)
            scripts = stock.gets("/shop/bench/?mac=AA:BB:CC:00:11:22"), stock.gets(path)

            def pair(seconds: float) -> tuple[Load, Load]:
                below = drive(bare, scripts[0], seconds=seconds, directory=on.directory)  # noqa: B023
                return below, drive(product, scripts[1], seconds=seconds, directory=on.directory)  # noqa: B023

            section.rows.append(_compare(on, f"page of {sizes[0]:,} bytes", pair, CAPTIVE_TARGET, quick=quick))
            load = f"{sum(sizes):,} bytes in {len(sizes)} requests, uncompressed, without headers"
    section.notes.append(f"First load: {load}; the limit is 30 KB.")
    return section


def _first_load(url: str, path: str) -> list[int]:
    """Bytes of the page and of each file that it asks for, as a browser that takes no compression gets them."""
    page = _get(url, path)
    asked = re.findall(r'<(?:link|script|img)[^>]+(?:href|src)="(/[^"]+)"', page.decode())
    return [len(page), *(len(_get(url, one)) for one in asked)]


def _get(url: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path} answered {answer.status}.")
    return body


def _section(title: str) -> Section:
    columns = ("database", "case", "baseline/s", "Mlango/s", "p99 ms", "ratio", "target", "verdict")
    note = f"Load: {load.CLIENT}, on the same cores. Granian, {THREADS} threads a process; medians (least to most)."
    return Section(title, columns, notes=[note])


def _compare(
    on: Stage, what: str, pair: Callable[[float], tuple[Load, Load]], target: float, *, quick: bool
) -> tuple[str, ...]:
    pair(1)  # connections, prepared statements, caches
    pairs = [pair(2 if quick else 5) for _repetition in range(3 if quick else 5)]
    ratios = [ours.per_second / below.per_second for below, ours in pairs]
    failed = sum(ours.failed + below.failed for below, ours in pairs)
    verdict = "meets it" if statistics.median(ratios) >= target else "MISSES IT"
    return (
        f"{on.kind} ({on.web_workers} process{'es' if on.web_workers > 1 else ''})",
        what,
        spread([below.per_second for below, _ours in pairs]),
        spread([ours.per_second for _below, ours in pairs]),
        spread([ours.p99_ms for _below, ours in pairs]),
        spread(ratios, digits=2),
        f">= {target:g}",
        verdict + (f", {failed} FAILED" if failed else ""),
    )


def _expect_204(url: str, script: Script) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    connection.request("GET", script.python(0)[1])
    status = connection.getresponse().status
    connection.close()
    if status != 204:
        raise RuntimeError(f"The poll should have found nothing new, but answered {status}.")


def _explain_failures(section: Section, on: Stage) -> None:
    spool = on.directory / "data" / "spool"
    if any(spool.glob("*.jsonl")):
        section.notes.append(f"On {on.kind}, some callbacks went to the spool because the database was busy.")
