"""The whole product on one machine: web, workers and scheduler under one supervisor, and a Redis where none is given.

`portal serve` is this in production; `portal demo` is the same with demonstration data and a simulated M-Pesa.

Decided: everything is imported and the application is made once, and the programs are copies of that process. They
stay processes of their own: a worker that hangs on M-Pesa holds up no settling, each may be killed and comes back in a
moment, and what they share is in memory once. Only the sweeper, which sleeps most of its time, is a thread beside the
worker that waits on others: thirty megabytes for two queries a second would be a high price.
Decided: the schema is brought up to date at every start, because a small clinic has nobody to remember it; by a copy
that ends, because a process that forks must have no connection open.
Decided: the embedded Redis is good enough for production here. It listens on a socket of ours alone and keeps an
append-only file; what it may lose in a power cut is found again by query.
"""

import gc
import os
import socket
import sys
import threading
import traceback
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

from flask import Flask, current_app
from rq.utils import import_attribute
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import configure_mappers

from portal.app import create_app
from portal.callbacks.quick import QuickDoor
from portal.kernel import queue
from portal.kernel.config import Config
from portal.kernel.db import db
from portal.kernel.errors import Misconfigured, PortalError
from portal.kernel.schema import lacking, upgrade_database
from portal.operations.bootstrap import adopt
from portal.outbox.deliver import CARRIERS
from portal.processes import scheduler, worker
from portal.processes.embedded_redis import REDIS_FOLDER, RedisCommand, redis_command
from portal.processes.fork import run_in_fork
from portal.processes.supervisor import Process, refuse_taken, supervise
from portal.processes.web_server import Front, serve_front

Sweep = Callable[[Flask, Callable[[], bool]], object]  # see `scheduler.sweep_until`
SWEEP_WITHIN_S = 5.0  # a round that was begun may end
STOP_WITHIN_S = 30.0  # longer than M-Pesa takes to answer what was just sent


def run(*, host: str, port: int, data: Path, web_processes: int = 0) -> int:
    """Serve until SIGTERM; an exit code. data: where everything lies. web_processes: 0 for as many as make sense.

    Settings come from the environment, and all that production demands is demanded, but for Redis. Raises
    Misconfigured.
    """
    data = data.absolute()
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    redis = use_data(data)
    config = Config.from_environment()
    if config.development or config.simulator_url:
        raise Misconfigured(
            "PORTAL_ENV=development and PORTAL_DEMO_SIMULATOR are for trying out, `portal serve` is for production: "
            "unset them, or start `portal demo`."
        )
    refuse_taken(host, port)
    if redis is not None:
        redis.wait_until_free()
    app = preload(config)
    if run_in_fork(partial(prepare, app), name="prepare") != 0:
        return 1
    warm_up(app)
    return supervise(
        [*redis_programs(redis), *programs(app, host=host, port=port, web_processes=web_processes)],
        on_ready=partial(_say_ready, host, port, config.public_url),
        shares_output=True,
        stop_within_s=STOP_WITHIN_S,
    )


def web(*, host: str, port: int, processes: int = 0) -> None:
    """Only the web server, in this process and copies of it, until SIGTERM. Raises Misconfigured."""
    config = Config.from_environment()
    refuse_taken(host, port)
    app = preload(config)
    if run_in_fork(partial(_in_context, app, adopt_first_gateway), name="prepare") != 0:
        raise SystemExit(1)
    warm_up(app)
    gc.enable()
    _serve_web(app, host=host, port=port, processes=processes)


def work_alone(queues: list[str]) -> None:
    """Only a worker, in this process, until it is told to stop.

    What its jobs need is there before the first of them: else whoever pays first would wait for most of a second.
    """
    app = preload()
    gc.freeze()
    gc.enable()
    worker.work(app, queues)


def use_data(data: Path) -> RedisCommand | None:
    """Let this process work on `data`. The Redis to start there, unless REDIS_URL names one."""
    os.environ["PORTAL_DATA"] = str(data)
    if os.environ.get("REDIS_URL"):
        return None
    redis = redis_command(data / REDIS_FOLDER)
    os.environ["REDIS_URL"] = redis.url
    return redis


