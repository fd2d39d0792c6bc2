"""FreeRADIUS over 50,000 passes: sign-ins and accounting packets a second, against its stock queries on a stock schema.

Both are the same program with as many threads, on the same server and disk, asked by `radclient` in turns. The stock
one knows each user's password, end and devices; it counts devices and writes down each sign-in, as its files have it.
"""

import os
import random
import re
import shutil
import sqlite3
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg
from sqlalchemy import URL

from bench.report import Section
from bench.servers import Stage, free_port, stage, start, stop, wait_until
from portal.hotspot.models import AccessGrant, Package, Site
from portal.hotspot.radius import config, server
from portal.kernel import bulk, clock
from portal.kernel.db import db, transaction
from portal.tenants.models import Tenant

PASSES, QUICK_PASSES, TURNS = 50_000, 5_000, 3
PACKETS = {"sqlite": 400, "postgresql": 4_000}  # stock SQLite flushes a rollback journal for each
WRITES_EVERY_S = 0.02
AT_LEAST, IN_FLIGHT, SECRET = 0.5, {"sqlite": 10, "postgresql": 50}, "secret-of-the-bench"
STOCK = Path("/etc/freeradius/3.0/mods-config/sql/main")
KINDS = {"sign-ins": ("auth", ""), "starts": ("acct", "Start"), "interims": ("acct", "Interim-Update")}


@dataclass
class Served:
    """A server that runs. database: of it."""

    port: int
    database: URL


