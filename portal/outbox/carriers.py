"""What a carrier of effects may answer beside the provider's id: that it could not, and whether to try later."""

from portal.kernel.errors import PortalError


class CannotCarry(PortalError):
    """The message did not go. is_permanent: no later try can help."""

    def __init__(self, message: str, *, is_permanent: bool) -> None:
        super().__init__(message)
        self.is_permanent = is_permanent


class NothingToCarryWith(PortalError):
    """No mail server, or no SMS account, is configured."""
