"""The `portal` command. Imports wait until they are needed: `portal sms parse` needs no configuration."""

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from portal.kernel.errors import Misconfigured, PortalError
from portal.payments.states import InboxState

_ROLES = ["tenant_admin", "receptionist", "clinician", "accountant", "patient"]


def _in_app(command: Callable[..., Any]) -> Callable[..., Any]:
    """Run a command in the application; what it refuses becomes a sentence and exit code 1."""

    @wraps(command)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        from portal.app import create_app

        try:
            _use_demonstration()
            _use_redis_of_serve()
            with create_app().app_context():
                return command(*arguments, **named)
        except Misconfigured as error:
            _fail(*map(str, error.problems))
        except PortalError as error:
            _fail(str(error))

    return wrapped


def _use_demonstration() -> None:
    """Where nothing is configured, a command works on the demonstration's data beside it, and says so."""
    from portal.demo.run import settings_of

    if found := settings_of(os.environ):
        os.environ.update(found)
        click.echo(f"Nothing is configured: this is the demonstration in {found['PORTAL_DATA']}.", err=True)


def _use_redis_of_serve() -> None:
    """A command beside `portal serve` finds the Redis that this one brings, where the settings name none."""
    from portal.processes.embedded_redis import REDIS_FOLDER, redis_url

    folder = Path(os.environ.get("PORTAL_DATA", "var")) / REDIS_FOLDER
    if not os.environ.get("REDIS_URL") and folder.is_dir():
        os.environ["REDIS_URL"] = redis_url(folder)


def _fail(*sentences: str) -> None:
    for sentence in sentences:
        click.echo(sentence, err=True)
    raise SystemExit(1)


@click.group()
def main() -> None:
    """Mlango: the door that opens when M-Pesa pays."""
    os.umask(0o077)  # database, spool and keys are ours alone, in every program that this becomes


@main.command()
@click.option("--port", default=8000, show_default=True)
@click.option("--simulator-port", default=8001, show_default=True)
@click.option("--data", default="var", show_default=True, type=click.Path(path_type=Path))
def demo(port: int, simulator_port: int, data: Path) -> None:
    """Everything at once, with demonstration data and a simulated M-Pesa."""
    from portal.demo.run import run

    try:
        raise SystemExit(run(port=port, simulator_port=simulator_port, data=data))
    except Misconfigured as error:
        _fail(*map(str, error.problems))


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
@click.option("--workers", default=0, help="Processes; default: as many as cores, one on SQLite.")
def web(host: str, port: int, workers: int) -> None:
    """The web server."""
    from portal.processes import serve

    try:
        serve.web(host=host, port=port, processes=workers)
    except Misconfigured as error:
        _fail(*map(str, error.problems))


@main.command()
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
        _fail(*map(str, error.problems))


@main.command()
@click.option("--queues", default="push,money,outside", show_default=True, help="push must be alone where it matters.")
def worker(queues: str) -> None:
    """A worker: sends pushes, settles callbacks, delivers what was paid."""
    from portal.app import create_app
    from portal.processes.worker import work

    work(create_app(), [name.strip() for name in queues.split(",") if name.strip()])


@main.command()
def scheduler() -> None:
    """The sweeper: finds by query what waits."""
    from portal.app import create_app
    from portal.processes.scheduler import run

    run(create_app())


@main.command()
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
        _fail(*map(str, error.problems))
    os.environ |= {
        "SIMULATOR_DATA": str(data.absolute()),
        "SIMULATOR_URL": f"http://127.0.0.1:{port}",
        "SIMULATOR_STRICT": "1" if strict else "",
    }
    click.echo(f"The simulator is at http://127.0.0.1:{port}/")
    serve_wsgi(from_environment, host="127.0.0.1", port=port, threads=SIMULATOR_THREADS)


@main.command()
def check() -> None:
    """Check the configuration; every mistake is named."""
    from portal.kernel.config import Config
    from portal.kernel.vault import KeyRing

    _use_redis_of_serve()
    try:
        config = Config.from_environment()
        KeyRing(config.data_keys)
    except Misconfigured as error:
        _fail(*map(str, error.problems))
    click.echo("The configuration is complete.")


