"""`python -m bench [NAME] [--quick]`: what is measured under which name stands in the package's docstring."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import (
    burst,
    chaos,
    clinic,
    demo,
    first_run,
    flat,
    peer,
    radius,
    reconcile,
    report,
    settle,
    telling,
    throughput,
)
from bench.report import Section

BURST_S, SHORT_BURST_S, QUICK_BURST_S = 60, 10, 5  # alone; in turns with a peer; while developing


def _kinds(given: argparse.Namespace) -> tuple[str, ...]:
    return (given.database,) if given.database else throughput.KINDS


def _burst_s(given: argparse.Namespace, usual: int) -> int:
    return int(given.burst_seconds) or (QUICK_BURST_S if given.quick else usual)


MEASURES: Mapping[str, Callable[[argparse.Namespace], list[Section]]] = {
    "ingest": lambda given: [throughput.ingest(quick=given.quick)],
    "poll": lambda given: [throughput.poll(quick=given.quick)],
    "captive": lambda given: [throughput.captive(quick=given.quick)],
    "latency": lambda given: demo.measure(["latency"], quick=given.quick),
    "burst": lambda given: [burst.measure(seconds=_burst_s(given, BURST_S), kinds=_kinds(given))],
    "settle": lambda given: [settle.measure(quick=given.quick, kinds=_kinds(given))],
    "telling": lambda given: [telling.measure(quick=given.quick)],
    "memory": lambda given: demo.measure(["memory"], quick=given.quick),
    "reconcile": lambda given: [reconcile.measure(quick=given.quick)],
    "flat": lambda given: [flat.measure(quick=given.quick, kinds=_kinds(given))],
    "clinic": lambda given: [clinic.measure(quick=given.quick, kinds=_kinds(given))],
    "radius": lambda given: [radius.measure(quick=given.quick, kind=kind) for kind in _kinds(given)],
    "chaos": lambda given: [
        chaos.measure(payments=200 if given.quick else chaos.PAYMENTS, kinds=_kinds(given)),
    ],
    "peer": lambda given: peer.measure(
        quick=given.quick,
        seconds=_burst_s(given, SHORT_BURST_S),
        kinds=_kinds(given),
        directory=given.peer_venv,
    ),
    "first-run": lambda given: [first_run.measure(quick=given.quick)],
}
BY_NAME_ONLY = ("peer", "first-run")  # they ask the package registry


def main() -> None:
    """Measure, print, and keep the figures."""
    given = _arguments()
    wanted = [given.what] if given.what != "all" else [name for name in MEASURES if name not in BY_NAME_ONLY]
    try:
        sections = [section for name in wanted for section in MEASURES[name](given)]
    except peer.NotInstalled as error:
        raise SystemExit(str(error)) from error
    for section in sections:
        sys.stdout.write(f"\n{section.title}\n\n{section.as_markdown()}\n")
    sys.stdout.write(f"\n{report.machine()}\n")
    report.keep(sections, remark=" A quick run." if given.quick else "")
    for section in sections:
        if section.closing:
            sys.stdout.write(f"{section.closing}\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Mlango's measurements.")
    parser.add_argument("what", nargs="?", default="all", choices=(*MEASURES, "all"))
    parser.add_argument("--quick", action="store_true", help="short and rough: while developing")
    parser.add_argument(
        "--burst-seconds",
        type=int,
        default=0,
        help=f"length of a burst (default {BURST_S}, against the peer {SHORT_BURST_S}, quick {QUICK_BURST_S})",
    )
    parser.add_argument(
        "--database",
        choices=throughput.KINDS,
        help="burst, settle, flat, clinic, radius, chaos, peer on this only",
    )
    parser.add_argument(
        "--peer-venv",
        type=Path,
        default=peer.KEPT_IN,
        help=f"where the peer is installed, and kept (default {peer.KEPT_IN.name})",
    )
    return parser.parse_args()


main()
