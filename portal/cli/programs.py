"""The programs that run: web, workers, scheduler, all of them at once, the demonstration, the simulator."""

import os
from pathlib import Path

import click

from portal.cli.running import fail, use_redis_of_serve
from portal.kernel.errors import Misconfigured


@click.command()
@click.option("--port", default=8000, show_default=True)
@click.option("--simulator-port", default=8001, show_default=True)
@click.option("--data", default="var", show_default=True, type=click.Path(path_type=Path))
def demo(port: int, simulator_port: int, data: Path) -> None:
    """Everything at once, with demonstration data and a simulated M-Pesa."""
    from portal.demo.run import run

    try:
        raise SystemExit(run(port=port, simulator_port=simulator_port, data=data))
    except Misconfigured as error:
        fail(*map(str, error.problems))


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
@click.option("--workers", default=0, help="Processes; default: as many as cores, one on SQLite.")
def web(host: str, port: int, workers: int) -> None:
    """The web server."""
    from portal.processes import serve

    try:
        serve.web(host=host, port=port, processes=workers)
    except Misconfigured as error:
        fail(*map(str, error.problems))


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
@click.option(
    "--data",
    default="var",
    envvar="PORTAL_DATA",
    show_envvar=True,
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where everything lies.",
)
@click.option("--workers", default=0, help="Web processes; default: as many as cores, one on SQLite.")
def serve(host: str, port: int, data: Path, workers: int) -> None:
    """The whole product on this machine, in production: web, workers, scheduler, and Redis where none is named."""
    from portal.processes import serve as whole

    try:
        raise SystemExit(whole.run(host=host, port=port, data=data, web_processes=workers))
    except Misconfigured as error:
        fail(*map(str, error.problems))


@click.command()
@click.option("--queues", default="push,money,outside", show_default=True, help="push must be alone where it matters.")
def worker(queues: str) -> None:
    """A worker: sends pushes, settles callbacks, delivers what was paid."""
    from portal.processes.serve import work_alone

    work_alone([name.strip() for name in queues.split(",") if name.strip()])


@click.command()
def scheduler() -> None:
    """The sweeper: finds by query what waits."""
    from portal.app import create_app
    from portal.processes.scheduler import run

    run(create_app())


@click.command()
@click.option("--port", default=8001, show_default=True)
@click.option("--data", default="var/simulator", show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--strict",
    is_flag=True,
    help="Refuse what Safaricom's documents refuse: local addresses, overlong references, another's PartyB.",
)
def simulator(port: int, data: Path, strict: bool) -> None:
    """A Daraja of your own, with phones."""
    from portal.demo.run import SIMULATOR_THREADS
    from portal.processes.supervisor import refuse_taken
    from portal.processes.web_server import serve_wsgi
    from portal.simulator.app import from_environment

    try:
        refuse_taken("127.0.0.1", port)
    except Misconfigured as error:
        fail(*map(str, error.problems))
    os.environ |= {
        "SIMULATOR_DATA": str(data.absolute()),
        "SIMULATOR_URL": f"http://127.0.0.1:{port}",
        "SIMULATOR_STRICT": "1" if strict else "",
    }
    click.echo(f"The simulator is at http://127.0.0.1:{port}/")
    serve_wsgi(from_environment, host="127.0.0.1", port=port, threads=SIMULATOR_THREADS)


@click.command()
def check() -> None:
    """Check the configuration; every mistake is named."""
    from portal.kernel.config import Config
    from portal.kernel.vault import KeyRing

    use_redis_of_serve()
    try:
        config = Config.from_environment()
        KeyRing(config.data_keys)
    except Misconfigured as error:
        fail(*map(str, error.problems))
    click.echo("The configuration is complete.")


COMMANDS = (
    demo,
    web,
    serve,
    worker,
    scheduler,
    simulator,
    check,
)