@main.group("db")
def database() -> None:
    """The database."""


@database.command("upgrade")
@_in_app
def db_upgrade() -> None:
    """Bring the schema up to date."""
    from portal.kernel.schema import upgrade_database

    upgrade_database()
    click.echo("The schema is up to date.")


@database.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_in_app
def db_backup(file: Path) -> None:
    """Copy the SQLite database into a file while everything runs; an older copy there is replaced."""
    from portal.kernel.schema import back_up

    back_up(file)
    click.echo(f"The database is copied to {file}.")


@main.group()
def tenant() -> None:
    """Tenants."""


@tenant.command("create")
@click.argument("slug")
@click.option("--name", required=True)
@click.option("--clinic", is_flag=True)
@click.option("--hotspot", is_flag=True)
@click.option("--colour", default="#0b5d4b")
@_in_app
def tenant_create(slug: str, name: str, clinic: bool, hotspot: bool, colour: str) -> None:
    """Create a tenant: a clinic, a hotspot, or both."""
    from portal.kernel.db import transaction
    from portal.tenants.create import create

    with transaction():
        create(slug=slug, name=name, is_clinic=clinic, is_hotspot=hotspot, colour=colour)
    click.echo(f"Tenant {slug} is there.")


@main.group()
def user() -> None:
    """People who sign in."""


@user.command("create")
@click.argument("email")
@click.option("--name", required=True)
@click.option("--tenant", "slug", help="Whose staff; none for a platform administrator.")
@click.option("--role", type=click.Choice(_ROLES))
@click.password_option()
@_in_app
def user_create(email: str, name: str, slug: str | None, role: str | None, password: str) -> None:
    """Create a person with a role in a tenant."""
    from portal.kernel.db import transaction
    from portal.tenants import find
    from portal.users import credentials

    if bool(slug) != bool(role):
        _fail("Give both --tenant and --role, or neither for a platform administrator.")
    with transaction():
        person = credentials.add_user(email=email, name=name, password=password, is_platform_admin=slug is None)
        if slug and role:
            credentials.add_role(person, find.by_slug(slug).id, role)
    click.echo(f"{email} can sign in.")


@user.command("password")
@click.argument("email")
@click.option("--link", "is_link", is_flag=True, help="Print a link that works once, instead of setting one here.")
@_in_app
def user_password(email: str, is_link: bool) -> None:
    """Give a person a new password: every session and token they have ends."""
    from portal.kernel.db import transaction
    from portal.users import credentials, links
    from portal.web.passwords import link_for

    person = _person(email)
    if is_link:
        from flask import current_app

        with current_app.test_request_context(base_url=current_app.config["PORTAL"].public_url):
            click.echo(link_for(links.make(person, current_app.config["SECRET_KEY"], good_for=links.MAILED_FOR)))
        return
    given = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    key, user_id, chosen = person.session_key, person.id, credentials.hash_of(given)
    with transaction():
        credentials.change_password(user_id, chosen, key=key, actor="command line")
    click.echo(f"{email} has a new password, and is signed out everywhere.")


@user.command("role")
@click.argument("email")
@click.option("--tenant", "slug", required=True)
@click.option("--role", required=True, type=click.Choice(_ROLES))
@_in_app
def user_role(email: str, slug: str, role: str) -> None:
    """Give a person who signs in already a role in a tenant, in place of the one they had there."""
    from portal.kernel.db import transaction
    from portal.tenants import find
    from portal.users import team

    tenant_id = find.by_slug(slug).id
    with transaction():
        team.give_role(_person(email), tenant_id, role, actor="command line")
    click.echo(f"{email} is {role} at {slug}.")


