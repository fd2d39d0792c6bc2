"""Confirmations of money at addresses that prove nothing: those of the source documents, and of retired tokens.

Anybody can send one, and M-Pesa may. So each is kept before it is acknowledged, as a `claim`: it books nothing until
M-Pesa, asked about its receipt, says the same, or, where M-Pesa cannot be asked, a person does. What is acknowledged is
never dropped; what is too much is refused, so that M-Pesa would send it again.

Decided: what a stranger can make us keep is bounded by network, by gateway and by receipt, and bounds only what comes
from unlisted addresses: a flood of forgeries shuts out no word of Safaricom's own.
"""

import ipaddress

from sqlalchemy import literal_column, or_, select

from portal.gateways import initiator, messages
from portal.gateways.models import Gateway
from portal.kernel.db import db
from portal.kernel.logs import logger
from portal.payments import matching
from portal.payments.models import OPEN_CLAIM, InboxItem

MOST_OF_A_NETWORK, MOST_OF_A_GATEWAY = 40, 400  # undecided ones
MOST_OF_A_RECEIPT = 3  # a forged one must not shut out the true one


def read(body: bytes) -> messages.C2bPayment | None:
    """What such a confirmation says; None where M-Pesa cannot have written it."""
    try:
        paid = messages.parse_c2b(messages.read_json(body))
    except messages.Malformed:
        return None
    return paid if messages.looks_like_receipt(paid.receipt) else None


def gateway_of(paid: messages.C2bPayment) -> Gateway | None:
    """The gateway that could have been paid: of one tenant's, one that can ask M-Pesa before one that cannot.

    Of several tenants' with this number, that of the one who knows the account; None where none or several do.
    """
    own = select(Gateway).where(
        or_(Gateway.shortcode == paid.shortcode, Gateway.store_number == paid.shortcode),
        Gateway.archived_at.is_(None),
        Gateway.kind == "MPESA_API",
    )
    found = list(db.session.scalars(own.order_by(Gateway.id)))
    owners = {(one.tenant_id, one.environment) for one in found}
    if len(owners) > 1:
        found = [one for one in found if matching.payment_of(one, paid.account) is not None]
        owners = {(one.tenant_id, one.environment) for one in found}
    if len(owners) != 1:
        if owners:
            logger.error("claim_of_several_businesses", shortcode=paid.shortcode)
        return None
    return next((one for one in found if initiator.can_ask(one)), found[0])


def is_too_much(gateway_id: int, remote_address: str, receipt: str, *, is_production: bool) -> bool:
    """Whether as many wait already as strangers may leave: of this network, of this gateway, of this receipt."""
    waiting = select(InboxItem.remote_address, InboxItem.receipt).where(
        InboxItem.gateway_id == gateway_id, literal_column(OPEN_CLAIM), InboxItem.is_foreign.is_(is_production)
    )
    left = db.session.execute(waiting.limit(MOST_OF_A_GATEWAY)).all()
    of_network = sum(_network(address) == _network(remote_address) for address, _receipt in left)
    of_receipt = sum(named == receipt for _address, named in left)
    return len(left) >= MOST_OF_A_GATEWAY or of_network >= MOST_OF_A_NETWORK or of_receipt >= MOST_OF_A_RECEIPT


def _network(address: str) -> str:
    """What one subscriber has: an IPv4 address, or an IPv6 /64."""
    try:
        caller = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(caller, ipaddress.IPv6Address) and caller.ipv4_mapped is None:
        return str(ipaddress.ip_network((caller, 64), strict=False))
    return str(getattr(caller, "ipv4_mapped", None) or caller)
