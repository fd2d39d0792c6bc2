"""Who a meeting is made with: simple, Jitsi, Google Meet or Zoom; adding another one is one module.

simple and jitsi need nobody's answer: their rooms are names that nobody can guess. google and zoom are asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from portal.kernel.errors import PortalError

KINDS = ("simple", "jitsi", "google", "zoom")
FALLBACKS = ("", "simple", "jitsi")  # those that cannot fail
Config = Mapping[str, Any]  # one provider's settings and credentials, as `settings` keeps them


@dataclass(frozen=True)
class Wish:
    """A meeting as it is wanted. request_id: the same on each try; tries: how often it was asked for before."""

    request_id: str
    title: str
    starts_at: datetime
    minutes: int
    external_id: str = ""
    tries: int = 0


@dataclass(frozen=True)
class Made:
    """A meeting as the provider has it. join_url: None while it is still being prepared there."""

    external_id: str
    join_url: str | None


class CannotMeet(PortalError):
    """The provider did not do it. is_permanent: no later try with these settings can help."""

    def __init__(self, message: str, *, is_permanent: bool = False) -> None:
        super().__init__(message)
        self.is_permanent = is_permanent


class Provider(Protocol):
    """A provider that is asked. Nothing here opens a transaction or touches the database; each raises CannotMeet."""

    def make(self, config: Config, wish: Wish) -> Made:
        """Make the meeting, or find the one that an earlier try made."""

    def change(self, config: Config, wish: Wish) -> Made:
        """Move the meeting `wish.external_id` to another time."""

    def cancel(self, config: Config, external_id: str) -> None:
        """Take it back; one that is gone already is well."""

    def host_url(self, config: Config, external_id: str, join_url: str) -> str:
        """Where the clinician goes in as host, fresh at each click."""

    def check(self, config: Config) -> None:
        """Ask whether our credentials hold. Nothing is made."""