@user.command("deactivate")
@click.argument("email")
@click.option("--tenant", "slug", help="Only there; without it they sign in nowhere any more.")
@_in_app
def user_deactivate(email: str, slug: str | None) -> None:
    """Take a person's role in a tenant away, or their sign-in altogether. It holds at once."""
    from portal.kernel.db import transaction
    from portal.tenants import find
    from portal.users import team

    tenant_id = find.by_slug(slug).id if slug else None
    with transaction():
        person = _person(email)
        if tenant_id is None:
            team.deactivate_everywhere(person, actor="command line")
        else:
            for membership in person.memberships:
                if membership.tenant_id == tenant_id:
                    team.deactivate(membership, actor="command line")
    click.echo(f"{email} does nothing {f'at {slug}' if slug else 'here'} any more.")


@user.command("activate")
@click.argument("email")
@_in_app
def user_activate(email: str) -> None:
    """Let a person sign in again who was deactivated altogether. A tenant's: `portal user role`."""
    from portal.kernel.db import transaction
    from portal.users import team

    with transaction():
        team.activate_again(_person(email), actor="command line")
    click.echo(f"{email} can sign in again.")


def _person(email: str) -> Any:
    from portal.kernel.errors import NotFound
    from portal.users import credentials

    person = credentials.by_email(email)
    if person is None:
        raise NotFound(f"Nobody signs in with {email}.")
    return person


@main.group()
def key() -> None:
    """API keys of a tenant's own programs."""


@key.command("create")
@click.argument("slug")
@click.option("--name", required=True)
@_in_app
def key_create(slug: str, name: str) -> None:
    """Make an API key; it is shown once."""
    from portal.kernel.db import transaction
    from portal.tenants import find
    from portal.users.tokens import new_api_key

    with transaction():
        made = new_api_key(find.by_slug(slug).id, name)
    click.echo(made)


@key.command("list")
@click.argument("slug")
@_in_app
def key_list(slug: str) -> None:
    """The keys of a tenant: number, name, and when one was revoked."""
    from portal.kernel import clock
    from portal.tenants import find
    from portal.users import team

    for one in team.api_keys(find.by_slug(slug).id):
        ended = f"revoked {clock.rfc3339(one.revoked_at)}" if one.revoked_at else ""
        click.echo(f"{one.id:<8}{one.name}  {ended}".rstrip())


@key.command("revoke")
@click.argument("slug")
@click.argument("number", type=int)
@_in_app
def key_revoke(slug: str, number: int) -> None:
    """End a key, by its number in `portal key list`. It opens nothing from now on."""
    from portal.kernel.db import transaction
    from portal.tenants import find
    from portal.users import team

    tenant_id = find.by_slug(slug).id
    with transaction():
        name = team.revoke_key(tenant_id, number, actor="command line").name
    click.echo(f"The key {name} is revoked.")


@main.group()
def gateway() -> None:
    """Gateways."""


@gateway.command("test")
@click.argument("slug")
@click.argument("gateway_id", required=False)
@_in_app
def gateway_test(slug: str, gateway_id: str | None) -> None:
    """Test a tenant's gateway (its default one, if none is named)."""
    from portal.gateways import client_factory, connection_test
    from portal.tenants import find

    tenant_id = find.by_slug(slug).id
    uid = gateway_id or client_factory.choose(tenant_id, "").uid
    outcome = connection_test.try_out(tenant_id, uid, actor="command line")
    verdict = {True: "works", False: "FAILS", None: "not proven"}
    for step in outcome.steps:
        click.echo(f"{verdict[step.ok]}  {step.label}: {step.detail}")
    if not outcome.ok:
        raise SystemExit(1)


@main.group()
def audit() -> None:
    """The audit trail."""


@audit.command("verify")
@_in_app
def audit_verify() -> None:
    """Walk every tenant's chain; exit code 1 where one does not hold."""
    from sqlalchemy import select

    from portal.audit import chain
    from portal.kernel.db import db
    from portal.tenants.models import Tenant

    broken = False
    for one in db.session.scalars(select(Tenant).order_by(Tenant.id)).all():
        verdict = chain.verify(one.id)
        waiting = f", {verdict.not_chained_yet} not chained yet" if verdict.not_chained_yet else ""
        click.echo(
            f"{one.slug}: {verdict.rows} rows{waiting}, {'holds' if verdict.holds else 'BROKEN. ' + verdict.problem}"
        )
        broken = broken or not verdict.holds
    if broken:
        raise SystemExit(1)


