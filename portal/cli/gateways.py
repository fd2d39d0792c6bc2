"""Gateways, and M-Pesa's callbacks without M-Pesa."""

import click

from portal.cli.running import in_app


@click.group()
def gateway() -> None:
    """Gateways."""


@gateway.command("test")
@click.argument("slug")
@click.argument("gateway_id", required=False)
@in_app
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


@click.group()
def simulate() -> None:
    """M-Pesa's callbacks without M-Pesa, for test money only."""


@simulate.command("stk")
@click.argument("slug")
@click.argument("what")
@click.option("--phone", required=True, help="Who pays, such as 0712345678.")
@click.option("--result", "code", default="0", help="M-Pesa's result code: 0 paid, 1032 cancelled, 1 no funds, ...")
@in_app
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
@in_app
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


COMMANDS = (
    gateway,
    simulate,
)
