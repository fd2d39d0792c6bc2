"""Whom a page trusts and what a browser may do with it: hosts, sessions, forged forms, headers; an id for each request.

The content security policy allows no inline script and no inline style; a tenant's colour comes as a stylesheet of
its own. Pages behind a sign-in are protected against forged requests; the payers' forms, which carry no authority and
must work without cookies, are exempt by the list in CSRF_EXEMPT.
"""

import secrets
from urllib.parse import urlsplit

from flask import Flask, Request, Response, abort, current_app, g, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask_wtf.csrf import CSRFProtect

from portal.kernel import logs
from portal.kernel.config import Config
from portal.web.errors import route

csrf = CSRFProtect()
HTTPS_FOR_S = 31_536_000
# The payers' doors: no cookie, no authority, an idempotency key in each form. Bearer tokens guard the API.
CSRF_EXEMPT = frozenset(
    {"hotspot.buy", "hotspot.paste", "hotspot.redeem", "hotspot.by_number", "hotspot.connect_device",
     "hotspot.line", "hotspot.line_pay", "hotspot.lost", "hotspot.rejoin", "hotspot.act", "hotspot.trial",
     "hotspot.start_trial",
     "pay.push", "hooks.stk", "hooks.c2b_validation",
     "booking.book", "booking.confirm", "booking.cancel", "booking.move", "booking.take", "booking.money_back",
     "booking.join", "booking.prove", "booking.cancel_series", "booking.withdraw", "clinic.knock",
     "hooks.confirmation", "hooks.legacy_stk", "hooks.legacy_validation", "hooks.legacy_confirmation",
     "hooks.result", "hooks.timeout", "routers.heartbeat", "sms.delivery", "sms.incoming_sms",
     "routers.ask"}
)  # fmt: skip


def set_up(app: Flask) -> None:
    """Guard the app's sessions, forms and hosts, and send its headers."""
    csrf.init_app(app)
    app.session_interface = Sessions()
    app.before_request(_begin)
    app.after_request(_send_headers)
    app.teardown_request(lambda _error: logs.clear())


class Sessions(SecureCookieSessionInterface):
    """Flask's own; without a cookie, as callbacks and captive browsers come, no signature is prepared to check one."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if app.secret_key and self.get_cookie_name(app) not in request.cookies:
            return self.session_class()
        return super().open_session(app, request)


def _begin() -> None:
    g.request_id = request_id(request.headers.get("X-Request-ID", ""))
    logs.clear()
    logs.bind(request_id=g.request_id)
    _refuse_foreign_host()


def request_id(given: str) -> str:
    """The id that a proxy gave this request, or a new one."""
    return given[:40] if given.replace("-", "").isalnum() else secrets.token_hex(8)


# Asked by machines inside, which know the process by its address.
_ANY_HOST = frozenset({"operations.healthz", "operations.readyz", "operations.metrics"})


def _refuse_foreign_host() -> None:
    """PUBLIC_URL says what this product is called: in production no other name is answered."""
    if is_our_name(request.host, current_app.config["PORTAL"]) or request.endpoint in _ANY_HOST:
        return
    logs.logger.warning("foreign_host", door=route())
    abort(421)


def is_our_name(host: str, config: Config) -> bool:
    """Whether who asked for this host may be answered: for any of them while developing."""
    asked = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    return config.development or asked == urlsplit(config.public_url).hostname


def _send_headers(response: Response) -> Response:
    headers = response.headers
    headers["X-Request-ID"] = g.get("request_id", "")
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "no-referrer")
    headers.setdefault("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
    forms = "'self' http: https:" if g.get("posts_to_router") else "'self'"
    headers.setdefault(
        "Content-Security-Policy",
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        f"form-action {forms}; frame-ancestors 'none'; base-uri 'none'",
    )
    if current_app.config["PORTAL"].public_url.startswith("https"):
        headers.setdefault("Strict-Transport-Security", f"max-age={HTTPS_FOR_S}; includeSubDomains")
    if not headers.get("Cache-Control"):
        headers["Cache-Control"] = "no-store"
    return response
