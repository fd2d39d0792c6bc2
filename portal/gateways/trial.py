"""Trying a gateway out: each step, whether it worked, and exactly what is wrong (property 41)."""

from dataclasses import dataclass

from portal import clock
from portal.gateways import daraja
from portal.gateways.models import Gateway


@dataclass(frozen=True)
class Step:
    """One thing that was tried."""

    label: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Trial:
    """All that was tried, in order. message: the one sentence an administrator needs."""

    ok: bool
    message: str
    steps: tuple[Step, ...]


def run(client: daraja.DarajaClient, *, environment: str) -> Trial:
    """Sign on, then ask about a push that does not exist: proves keys, and shortcode with passkey. No money moves.

    Called without a transaction: it waits on the network.
    """
    server = environment.upper()
    try:
        client.test_connection()
    except daraja.DarajaError as error:
        return Trial(False, error.message, (Step("Sign-on with consumer key and secret", False, error.message),))
    signed_on = Step("Sign-on with consumer key and secret", True, f"The {server} server gave a token.")
    try:
        answer = client.stk_query("ws_CO_000000000000000000000000000")
        unclear = "M-Pesa gave no readable answer. Try again in a minute." if not answer.result_code else ""
    except daraja.Rejected:
        unclear = ""  # it does not know that push, which is right: shortcode and passkey were read first
    except daraja.DarajaError as error:
        unclear = error.message
    if unclear:
        return Trial(False, unclear, (signed_on, Step("Shortcode and passkey", False, unclear)))
    both = (
        signed_on,
        Step("Shortcode and passkey", True, "M-Pesa knows this shortcode and took the passkey."),
    )
    return Trial(True, f"Connected to the {server} server. Keys, shortcode and passkey are right.", both)


def remember(gateway: Gateway, trial: Trial) -> None:
    """Keep the outcome for the gateway's page. The caller commits."""
    gateway.tested_at, gateway.test_passed, gateway.test_message = clock.now(), trial.ok, trial.message[:300]
