"""Test money and real money: each gateway speaks to its own M-Pesa with its own secrets."""

import pytest

from portal.gateways import client_factory, settings
from portal.kernel.db import db, transaction
from tests.support.product import Product

KEYS = ("consumerKey", "consumerSecret", "passkey")


@pytest.mark.property(77)
@pytest.mark.property(81)
def test_a_sandbox_gateway_never_speaks_to_real_m_pesa_nor_with_its_secrets(product: Product) -> None:
    tenant_id = product.tenant_id()
    with product.app.app_context(), transaction():
        made = {
            environment: settings.create(
                tenant_id,
                {"name": environment, "shortcode": "600333", "env": environment}
                | {name: f"{environment}-{name}" for name in KEYS},
                actor="test",
                is_fresh_signin=True,
            )
            for environment in ("sandbox", "production")
        }
        for environment, gateway in made.items():
            account = client_factory.account_of(gateway)
            assert account.base_url == client_factory.SAFARICOM[environment]
            assert (account.consumer_key, account.consumer_secret, account.passkey) == tuple(
                f"{environment}-{name}" for name in KEYS
            )
        assert (
            "sandbox" in client_factory.SAFARICOM["sandbox"] and "sandbox" not in client_factory.SAFARICOM["production"]
        )
        db.session.rollback()
