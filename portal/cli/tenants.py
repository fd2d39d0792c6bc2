"""Tenants, and what they bring from an earlier system."""

from typing import Any

import click

from portal.cli.running import fail, in_app


@click.group()
def tenant() -> None:
    """Tenants."""


@tenant.command("create")
@click.argument("slug")
@click.option("--name", required=True)
@click.option("--clinic", is_flag=True)
@click.option("--hotspot", is_flag=True)
@click.option("--colour", default="#0b5d4b")
@in_app
def tenant_create(slug: str, name: str, clinic: bool, hotspot: bool, colour: str) -> None:
    """Create a tenant: a clinic, a hotspot, or both."""
    from portal.kernel.db import transaction
    from portal.tenants.create import create

    with transaction():
        create(slug=slug, name=name, is_clinic=clinic, is_hotspot=hotspot, colour=colour)
    click.echo(f"Tenant {slug} is there.")


@click.command("import")
@click.argument("slug")
@click.option("--customers", type=click.File("rb"), help="name, phone, balance")
@click.option("--invoices", type=click.File("rb"), help="number, name, phone, description, amount")
@click.option("--transactions", type=click.File("rb"), help="receipt, amount, phone, account, time")
@click.option("--write", "is_for_real", is_flag=True, help="Write it. Without this everything is checked only.")
@in_app
def import_files(slug: str, is_for_real: bool, **given: Any) -> None:
    """Bring customers, balances, open invoices and past payments from an earlier system's CSV files."""
    from portal.operations import data_import
    from portal.tenants import find

    tenant = find.by_slug(slug)
    plan = data_import.check(tenant, {kind: file.read() for kind, file in given.items() if file is not None})
    if plan.problems:
        more = len(plan.problems) - data_import.MOST_PROBLEMS
        fail(
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


COMMANDS = (
    tenant,
    import_files,
)
