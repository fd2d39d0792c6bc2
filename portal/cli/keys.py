"""Keys: of a tenant's own programs, and of the data at rest."""

import click

from portal.cli.running import in_app


@click.group()
def key() -> None:
    """API keys of a tenant's own programs."""


@key.command("create")
@click.argument("slug")
@click.option("--name", required=True)
@in_app
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
@in_app
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
@in_app
def key_revoke(slug: str, number: int) -> None:
    """End a key, by its number in `portal key list`. It opens nothing from now on."""
    from portal.kernel.db import transaction
    from portal.tenants import find
    from portal.users import team

    tenant_id = find.by_slug(slug).id
    with transaction():
        name = team.revoke_key(tenant_id, number, actor="command line").name
    click.echo(f"The key {name} is revoked.")


@click.group()
def keys() -> None:
    """Keys of the data at rest."""


@keys.command("rotate")
@in_app
def keys_rotate() -> None:
    """Seal everything anew under the first key of PORTAL_DATA_KEYS."""
    from portal.operations.rotation import rotate

    click.echo(f"{rotate()} values are sealed under the newest key now.")


COMMANDS = (
    key,
    keys,
)