def preload(config: Config | None = None) -> Flask:
    """The application and every module that its programs need, made ready to be shared by copies of this process."""
    gc.disable()  # what it frees would leave gaps in shared memory, which each copy then fills for itself
    app = create_app(config)
    for name in [*(job.job for job in queue.JOBS), *CARRIERS.values()]:
        import_attribute(name)
    configure_mappers()
    return app


def warm_up(app: Flask) -> None:
    """Do once what every program would do for itself at its first query, then keep it out of the collector's way."""
    with app.app_context():
        scheduler.waiting()
        db.session.remove()
        db.engine.dispose()  # no connection is open when this process is copied
    gc.freeze()


def prepare(app: Flask, *more: Callable[[], object]) -> None:
    """Bring the database up to date, take over the first gateway from the environment, then do `more`.

    Exits with a sentence where that cannot be.
    """
    _in_context(app, upgrade_or_say_why, adopt_first_gateway, *more)


def _in_context(app: Flask, *steps: Callable[[], object]) -> None:
    with app.app_context():
        for step in steps:
            step()


def upgrade_or_say_why() -> None:
    """Bring the schema up to date. Raises SystemExit."""
    try:
        upgrade_database()
    except OperationalError as error:
        raise SystemExit(f"The database does not answer: {error.orig}") from None
    if missing := lacking():
        raise SystemExit(
            f"The data in {current_app.config['PORTAL'].data_dir} are of another version of Mlango: {missing[0]} is not"
            " there. Start with another folder (--data DIR), or remove this one."
        )


def adopt_first_gateway() -> None:
    """Take over the environment's gateway, if it names one and there is none yet. Raises SystemExit."""
    try:
        adopt(os.environ)
    except PortalError as error:
        raise SystemExit(str(error)) from None


def redis_programs(redis: RedisCommand | None) -> list[Process]:
    """The Redis that everything else needs first, if it is ours."""
    return [] if redis is None else [Process("redis", redis.argv, is_ready=redis.answers, needed_first=True)]


def programs(
    app: Flask,
    *,
    host: str,
    port: int,
    web_processes: int = 0,
    sweep: Sweep = scheduler.sweep_until,
) -> list[Process]:
    """Web, workers and scheduler, as many as this machine and its database make use of."""
    config: Config = app.config["PORTAL"]
    web = partial(_serve_web, app, host=host, port=port, processes=web_processes)
    money = [queue.MONEY] if config.is_sqlite else [f"{queue.MONEY}{number}" for number in (1, 2)]
    return [
        Process("web", run=web, is_ready=partial(answers, f"{local_url(host, port)}/readyz")),
        Process(queue.PUSH, run=partial(worker.work, app, [queue.PUSH])),
        *(Process(name, run=partial(worker.work, app, [queue.MONEY])) for name in money),
        Process(queue.OUTSIDE, run=partial(_work_and_sweep, app, sweep)),
    ]


def _work_and_sweep(app: Flask, sweep: Sweep) -> None:
    """The worker that waits on others, and the scheduler in a thread of its own; neither lives without the other."""
    is_over = threading.Event()

    def sweep_or_end() -> None:
        try:
            sweep(app, is_over.is_set)
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # the supervisor starts both again

    thread = threading.Thread(target=sweep_or_end, name="scheduler", daemon=True)
    thread.start()
    worker.work(app, [queue.OUTSIDE])
    is_over.set()
    thread.join(SWEEP_WITHIN_S)


def _serve_web(app: Flask, *, host: str, port: int, processes: int) -> None:
    config: Config = app.config["PORTAL"]
    serve_front(
        lambda: Front(app, threads=config.web_threads, door=QuickDoor(app)),
        host=host,
        port=port,
        processes=processes or (1 if config.is_sqlite else os.cpu_count() or 1),  # SQLite has one writer
    )


def local_url(host: str, port: int) -> str:
    """Where this machine reaches what listens on `host`."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nothing is bound here
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def answers(url: str) -> bool:
    """Whether it says 200. Raises OSError."""
    with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310 - our own address on this machine
        return bool(response.status == 200)


def _say_ready(host: str, port: int, public_url: str) -> None:
    sys.stdout.write(f"Mlango is open: {local_url(host, port)}, for the world {public_url}\n")
    sys.stdout.flush()
    if address := os.environ.get("NOTIFY_SOCKET"):  # systemd's
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.connect("\0" + address[1:] if address.startswith("@") else address)
            systemd.sendall(b"READY=1")
