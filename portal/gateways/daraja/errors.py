"""What may go wrong, named for what the caller must do next; the tree is in the package's docstring."""

from typing import Any

from portal.kernel.errors import PortalError

THROTTLE_PAUSE_S = 30
BUSY_PHONE_S = 60


class DarajaError(PortalError):
    """Base.

    message: for an administrator, with the remedy. text: what M-Pesa said, without secrets and phone numbers.
    code: M-Pesa's errorCode or ResponseCode, empty if it gave none; http_status: None if there was no answer.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str = "",
        http_status: int | None = None,
        code: str = "",
        text: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.http_status = http_status
        self.code = code
        self.text = text
        self.request_id = request_id


class NotSent(DarajaError):
    """M-Pesa did nothing, certainly. It may be sent again once the cause is gone."""


class Unreachable(NotSent):
    """No connection, or no sign-on. Nothing was sent: try again later."""


class SignOnFailed(NotSent):
    """The consumer key and secret, or the app, were refused. An administrator must act."""


class ConfigurationRefused(NotSent):
    """A value in the gateway's settings is wrong or missing. An administrator must act."""


class Rejected(NotSent):
    """M-Pesa named a mistake in the request. `field`: M-Pesa's name for it, empty if it gave none."""

    def __init__(self, message: str, *, field: str = "", **known: Any) -> None:
        super().__init__(message, **known)
        self.field = field


class Throttled(NotSent):
    """Too many requests. `retry_after_s`: seconds to wait."""

    def __init__(self, message: str, *, retry_after_s: int = THROTTLE_PAUSE_S, **known: Any) -> None:
        super().__init__(message, **known)
        self.retry_after_s = retry_after_s


class SubscriberBusy(NotSent):
    """The phone has another M-Pesa session open. `retry_after_s`: seconds to wait."""

    retry_after_s = BUSY_PHONE_S


class OutcomeUnknown(DarajaError):
    """It may have happened. Ask M-Pesa; never send it again."""


class DuplicateConversation(OutcomeUnknown):
    """A request with this OriginatorConversationID exists. Look that one up; never pay again."""


class TokenRefused(NotSent):
    """The token, not the request: renewed and sent once more before anyone hears of it."""
