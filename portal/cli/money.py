"""Money: the books and the audit proved, statements compared, callbacks settled again, messages read."""

import json
import sys
from pathlib import Path

import click

from portal.cli.running import fail, in_app


@click.group()
def ledger() -> None:
    """The ledger."""


@ledger.command("check")
@in_app
def ledger_check() -> None:
    """Prove that journals sum to zero and that money is where the payments say; exit code 1 if not."""
    from portal.payments.integrity import problems

    found = problems()
    for sentence in found:
        click.echo(sentence)
    if found:
        raise SystemExit(1)
    click.echo("Every journal sums to zero, and every shilling is where the books say.")


@click.group()
def audit() -> None:
    """The audit trail."""


@audit.command("verify")
@in_app
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


@click.command("reconcile")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--tenant", "slug", default="", help="Whose statement it is; default: whose shortcode it names.")
@click.option("--gateway", "gateway_id", default="", help="Of that tenant's gateways; default: its default one.")
@click.option("--accept", "is_accepted", is_flag=True, help="Book what was missing. Without this it is compared only.")
@in_app
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
        fail("Give --tenant with --gateway.")
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
        fail(*map(str, error.problems))
        return
    made_id = runs.run(gateway.id, statement, user_id=None, actor="command line")
    if is_accepted:
        _accept_statement(made_id)
    counts = runs.counts_by_id(made_id)
    for bucket, number in counts.items():
        click.echo(f"{bucket:<14}{number:>8}")
    if runs.is_draft(made_id):
        click.echo(f"Nothing was booked. {counts[CREATED]} payments are missing here: book them with --accept.")
    queue.enqueue(queue.PAID)
    if runs.differences_in(counts):
        raise SystemExit(1)


def _accept_statement(made_id: int) -> None:
    from portal.kernel.errors import Conflict
    from portal.reconciliation import runs

    try:
        runs.accept(made_id, user_id=None, actor="command line")
    except Conflict as error:
        fail(f"Nothing was booked. {error.message}")


@click.group()
def inbox() -> None:
    """Callbacks as they came."""


@inbox.command("replay")
@click.argument("item_ids", nargs=-1, type=int)
@click.option("--dead", is_flag=True, help="Every one that was given up.")
@in_app
def inbox_replay(item_ids: tuple[int, ...], dead: bool) -> None:
    """Settle callbacks again: those named, or all that were given up. Settling twice changes nothing."""
    from sqlalchemy import select

    from portal.kernel import queue
    from portal.kernel.db import db, transaction
    from portal.payments.inbox.inbox import replay
    from portal.payments.models import InboxItem
    from portal.payments.states import InboxState

    with transaction():
        wanted = list(item_ids)
        if dead:
            wanted += db.session.scalars(select(InboxItem.id).where(InboxItem.state == InboxState.DEAD)).all()
        for item_id in wanted:
            replay(item_id)
    queue.enqueue(queue.DRAIN)
    click.echo(f"{len(wanted)} callbacks are being settled again.")


@inbox.command("spool")
@in_app
def inbox_spool() -> None:
    """Look again at what this machine's spool set aside, as after a key was added: the scheduler takes it in."""
    from flask import current_app

    from portal.payments.inbox.spool import Spool

    spool: Spool = current_app.extensions["spool"]
    spool.retry()
    click.echo(f"{spool.depth()} callbacks wait on this machine's disk.")


@click.group()
def sms() -> None:
    """M-Pesa messages."""


@sms.command("parse")
def sms_parse() -> None:
    """Read an M-Pesa message from standard input; print JSON."""
    from portal.payments.sms.parser import parse_sms, to_json_dict

    text = sys.stdin.buffer.read(65_536).decode("utf-8", "replace")
    click.echo(json.dumps(to_json_dict(parse_sms(text)), ensure_ascii=False))


COMMANDS = (
    ledger,
    audit,
    reconcile_file,
    inbox,
    sms,
)
