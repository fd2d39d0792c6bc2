"""From a gateway's row to a Daraja client: the one place where sealed credentials are opened for use."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select

from portal.gateways.daraja import ConfigurationRefused, DarajaAccount, DarajaClient
from portal.gateways.daraja.connections import shared_session
from portal.gateways.models import Gateway
from portal.gateways.tokens import TokenStore
from portal.kernel import ports, vault
from portal.kernel.db import db
from portal.kernel.errors import Refused
from portal.kernel.errors import Sentence as _

SAFARICOM = {"sandbox": "https://sandbox.safaricom.co.ke", "production": "https://api.safaricom.co.ke"}
PURPOSES = {"clinic": Gateway.for_clinic, "hotspot": Gateway.for_hotspot, "pppoe": Gateway.for_pppoe}


@dataclass(frozen=True)
class Connections:
    """How this process reaches Daraja. sleep: the pause between two tries of a call, in seconds."""

    tokens: TokenStore
    is_development: bool  # servers beside us, such as the simulator, may be called
    sleep: Callable[[float], None]


def connections() -> Connections:
    """This process's own."""
    return ports.at_hand("daraja", Connections)


def account_of(gateway: Gateway) -> DarajaAccount:
    """The gateway as plain values, readable without a session."""
    return DarajaAccount(
        gateway_id=gateway.id,
        environment=gateway.environment,
        base_url=(gateway.base_url or SAFARICOM[gateway.environment]).rstrip("/"),
        consumer_key=gateway.secret("consumer_key"),
        consumer_secret=gateway.secret("consumer_secret"),
        shortcode=gateway.shortcode,
        store_number=gateway.store_number,
        account_number=gateway.account_number,
        sub_type=gateway.sub_kind,
        passkey=gateway.secret("passkey"),
        initiator_name=gateway.initiator_name,
        security_credential=gateway.secret("security_credential") or None,
        b2c_shortcode=gateway.b2c_shortcode or gateway.shortcode,
    )


def client_for(gateway: Gateway) -> DarajaClient:
    """A client that speaks for this gateway. It holds no database connection.

    Raises ConfigurationRefused where its secrets cannot be opened: M-Pesa certainly heard nothing.
    """
    try:
        account = account_of(gateway)
    except vault.CannotOpen as error:
        raise ConfigurationRefused(
            "This gateway's secrets were sealed under a key that is not in PORTAL_DATA_KEYS. Put the key back, or "
            "enter the secrets again."
        ) from error
    ours = connections()
    session = shared_session(is_development=ours.is_development)
    return DarajaClient(account, ours.tokens, session=session, sleep=ours.sleep)


def environment_of(tenant_id: int, purpose: str = "") -> str:
    """Whether a tenant's money for a purpose is test money (`sandbox`) or real (`production`, also without gateway).

    The one rule, for every page and program: that of the gateway which would be used now.
    """
    try:
        return choose(tenant_id, purpose).environment
    except Refused:
        return "production"


def choose(tenant_id: int, purpose: str) -> Gateway:
    """The gateway for a purpose (`clinic`, `hotspot`, `pppoe`, `order`). Raises Refused where there is none.

    Of those with the purpose the default wins, else the newest; where none has it, the default.
    """
    mine = select(Gateway).where(Gateway.tenant_id == tenant_id, Gateway.archived_at.is_(None))
    ranked = mine.order_by(Gateway.is_default.desc(), Gateway.id.desc())
    if purpose in PURPOSES and (found := db.session.scalars(ranked.where(PURPOSES[purpose])).first()):
        return found
    if found := db.session.scalars(ranked.where(Gateway.is_default)).first():
        return found
    raise Refused(_("This business has not connected M-Pesa yet. Its administrator adds a gateway."), code="no_gateway")
