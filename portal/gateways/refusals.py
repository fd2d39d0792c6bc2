"""A gateway whose prompts M-Pesa refuses for its own settings: marked until it takes one again, or somebody mends it.

The payer cannot help it and is told so; the mark is how the staff and the night watch learn of it.
"""

from sqlalchemy import update

from portal.audit import chain
from portal.gateways import daraja
from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db

_OF_THE_PAYER = ("PhoneNumber", "PartyA", "Amount")


def is_ours(error: daraja.DarajaError) -> bool:
    """Whether it was refused for the gateway's settings: its keys, passkey, shortcode, product or addresses."""
    if isinstance(error, daraja.Rejected):
        return error.field not in _OF_THE_PAYER
    return isinstance(error, daraja.SignOnFailed | daraja.ConfigurationRefused)


def note(gateway: Gateway, why: str) -> None:
    """Mark it, once. The caller commits."""
    marked = (
        update(Gateway)
        .where(Gateway.id == gateway.id, Gateway.refused_at.is_(None))
        .values(refused_at=clock.now(), refused_why=why[:300])
        .returning(Gateway.id)
    )
    if db.session.execute(marked).scalar() is not None:
        chain.record(gateway.tenant_id, "gateway", gateway.id, "refused", actor="daraja", why=why[:300])


def forget(gateway_id: int) -> None:
    """M-Pesa took a prompt of it, or its settings were changed. The caller commits."""
    db.session.execute(update(Gateway).where(Gateway.id == gateway_id).values(refused_at=None, refused_why=""))
