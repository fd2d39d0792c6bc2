"""The sources' one-gateway configuration: MPESA_* variables become a gateway of the first tenant, once (promise G4)."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from portal.gateways import settings
from portal.gateways.models import Gateway
from portal.kernel import vault
from portal.kernel.db import db, transaction
from portal.kernel.errors import Refused
from portal.kernel.logs import logger
from portal.tenants.create import create
from portal.tenants.models import Tenant

SHORTCODE = ("MPESA_SHORTCODE", "MPESA_BUSINESS_SHORT_CODE")
ENVIRONMENT = ("MPESA_ENVIRONMENT", "MPESA_ENV")


def _first(env: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((env[name].strip() for name in names if env.get(name, "").strip()), "")


def adopt(env: Mapping[str, str]) -> bool:
    """Make the gateway if the variables name one and no tenant has any yet. Raises Refused if it is incomplete.

    Of several processes that start at once, one makes it.
    """
    try:
        return _adopt(env)
    except (IntegrityError, Refused):  # another made the first tenant between our look and our word
        return _adopt(env)


def _adopt(env: Mapping[str, str]) -> bool:
    with transaction():
        tenant = db.session.scalars(select(Tenant).order_by(Tenant.id).limit(1)).first()
        if key := env.get("MPESA_WEBHOOK_KEY", "").strip():
            tenant = tenant or _first_tenant()
            tenant.webhook_key_hash = vault.digest(key)
        if base_url := env.get("VIRTUAL_MEETING_BASE_URL", "").strip():
            tenant = tenant or _first_tenant()
            tenant.meeting_base_url = tenant.meeting_base_url or base_url
        if tenant is not None:
            db.session.execute(select(Tenant.id).where(Tenant.id == tenant.id).with_for_update())
        is_there = db.session.scalar(select(Gateway.id).limit(1)) is not None
        if is_there or not env.get("MPESA_CONSUMER_KEY"):
            return False
        tenant = tenant or _first_tenant()
        settings.create(
            tenant.id,
            {
                "name": "M-Pesa",
                "shortcode": _first(env, SHORTCODE),
                "consumerKey": env.get("MPESA_CONSUMER_KEY", ""),
                "consumerSecret": env.get("MPESA_CONSUMER_SECRET", ""),
                "passkey": env.get("MPESA_PASSKEY", ""),
                "initiatorName": env.get("MPESA_INITIATOR_NAME", ""),
                "securityCredential": env.get("MPESA_SECURITY_CREDENTIAL", ""),
                "env": _first(env, ENVIRONMENT) or "sandbox",
                "isDefault": True,
                "forClinic": tenant.is_clinic,
                "forHotspot": tenant.is_hotspot,
            },
            actor="environment",
            is_fresh_signin=True,  # who writes the environment of this machine
        )
    logger.info("gateway_adopted", host=urlsplit(env.get("MPESA_CALLBACK_URL", "")).hostname or "")
    return True


def _first_tenant() -> Tenant:
    return create(slug="main", name="Main", is_clinic=True, is_hotspot=True)
