"""`python -m bench [ingest|poll|latency|burst|memory|reconcile|flat|chaos|all] [--quick]`."""

import argparse
import sys

from bench import burst, chaos, demo, flat, reconcile, report, throughput
from bench.report import Section

NAMES = ("ingest", "poll", "latency", "burst", "memory", "reconcile", "flat", "chaos", "all")


def main() -> None:
    """Measure, print, and keep the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Mlango's measurements.")
    parser.add_argument("what", nargs="?", default="all", choices=NAMES)
    parser.add_argument("--quick", action="store_true", help="short and rough: while developing")
    parser.add_argument("--burst-seconds", type=int, default=0, help="length of the burst (default 60; quick 5)")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), help="burst, flat and chaos on this one only")
    given = parser.parse_args()
    burst_s = given.burst_seconds or (5 if given.quick else 60)
    kinds = (given.database,) if given.database else throughput.KINDS
    wanted = [name for name in NAMES[:-1] if given.what in (name, "all")]
    sections: list[Section] = []
    for name in wanted:
        if name == "ingest":
            sections.append(throughput.ingest(quick=given.quick))
        elif name == "poll":
            sections.append(throughput.poll(quick=given.quick))
        elif name == "reconcile":
            sections.append(reconcile.measure(quick=given.quick))
        elif name == "flat":
            sections.append(flat.measure(quick=given.quick, kinds=kinds))
        elif name == "burst":
            sections.append(burst.measure(seconds=burst_s, kinds=kinds))
        elif name == "chaos":
            sections.append(chaos.measure(payments=200 if given.quick else chaos.PAYMENTS, kinds=kinds))
    if {"latency", "memory"} & set(wanted):
        sections += demo.measure(wanted, quick=given.quick)
    for section in sections:
        sys.stdout.write(f"\n{section.title}\n\n{section.as_markdown()}\n")
    sys.stdout.write(f"\n{report.machine()}\n")
    report.keep(sections, remark=" A quick run." if given.quick else "")


main()
