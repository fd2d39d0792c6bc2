"""Rate limits of the doors, counted in Redis. Without it nothing is limited here: money has rules of its own.

Wrong guesses are counted for who cannot choose what they are counted by: the network. The site is told by whoever asks,
and only adds a limit. Decided: nobody is refused because a site was guessed at too often, for that a stranger far away
brings about by its name, and its customers would stand outside. While more is guessed at one site than a busy hotspot's
own customers do behind their one address, each network has a third of its steps left at this door; who has not guessed
comes in. Many machines with a few guesses each are slowed by that, and nobody makes another's network guess.
Who names no site, or one that is not there, counts at one place with all who do: inventing names opens no fresh count.
"""

import ipaddress
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, current_app, g, request
from flask_limiter import Limiter
from limits import RateLimitItem, parse
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter

from portal.kernel import personal
from portal.kernel.errors import CoolDown
from portal.kernel.errors import Sentence as _

View = Callable[..., Any]
STANDARD, REFUNDS = "100 per 15 minutes", "10 per 15 minutes"  # a principal's, over every door together
SIGN_INS = "20 per 5 minutes"  # a network's; each account's own count stands beside it
# Wrong guesses. The steps of a network: mistakes of a busy day behind one address pass, a machine's guesses do not.
_OF_NETWORK = (parse("60 per 15 minutes"), parse("240 per 6 hours"), parse("480 per day"))
_PART_LEFT = 3  # of a network's steps a third, while its site has been guessed at for a whole busy hotspot's
_OF_DEVICE = parse("30 per 15 minutes")
_NUMBERS = parse("5 per hour")  # at one payment's number, most of whose digits its page shows
_CODES_OF_PHONE = parse("8 per hour")  # sent to a phone that anybody may have named


def network() -> str:
    """Where this request comes from, as limits count it: an IPv4 address, or the /64 that one household has.

    Never empty, which would be nobody to count: what cannot be read as an address is one network together.
    """
    try:
        address = ipaddress.ip_address(_without_port(request.remote_addr or ""))
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)


def _without_port(text: str) -> str:
    """The address alone: some proxies forward it with its port."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


limiter = Limiter(
    key_func=lambda: "",
    headers_enabled=True,
    retry_after="delta-seconds",
    swallow_errors=True,
    strategy="moving-window",
)


def shared(limit: str, *, per: Callable[[], str], methods: list[str] | None = None) -> Callable[[View], View]:
    """One count for all that are under this limit, whichever door is used. per: whose count it is."""
    made: Callable[[View], View] = limiter.shared_limit(limit, scope=limit, key_func=per, methods=methods)
    return made


@limiter.request_filter
def _is_open_door() -> bool:
    """M-Pesa's callbacks and payers' pages have no limits here; to look for some costs a callback a tenth."""
    return request.blueprint in ("hooks", "pay")


def set_up(app: Flask) -> None:
    """Switch the limits on."""
    app.after_request(_only_who_must_wait)  # before the limiter's own, so that it runs after that
    RedisStorage.DEPENDENCIES = {"redis": RedisStorage.DEPENDENCIES["redis"]}  # not Valkey's client too: 8 MB
    limiter.init_app(app)


def _only_who_must_wait(response: Response) -> Response:
    """The limiter writes its own `Retry-After` on every answer: most have nothing to wait for, some something else."""
    if "retry_after_s" in g:
        response.headers["Retry-After"] = str(g.retry_after_s)
    elif response.status_code not in (429, 503):
        response.headers.pop("Retry-After", None)
    return response


def storage_url(redis_url: str) -> str:
    """Redis' address as the limits library writes it."""
    return redis_url.replace("unix://", "redis+unix://", 1) if redis_url.startswith("unix://") else redis_url


def refuse_guessers(what: str, tenant_id: int, *chosen: str, site_id: int | None = None) -> None:
    """Raise CoolDown where this network has guessed wrong too often at this tenant's doors.

    what: code, message, status or number: what is guessed at. chosen: what the sender tells of itself (a MAC address,
    a payment); it only adds limits of its own, for who tells something else each time is counted by the network.
    site_id: of the site that the sender's router names, None for one that is not there.
    """
    door = what, str(tenant_id)
    try:
        window = MovingWindowRateLimiter(limiter.storage)
        over = [step for step in _OF_NETWORK if _is_over(window, step, door, site_id)]
        over += [step for step, one in _of_chosen(what, chosen) if not window.test(step, *door, "chosen", one)]
    except Exception:
        current_app.logger.warning("limits away: guesses are not counted")
        return
    if over:
        wait_s = max(step.get_expiry() for step in over)
        raise CoolDown(
            _("That was tried too often. Wait a quarter of an hour, or ask the staff."),
            retry_after_s=min(wait_s, 900),
            code="too_many_requests",
        )


def wrong_guess(what: str, tenant_id: int, *chosen: str, site_id: int | None = None) -> None:
    """Count one wrong guess. Right ones are not counted: a busy hotspot's guests all come from one address."""
    door = what, str(tenant_id)
    counted = [(step, "network", network()) for step in _OF_NETWORK]
    counted += [(step, "site", str(site_id or "")) for step in _OF_NETWORK]
    counted += [(step, "chosen", one) for step, one in _of_chosen(what, chosen)]
    try:
        window = MovingWindowRateLimiter(limiter.storage)
        for step, *counts_by in counted:
            window.hit(step, *door, *counts_by)
    except Exception:
        current_app.logger.warning("limits away: guesses are not counted")


def _is_over(window: MovingWindowRateLimiter, step: RateLimitItem, door: tuple[str, str], site_id: int | None) -> bool:
    """Whether this network's guesses fill this step, or the part of it that is left while its site is guessed at."""
    guesses = step.amount - window.get_window_stats(step, *door, "network", network()).remaining
    if guesses < step.amount // _PART_LEFT:
        return False
    return guesses >= step.amount or not window.test(step, *door, "site", str(site_id or ""))


def _of_chosen(what: str, chosen: tuple[str, ...]) -> list[tuple[RateLimitItem, str]]:
    return [(_NUMBERS if what == "number" else _OF_DEVICE, one) for one in chosen if one]


def count_code(msisdn: str) -> None:
    """Count a code that is about to be sent to a phone which nobody has shown to be theirs. Raises CoolDown.

    A phone is one person's, whichever business is asked to send to it: each has a count of its own besides.
    """
    key = personal.prompt_key("codes", msisdn)
    try:
        window = MovingWindowRateLimiter(limiter.storage)
        if window.hit(_CODES_OF_PHONE, "codes", key):
            return
        wait_s = max(1, int(window.get_window_stats(_CODES_OF_PHONE, "codes", key).reset_time - time.time()) + 1)
    except Exception:
        current_app.logger.warning("limits away: codes are not counted")
        return
    raise CoolDown(
        _("This phone was sent many codes. Wait a little, then try again."),
        retry_after_s=wait_s,
        code="too_many_requests",
    )