@main.group()
def ledger() -> None:
    """The ledger."""


@ledger.command("check")
@_in_app
def ledger_check() -> None:
    """Prove that journals sum to zero and that money is where the payments say; exit code 1 if not."""
    from portal.payments.integrity import problems

    found = problems()
    for sentence in found:
        click.echo(sentence)
    if found:
        raise SystemExit(1)
    click.echo("Every journal sums to zero, and every shilling is where the books say.")


@main.command("reconcile")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--tenant", "slug", default="", help="Whose statement it is; default: whose shortcode it names.")
@click.option("--gateway", "gateway_id", default="", help="Of that tenant's gateways; default: its default one.")
@click.option("--accept", "is_accepted", is_flag=True, help="Book what was missing. Without this it is compared only.")
@_in_app
def reconcile_file(file: Path, slug: str, gateway_id: str, is_accepted: bool) -> None:
    """Compare M-Pesa's statement with our books; exit code 1 where something differs.

    Nothing is booked without --accept: it says that an operator believes this file.
    """
    from portal.gateways import client_factory, settings
    from portal.kernel import queue
    from portal.reconciliation import runs
    from portal.reconciliation.files import MOST_BYTES, StatementError
    from portal.reconciliation.rows import CREATED
    from portal.tenants import find

    if gateway_id and not slug:
        _fail("Give --tenant with --gateway.")
    with file.open("rb") as opened:
        content = opened.read(MOST_BYTES + 1)
    try:
        if not slug:
            gateway = runs.gateway_of(content, name=file.name)
        else:
            tenant_id = find.by_slug(slug).id
            gateway = settings.get_by_uid(tenant_id, gateway_id) if gateway_id else client_factory.choose(tenant_id, "")
        statement = runs.read_statement(content, name=file.name, gateway=gateway)
    except StatementError as error:
        _fail(*map(str, error.problems))
        return
    made_id = runs.run(gateway.id, statement, user_id=None, actor="command line")
    if is_accepted:
        _accept_statement(made_id)
    counts = runs.counts_by_id(made_id)
    for bucket, number in counts.items():
        click.echo(f"{bucket:<14}{number:>8}")
    if runs.is_draft(made_id):
        click.echo(f"Nothing was booked. {counts[CREATED]} payments are missing here: book them with --accept.")
    queue.ring(queue.PAID)
    if runs.differences_in(counts):
        raise SystemExit(1)


def _accept_statement(made_id: int) -> None:
    from portal.kernel.errors import Conflict
    from portal.reconciliation import runs

    try:
        runs.accept(made_id, user_id=None, actor="command line")
    except Conflict as error:
        _fail(f"Nothing was booked. {error.message}")


@main.command("import")
@click.argument("slug")
@click.option("--customers", type=click.File("rb"), help="name, phone, balance")
@click.option("--invoices", type=click.File("rb"), help="number, name, phone, description, amount")
@click.option("--transactions", type=click.File("rb"), help="receipt, amount, phone, account, time")
@click.option("--write", "is_for_real", is_flag=True, help="Write it. Without this everything is checked only.")
@_in_app
def import_files(slug: str, is_for_real: bool, **given: Any) -> None:
    """Bring customers, balances, open invoices and past payments from an earlier system's CSV files."""
    from portal.operations import data_import
    from portal.tenants import find

    tenant = find.by_slug(slug)
    plan = data_import.check(tenant, {kind: file.read() for kind, file in given.items() if file is not None})
    if plan.problems:
        more = len(plan.problems) - data_import.MOST_PROBLEMS
        _fail(
            *plan.problems[: data_import.MOST_PROBLEMS],
            *([f"and {more} more."] if more > 0 else []),
            "Nothing was written.",
        )
    if not is_for_real:
        click.echo(f"Nothing wrong with {plan.summary}. Add --write to bring them in.")
        return
    new = data_import.write(tenant, plan, actor="command line")
    click.echo("Written: " + (", ".join(f"{number} new {kind}" for kind, number in new.items()) or "nothing") + ".")
    if data_import.is_test(tenant):
        click.echo(
            "This business is in test mode: balances and past payments count as test money. Bring the same files again"
            " once it takes real money. Open invoices are then asked for with real money by themselves."
        )


