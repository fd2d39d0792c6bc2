"""Rate limits, counted in Redis. Without Redis nothing is limited here: money's own rules stand in the database."""

import ipaddress
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, current_app, g, request
from flask_babel import gettext as _
from flask_limiter import Limiter
from limits import parse
from limits.strategies import MovingWindowRateLimiter

from portal.errors import CoolDown

View = Callable[..., Any]
STANDARD, REFUNDS = "100 per 15 minutes", "10 per 15 minutes"  # a principal's, over every door together
SIGN_INS = "20 per 5 minutes"  # a network's; each account's own count stands beside it
_PASTES = parse("30 per 15 minutes")


def network() -> str:
    """Where this request comes from, as limits count it: an IPv4 address, or the /64 that one household has."""
    try:
        address = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


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


def limit_pastes(tenant_id: int, device: str) -> None:
    """Count one look at a pasted message or code. Raises CoolDown for who guesses."""
    try:
        is_within = MovingWindowRateLimiter(limiter.storage).hit(_PASTES, "paste", str(tenant_id), device)
    except Exception:
        current_app.logger.warning("limits away: pastes are not counted")
        return
    if not is_within:
        raise CoolDown(
            _("That was tried too often. Wait a quarter of an hour, or ask the staff."),
            retry_after_s=900,
            code="too_many_requests",
        )
