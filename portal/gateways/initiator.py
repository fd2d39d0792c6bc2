"""The initiator: the API user that pay-outs, reversals, status and balance questions are signed with.

M-Pesa locks it after a few wrong passwords, and then nothing goes out for days. So after its first complaint nothing
more is sent with it until an administrator looks (promise D7).
"""

from portal.audit import chain
from portal.gateways import result_codes
from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.errors import Conflict


def is_complete(gateway: Gateway) -> bool:
    """Whether it has a name and a security credential."""
    return bool(gateway.initiator_name and gateway.has_secret("security_credential"))


def can_ask(gateway: Gateway) -> bool:
    """Whether it is complete and may be used."""
    return is_complete(gateway) and gateway.initiator_halted_at is None


def refuse_if_halted(gateway: Gateway) -> None:
    """Raise Conflict where the initiator is missing, or was halted."""
    if not is_complete(gateway):
        raise Conflict(
            "This gateway has no initiator with a security credential; an administrator adds them in its settings.",
            code="no_initiator",
        )
    if gateway.initiator_halted_at is not None:
        raise Conflict(
            f"Nothing is sent with this initiator until an administrator looks: {gateway.initiator_halted_why}",
            code="initiator_halted",
        )


def note(gateway: Gateway, code: str, why: str) -> None:
    """Halt the initiator if M-Pesa's code is a complaint about it. The caller commits."""
    if code in result_codes.LOCKS_INITIATOR and gateway.initiator_halted_at is None:
        gateway.initiator_halted_at, gateway.initiator_halted_why = (
            clock.now(),
            f"M-Pesa said {code}: {why}"[:300],
        )
        chain.record(gateway.tenant_id, "gateway", gateway.id, "initiator_halted", actor="daraja", new=code, why=why)


def release_halted(gateway: Gateway, *, actor: str) -> None:
    """An administrator has looked: it is used again. The caller commits, then enqueues REQUESTS.

    Raises Conflict where it was not halted.
    """
    if gateway.initiator_halted_at is None:
        raise Conflict("This initiator is not halted.", code="not_halted")
    release(gateway, actor=actor)


def release(gateway: Gateway, *, actor: str) -> None:
    """It may be used (again): it was looked at, or is another one now. The caller commits."""
    if gateway.initiator_halted_at is not None:
        gateway.initiator_halted_at, gateway.initiator_halted_why = None, ""
        chain.record(gateway.tenant_id, "gateway", gateway.id, "initiator_released", actor=actor)
