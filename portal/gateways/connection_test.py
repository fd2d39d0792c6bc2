"""Trying a gateway out: each step, whether it worked, and exactly what is wrong (property 41).

A server that knows no such prompt may say so before it looks at the passkey, or without ever looking. So it is asked
twice, with the gateway's passkey and with one that is certainly wrong: only a server that refuses the wrong one and
takes ours has proved ours. Any other answer proves no more than the sign-on, and the page says so.
"""

import secrets
from dataclasses import dataclass

from portal.audit import chain
from portal.gateways import client_factory, daraja, settings
from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction

NOBODYS_PROMPT = "ws_CO_000000000000000000000000000"
# What a server names when it refuses who asks, and not what is asked about.
_OF_WHO_ASKS = ("Password", "BusinessShortCode", "Timestamp", "Passkey")
_NOT_PROVEN = "Shortcode and passkey are not proven"


@dataclass(frozen=True)
class Step:
    """One thing that was tried. ok: None where the answer proves neither."""

    label: str
    ok: bool | None
    detail: str


@dataclass(frozen=True)
class Trial:
    """All that was tried, in order. message: the one sentence an administrator needs. ok: nothing was refused."""

    ok: bool
    message: str
    steps: tuple[Step, ...]

    @property
    def proves_all(self) -> bool:
        return all(step.ok for step in self.steps)


def try_out(tenant_id: int, uid: str, *, actor: str) -> Trial:
    """Try one gateway against its server and remember the outcome. No money moves.

    Opens its own transaction, none while it waits. Raises NotFound; Conflict where it has no API.
    """
    gateway = settings.require_api(settings.get_by_uid(tenant_id, uid))
    client, environment = client_factory.client_for(gateway), gateway.environment
    db.session.remove()
    trial = run(client, environment=environment)
    with transaction():
        gateway = settings.get_by_uid(tenant_id, uid)
        remember(gateway, trial)
        chain.record(tenant_id, "gateway", gateway.id, "tested", actor=actor, new="passed" if trial.ok else "failed")
    return trial


def run(client: daraja.DarajaClient, *, environment: str) -> Trial:
    """Sign on, then ask about a push that does not exist, with our passkey and with a wrong one. No money moves.

    Called without a transaction: it waits on the network.
    """
    server = environment.upper()
    try:
        client.test_connection()
    except daraja.DarajaError as error:
        return Trial(False, error.message, (Step("Sign-on with consumer key and secret", False, error.message),))
    signed_on = Step("Sign-on with consumer key and secret", True, f"The {server} server gave a token.")
    ours = _asked(client)
    if ours.refusal or ours.silence:
        sentence = f"{ours.refusal or ours.silence} {_NOT_PROVEN}."
        return Trial(False, sentence, (signed_on, Step("Shortcode and passkey", False, sentence)))
    if _asked(client, passkey=secrets.token_hex(32)).refusal:
        proved = Step("Shortcode and passkey", True, "M-Pesa took the passkey, and refused a wrong one.")
        sentence = f"Connected to the {server} server. Keys, shortcode and passkey are right."
        return Trial(True, sentence, (signed_on, proved))
    why = f"{_NOT_PROVEN}: this server answers a wrong passkey alike. A prompt to your own phone proves them."
    sentence = f"Connected to the {server} server: consumer key and secret are right. {why}"
    return Trial(True, sentence, (signed_on, Step("Shortcode and passkey", None, why)))


@dataclass(frozen=True)
class _Heard:
    """A server's answer to who asks. Neither: it took us, or never looked."""

    refusal: str = ""
    silence: str = ""


def _asked(client: daraja.DarajaClient, *, passkey: str | None = None) -> _Heard:
    try:
        answer = client.stk_query(NOBODYS_PROMPT, passkey=passkey)
    except daraja.ConfigurationRefused as error:
        return _Heard(refusal=error.message)
    except daraja.Rejected as error:
        if error.field in _OF_WHO_ASKS:
            return _Heard(refusal=error.message)
        return _Heard() if error.code else _Heard(silence=error.message)
    except daraja.DarajaError as error:
        return _Heard(silence=error.message)
    return _Heard() if answer.result_code else _Heard(silence="M-Pesa gave no readable answer. Try again in a minute.")


def remember(gateway: Gateway, trial: Trial) -> None:
    """Keep the outcome for the gateway's page. The caller commits."""
    gateway.tested_at, gateway.test_message = clock.now(), trial.message[:300]
    gateway.test_passed = None if trial.ok and not trial.proves_all else trial.ok
    if trial.proves_all:
        gateway.refused_at, gateway.refused_why = None, ""
