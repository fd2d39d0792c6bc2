"""People who sign in."""

from typing import Any

import click

from portal.cli.running import fail, in_app

_ROLES = ["tenant_admin", "receptionist", "clinician", "accountant", "seller", "patient"]


@click.group()
def user() -> None:
    """People who sign in."""


@user.command("create")
@click.argument("email")
@click.option("--name", required=True)
@click.option("--tenant", "slug", help="Whose staff; none for a platform administrator.")
@click.option("--role", type=click.Choice(_ROLES))
@click.password_option()
@in_app
def user_create(email: str, name: str, slug: str | None, role: str | None, password: str) -> None:
    """Create a person with a role in a tenant."""
    from portal.kernel.db import transaction
    from portal.tenants import find
    from portal.users import credentials

    if bool(slug) != bool(role):
        fail("Give both --tenant and --role, or neither for a platform administrator.")
    with transaction():
        person = credentials.add_user(email=email, name=name, password=password, is_platform_admin=slug is None)
        if slug and role:
            credentials.add_role(person, find.by_slug(slug).id, role)
    click.echo(f"{email} can sign in.")


@user.command("password")
@click.argument("email")
@click.option("--link", "is_link", is_flag=True, help="Print a link that works once, instead of setting one here.")
@in_app
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
@in_app
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
@in_app
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
@in_app
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


COMMANDS = (user,)
