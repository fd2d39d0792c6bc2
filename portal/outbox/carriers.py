"""What a carrier of effects answers: the provider's id and price, or that it could not, and whether to try later."""

from dataclasses import dataclass

from portal.kernel.errors import PortalError


@dataclass(frozen=True)
class Carried:
    """It went. provider_id: the provider's name for it; cost_cents: what it cost, where the provider says."""

    provider_id: str
    cost_cents: int | None = None


class CannotCarry(PortalError):
    """The message did not go. is_permanent: no later try can help."""

    def __init__(self, message: str, *, is_permanent: bool) -> None:
        super().__init__(message)
        self.is_permanent = is_permanent


class NothingToCarryWith(PortalError):
    """No mail server, or no SMS account, is configured."""