@main.group()
def simulate() -> None:
    """M-Pesa's callbacks without M-Pesa, for test money only."""


@simulate.command("stk")
@click.argument("slug")
@click.argument("what")
@click.option("--phone", required=True, help="Who pays, such as 0712345678.")
@click.option("--result", "code", default="0", help="M-Pesa's result code: 0 paid, 1032 cancelled, 1 no funds, ...")
@_in_app
def simulate_stk(slug: str, what: str, phone: str, code: str) -> None:
    """Answer the prompt of an invoice, a payment, or a package (by its name)."""
    from portal.kernel.phone import normalise_msisdn
    from portal.operations import callback_simulation
    from portal.tenants import find

    reference, receipt = callback_simulation.answer_prompt(
        find.by_slug(slug), what, msisdn=normalise_msisdn(phone), code=code.strip()
    )
    click.echo(f"{reference}: {f'paid, receipt {receipt}' if receipt else f'result {code}'}. A worker settles it.")


@simulate.command("c2b")
@click.argument("slug")
@click.argument("account")
@click.argument("amount")
@click.option("--phone", required=True, help="Who pays, such as 0712345678.")
@_in_app
def simulate_c2b(slug: str, account: str, amount: str, phone: str) -> None:
    """Pay the default gateway by hand, with this account number."""
    from portal.kernel import money
    from portal.kernel.phone import normalise_msisdn
    from portal.operations import callback_simulation
    from portal.tenants import find

    receipt = callback_simulation.pay_by_hand(
        find.by_slug(slug), account=account, amount_cents=money.cents(amount), msisdn=normalise_msisdn(phone)
    )
    click.echo(f"Receipt {receipt}. A worker settles it.")


@main.group()
def inbox() -> None:
    """Callbacks as they came."""


@inbox.command("replay")
@click.argument("item_ids", nargs=-1, type=int)
@click.option("--dead", is_flag=True, help="Every one that was given up.")
@_in_app
def inbox_replay(item_ids: tuple[int, ...], dead: bool) -> None:
    """Settle callbacks again: those named, or all that were given up. Settling twice changes nothing."""
    from sqlalchemy import select

    from portal.kernel import queue
    from portal.kernel.db import db, transaction
    from portal.payments.inbox.inbox import replay
    from portal.payments.models import InboxItem

    with transaction():
        wanted = list(item_ids)
        if dead:
            wanted += db.session.scalars(select(InboxItem.id).where(InboxItem.state == InboxState.DEAD)).all()
        for item_id in wanted:
            replay(item_id)
    queue.ring(queue.DRAIN)
    click.echo(f"{len(wanted)} callbacks are being settled again.")


@inbox.command("spool")
@_in_app
def inbox_spool() -> None:
    """Look again at what this machine's spool set aside, as after a key was added: the scheduler takes it in."""
    from flask import current_app

    from portal.payments.inbox.spool import Spool

    spool: Spool = current_app.extensions["spool"]
    spool.retry()
    click.echo(f"{spool.depth()} callbacks wait on this machine's disk.")


@main.group()
def keys() -> None:
    """Keys of the data at rest."""


@keys.command("rotate")
@_in_app
def keys_rotate() -> None:
    """Seal everything anew under the first key of PORTAL_DATA_KEYS."""
    from portal.operations.rotation import rotate

    click.echo(f"{rotate()} values are sealed under the newest key now.")


@main.group()
def sms() -> None:
    """M-Pesa messages."""


@sms.command("parse")
def sms_parse() -> None:
    """Read an M-Pesa message from standard input; print JSON."""
    from portal.payments.sms.parser import parse_sms, to_json_dict

    text = sys.stdin.buffer.read(65_536).decode("utf-8", "replace")
    click.echo(json.dumps(to_json_dict(parse_sms(text)), ensure_ascii=False))