def measure(*, quick: bool, kind: str) -> Section:
    """A second, ours and stock's, and the median of their ratios."""
    section = Section(
        f"RADIUS over 50,000 passes, against stock queries, {kind}",
        ("database", "packets", "ours a second", "stock a second", "ratio", "lost"),
    )
    section.notes.append(
        "Medians of 3 turns; what was not answered is tried once more, and else lost. Aim: a ratio of at least 0.5. "
        "`while the product writes`: somebody commits to the same SQLite file up to fifty times a second, as durably "
        "as it does."
    )
    with stage(kind) as made:
        _measure(section, made, QUICK_PASSES if quick else PASSES, PACKETS[kind] // (4 if quick else 1))
    return section


def _measure(section: Section, made: Stage, passes: int, packets: int) -> None:
    _sell(made, passes)
    stock_url = made.beside("stock")
    _stock_schema(made, stock_url, passes)
    for url in (made.database, stock_url):
        made.rest(url)
    with _ours(made) as ours, _stock(made, stock_url) as stock:
        for name, (port_kind, status) in KINDS.items():
            mine: list[float] = []
            theirs: list[float] = []
            lost = 0
            for turn in range(TURNS):
                for one, rates in ((ours, mine), (stock, theirs)):
                    rate, missing = _ask(made, one, port_kind, status, passes, packets, turn)
                    rates.append(rate)
                    lost += missing if one is ours else 0
            ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
            section.rows.append(
                (made.kind, name, f"{statistics.median(mine):,.0f}", f"{statistics.median(theirs):,.0f}",
                 f"{ratio:.2f}", str(lost))
            )  # fmt: skip
            if ratio < AT_LEAST:
                section.closing += f"{made.kind}, {name}: {ratio:.2f} of stock is under {AT_LEAST}. "
        if made.kind == "sqlite":
            with _writing(made.database):
                for name, (port_kind, status) in KINDS.items():
                    rate, lost = _ask(made, ours, port_kind, status, passes, packets, TURNS)
                    section.rows.append(
                        (made.kind, f"{name}, while the product writes", f"{rate:,.0f}", "", "", str(lost))
                    )


def _sell(made: Stage, passes: int) -> None:
    with made.app().app_context():
        with transaction():
            tenant = Tenant(slug="bench", name="Bench", is_hotspot=True)
            db.session.add(tenant)
            db.session.flush()
            db.session.add(Site(tenant_id=tenant.id, name="here", address="127.0.0.1", secret=SECRET))
            package = Package(
                tenant_id=tenant.id, name="1 day", price_cents=5_000, duration_s=86_400, lifetime_s=86_400,
                rate="2M/5M", data_cap_bytes=5 * 2**30,
            )  # fmt: skip
            db.session.add(package)
            db.session.flush()
            now = clock.now()
            for first in range(1, passes + 1, 5_000):
                rows = [
                    {
                        "id": number, "leader_id": number, "tenant_id": tenant.id, "package_id": package.id,
                        "username": _name(number), "password": _password(number), "starts_at": now,
                        "provision_at": None, "expires_at": now + timedelta(days=1), "created_at": now,
                        "origin": "voucher", "mac": "", "is_waiting": False,
                    }
                    for number in range(first, min(first + 5_000, passes + 1))
                ]  # fmt: skip
                bulk.insert(db.session.connection(), AccessGrant, rows)
        db.session.remove()
        db.engine.dispose()


def _name(number: int) -> str:
    return f"SKL{number:07d}"


def _password(number: int) -> str:
    return f"pw{number:06d}"


def _stock_schema(made: Stage, url: URL, passes: int) -> None:
    """Debian's schema, and per user what the stock queries know of: password, end, devices and speed."""
    schema = (STOCK / made.kind / "schema.sql").read_text()
    ends = str(int(time.time()) + 86_400)
    check = [
        (_name(number), attribute, value)
        for number in range(1, passes + 1)
        for attribute, value in (
            ("Cleartext-Password", _password(number)), ("Expiration", ends), ("Simultaneous-Use", "1"),
        )
    ]  # fmt: skip
    reply = [(_name(number), "Mikrotik-Rate-Limit", "2M/5M") for number in range(1, passes + 1)]
    if made.kind == "sqlite":
        with closing(sqlite3.connect(str(url.database))) as file:
            file.executescript(schema)
            for table, rows in (("radcheck", check), ("radreply", reply)):
                values = f"INSERT INTO {table} (username, attribute, op, value) VALUES (?, ?, ':=', ?)"  # noqa: S608
                file.executemany(values, rows)
            file.commit()
        return
    with psycopg.connect(host=str(url.query["host"]), user=url.username, dbname=url.database) as connection:
        connection.execute(schema.encode())
        for table, rows in (("radcheck", check), ("radreply", reply)):
            with connection.cursor().copy(f"COPY {table} (username, attribute, op, value) FROM STDIN".encode()) as copy:
                for name, attribute, value in rows:
                    copy.write_row((name, attribute, ":=", value))


@contextmanager
def _ours(made: Stage) -> Iterator[Served]:
    port, directory = free_port(), made.directory / "ours"
    settings = config.Settings(made.environment["DATABASE_URL"], port=port, reject_delay_s=0)
    said = server.configure(settings, directory, secret_key=made.environment["PORTAL_SECRET_KEY"])
    if said:
        raise RuntimeError(" ".join(said))
    with _running(made, "ours", directory):
        yield Served(port, made.database)


@contextmanager
def _stock(made: Stage, url: URL) -> Iterator[Served]:
    port, directory = free_port(), made.directory / "stock"
    directory.mkdir()
    where = f'driver = "rlm_sql_sqlite"\nsqlite {{\nfilename = "{url.database}"\nbusy_timeout = 5000\n}}'
    threads = 4
    if made.kind == "postgresql":
        where = (
            f'driver = "rlm_sql_postgresql"\nradius_db = "host={url.query["host"]} dbname=stock user={url.username}"'
        )
        threads = 16
    tables = "\n".join(
        f'{name} = "{table}"'
        for name, table in (
            ("acct_table1", "radacct"), ("acct_table2", "radacct"), ("postauth_table", "radpostauth"),
            ("authcheck_table", "radcheck"), ("authreply_table", "radreply"), ("groupcheck_table", "radgroupcheck"),
            ("groupreply_table", "radgroupreply"), ("usergroup_table", "radusergroup"), ("client_table", "nas"),
        )
    )  # fmt: skip
    shutil.copy(STOCK / made.kind / "queries.conf", directory / "queries.conf")
    ours = config.files(config.Settings(made.environment["DATABASE_URL"]), directory)["radiusd.conf"]
    library = re.search(r"^libdir = (.*)$", ours, re.MULTILINE)
    (directory / "radiusd.conf").write_text(
        f"""
prefix = /usr
libdir = {library.group(1) if library else "/usr/lib/freeradius"}
raddbdir = "{directory}"
confdir = "{directory}"
logdir = "{directory}"
run_dir = "{directory}"
correct_escapes = true
max_requests = 16384
cleanup_delay = 2
log {{
	destination = stdout
	auth = no
}}
thread pool {{
	start_servers = {threads}
	max_servers = {threads}
	min_spare_servers = 1
	max_spare_servers = {threads}
}}
client bench {{
	ipaddr = 127.0.0.1
	secret = {SECRET}
}}
modules {{
	expr {{
	}}
	pap {{
	}}
	chap {{
	}}
	expiration {{
	}}
	sql {{
		{where}
		dialect = "{made.kind}"
		{tables}
		read_clients = no
		read_groups = yes
		delete_stale_sessions = yes
		group_attribute = "SQL-Group"
		pool {{
			start = {threads}
			min = 1
			max = {threads + 2}
			spare = {threads}
			uses = 0
			lifetime = 0
			idle_timeout = 300
		}}
		$INCLUDE {directory}/queries.conf
	}}
}}
server default {{
	listen {{
		type = auth
		ipaddr = 127.0.0.1
		port = {port}
	}}
	listen {{
		type = acct
		ipaddr = 127.0.0.1
		port = {port + 1}
	}}
	authorize {{
		chap
		sql
		expiration
		pap
	}}
	authenticate {{
		Auth-Type PAP {{
			pap
		}}
		Auth-Type CHAP {{
			chap
		}}
	}}
	preacct {{
		update request {{
			&Acct-Unique-Session-Id := "%{{md5:%{{User-Name}},%{{Acct-Session-Id}},%{{NAS-IP-Address}}}}"
		}}
	}}
	accounting {{
		sql
	}}
	session {{
		sql
	}}
	post-auth {{
		sql
	}}
}}
"""
    )
    with _running(made, "stock", directory):
        yield Served(port, url)


@contextmanager
def _running(made: Stage, name: str, directory: Path) -> Iterator[None]:
    log = made.directory / "log" / f"radius-{name}.log"
    process = start(server.arguments(directory), {}, log=log)
    try:
        wait_until(
            lambda: "Ready to process" in log.read_text(errors="replace"), of=process, what=f"FreeRADIUS, {name}"
        )
        yield
    finally:
        stop(process)


def _ask(
    made: Stage, served: Served, kind: str, status: str, passes: int, packets: int, turn: int
) -> tuple[float, int]:
    """(answers a second, packets that nobody answered) of random users."""
    draw = random.Random(turn)  # noqa: S311 - the same users for both
    lines = []
    for index in range(packets):
        number = draw.randint(1, passes)
        mac = f"AA:BB:{number >> 16 & 255:02X}:{number >> 8 & 255:02X}:{number & 255:02X}:01"
        packet = [f'User-Name = "{_name(number)}"', "NAS-IP-Address = 10.0.0.1", f'Calling-Station-Id = "{mac}"']
        if kind == "auth":
            packet.append(f'User-Password = "{_password(number)}"')
        else:
            packet += [
                f"Acct-Status-Type = {status}",
                f'Acct-Session-Id = "{turn}-{index}"',
                "Framed-IP-Address = 10.5.0.9",
            ]
        if status == "Interim-Update":
            packet += ["Acct-Session-Time = 300", "Acct-Input-Octets = 1000", "Acct-Output-Octets = 5000"]
        lines.append("\n".join(packet))
    file = made.directory / "packets"
    file.write_text("\n\n".join(lines) + "\n")
    port = served.port + (0 if kind == "auth" else 1)
    argv = ["radclient", "-q", "-s", "-r", "2", "-t", "3", "-p", str(IN_FLIGHT[made.kind]), "-f", str(file)]
    began = time.monotonic()
    said = subprocess.run(  # noqa: S603 - FreeRADIUS' own client
        [*argv, f"127.0.0.1:{port}", kind, SECRET], capture_output=True, text=True, check=False, env=dict(os.environ)
    ).stdout
    took_s = time.monotonic() - began
    found = re.search(r"Accepted\s*:\s*(\d+)", said)
    accepted = int(found.group(1)) if found else 0
    return accepted / took_s, packets - accepted


@contextmanager
def _writing(url: URL) -> Iterator[None]:
    """Somebody who commits to this SQLite file all the time, as durably as the product."""
    is_over = threading.Event()
    write: Callable[[], None] = lambda: _write_until(is_over, str(url.database))  # noqa: E731
    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _write_until(is_over: threading.Event, file: str) -> None:
    with closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS bench_writes (id INTEGER PRIMARY KEY, said TEXT)")
        while not is_over.is_set():
            connection.execute("BEGIN IMMEDIATE")
            for _row in range(5):
                connection.execute("INSERT INTO bench_writes (said) VALUES ('a callback, as long as callbacks are')")
            connection.execute("COMMIT")
            is_over.wait(WRITES_EVERY_S)
