"""What every door shares: headers, languages, error pages, filters, and the word on who may pass.

The content security policy allows no inline script and no inline style; a tenant's colour comes as a stylesheet of
its own. Pages behind a sign-in are protected against forged requests; the payers' forms, which carry no authority and
must work without cookies, are exempt by the list in CSRF_EXEMPT.
"""

import gzip
import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from flask import (
    Flask,
    Request,
    Response,
    abort,
    current_app,
    g,
    has_request_context,
    jsonify,
    render_template,
    request,
)
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask_babel import Babel, get_locale, ngettext
from flask_babel import gettext as _
from flask_wtf.csrf import CSRFError, CSRFProtect
from sqlalchemy.exc import DataError, InterfaceError, OperationalError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from portal.kernel import clock, logs, money
from portal.kernel.db import db
from portal.kernel.errors import CoolDown, PortalError, Refused
from portal.kernel.paths import ROOT
from portal.web import language
from portal.web.language import said

csrf = CSRFProtect()
LOCALES = ("en", "sw")
STATIC = ROOT / "static"
GZIP_LEAST_BYTES = 600
YEAR_S = 31_536_000
# The payers' doors: no cookie, no authority, an idempotency key in each form. Bearer tokens guard the API.
CSRF_EXEMPT = frozenset(
    {"hotspot.buy", "hotspot.paste", "hotspot.redeem", "hotspot.by_number", "hotspot.connect_device",
     "pay.push", "hooks.stk", "hooks.validation",
     "hooks.confirmation", "hooks.legacy_stk", "hooks.legacy_validation", "hooks.legacy_confirmation",
     "hooks.result", "hooks.timeout"}
)  # fmt: skip


@cache
def htmx_file() -> tuple[str, bytes]:
    """(name with the content's hash, bytes gzipped) of the htmx that the wheel carries."""
    spec = find_spec("js_lib_htmx")
    folder = Path(next(iter(spec.submodule_search_locations or []))) if spec else Path()
    content = (folder / "static" / "htmx" / "htmx.min.js").read_bytes()
    return f"htmx.{hashlib.sha256(content).hexdigest()[:12]}.js", gzip.compress(content, 9, mtime=0)


@cache
def asset_hash(path: str) -> str:
    """Twelve digits that change with the file's content."""
    return hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:12]


def locale() -> str:
    """The language of this request: asked for in the address, else the browser's, else English; in a job, English."""
    if not has_request_context():
        return "en"
    if (asked := _asked_language()) in LOCALES:
        return asked
    # in the browser's own order: for `sw-KE,en` best_match() takes the `en` that it need not shorten
    wished = (value.partition("-")[0].lower() for value in request.accept_languages.values())
    return next((code for code in wished if code in LOCALES), "en")


def _asked_language() -> str:
    """What the address or the form asks for. A form too large to read asks for nothing: its error page is made."""
    try:
        return request.args.get("lang") or request.form.get("lang", "")
    except HTTPException:
        return ""


def lang_url(code: str) -> str:
    """This page in another language; after a form was sent, with what it carries along (`g.carried`).

    `g.page_path`: where the page is to be had, if not at the address that the form went to.
    """
    keep = [(key, value) for key, value in request.args.items(multi=True) if key not in ("lang", "v")]
    known = {key for key, _value in keep}
    keep += [(key, value) for key, value in g.get("carried", {}).items() if key not in known]
    path = str(g.get("page_path", request.path)).partition("?")[0]  # what `url_for` makes carries the language already
    return path + "?" + urlencode([*keep, ("lang", code)])


def grouped(code: str | None) -> str:
    """A code in groups that can be read out: `SKL1 ABCD 23`."""
    text = code or ""
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def when(at: datetime | None) -> str:
    """`21 Nov 2026, 15:42` on a Nairobi clock."""
    if at is None:
        return "–"
    local = clock.nairobi(at)
    months = _("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec").split()
    return f"{local.day} {months[local.month - 1]} {local.year}, {local:%H:%M}"


def clock_time(at: datetime | None) -> str:
    """`15:42` on a Nairobi clock."""
    return f"{clock.nairobi(at):%H:%M}" if at else "–"


def duration(seconds: float) -> str:
    """`1 hour`, `7 days`: the largest unit that fits."""
    minutes = max(0, int(seconds) // 60)
    if minutes and minutes % 1440 == 0:
        return ngettext("%(num)s day", "%(num)s days", minutes // 1440)
    if minutes and minutes % 60 == 0:
        return ngettext("%(num)s hour", "%(num)s hours", minutes // 60)
    if minutes > 60:
        hours = ngettext("%(num)s hour", "%(num)s hours", minutes // 60)
        return hours + " " + ngettext("%(num)s minute", "%(num)s minutes", minutes % 60)
    return ngettext("%(num)s minute", "%(num)s minutes", minutes)


def says_duration(name: str, seconds: float) -> bool:
    """Whether a package's name says its time already, in the reader's words: `7 days`, or `1 week`."""
    days = int(seconds) // 86_400
    in_weeks = ngettext("%(num)s week", "%(num)s weeks", days // 7) if days and days % 7 == 0 else ""
    return name.strip().casefold() in (duration(seconds).casefold(), in_weeks.casefold())


def data_size(size_bytes: int | None) -> str:
    """`5 GB`, `500 MB`."""
    if not size_bytes:
        return ""
    if size_bytes >= 10**9:
        return f"{size_bytes / 10**9:g} GB"
    return f"{size_bytes / 10**6:g} MB"


def wants_json() -> bool:
    """Whether the caller is a program."""
    return request.path.startswith(("/api/", "/hooks/"))


def set_up(app: Flask) -> None:
    """Give the app its headers, languages, filters and error pages."""
    Babel(
        app,
        locale_selector=locale,
        default_translation_directories=str(ROOT / "translations"),
    )
    language.set_up(app)
    csrf.init_app(app)
    filters: dict[str, Callable[..., str | bool]] = {
        "kes": money.format_kes,
        "when": when,
        "clock_time": clock_time,
        "duration": duration,
        "says_duration": says_duration,
        "data_size": data_size,
        "grouped": grouped,
    }
    for name, shown_as in filters.items():
        app.add_template_filter(shown_as, name)
    app.jinja_env.globals.update(lang_url=lang_url, asset=asset, htmx_url=f"/vendor/{htmx_file()[0]}")
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.context_processor(lambda: {"locale": str(get_locale() or "en"), "test_mode": False})
    app.url_defaults(_keep_language)
    app.session_interface = Sessions()
    app.before_request(_begin)
    app.after_request(_finish)
    app.teardown_request(lambda _error: logs.clear())
    app.add_url_rule("/vendor/<name>", "vendor", vendor)
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(CSRFError, forged)
    for away in (OperationalError, InterfaceError, NoConnectionFree):
        app.register_error_handler(away, _database_away)
    for beyond in (DataError, OverflowError, UnicodeEncodeError):
        app.register_error_handler(beyond, _beyond_bounds)
    app.register_error_handler(StatementError, _statement_failed)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _our_mistake)


class Sessions(SecureCookieSessionInterface):
    """Flask's own; without a cookie, as callbacks and captive browsers come, no signature is prepared to check one."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if app.secret_key and self.get_cookie_name(app) not in request.cookies:
            return self.session_class()
        return super().open_session(app, request)


def asset(path: str) -> str:
    """The address of one of our static files; it changes with its content, so it may be kept for ever."""
    return f"/static/{path}?h={asset_hash(path)}"


def _keep_language(_endpoint: str, values: dict[str, Any]) -> None:
    if has_request_context() and (asked := _asked_language()) in LOCALES:
        values.setdefault("lang", asked)


def _begin() -> None:
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given[:40] if given.replace("-", "").isalnum() else secrets.token_hex(8)
    logs.clear()
    logs.bind(request_id=g.request_id)
    _refuse_foreign_host()


# Asked by machines inside, which know the process by its address.
_ANY_HOST = frozenset({"operations.healthz", "operations.readyz", "operations.metrics"})


def _refuse_foreign_host() -> None:
    """PUBLIC_URL says what this product is called: in production no other name is answered."""
    config = current_app.config["PORTAL"]
    asked = (urlsplit(f"//{request.host}").hostname or "").rstrip(".")
    if config.development or asked == urlsplit(config.public_url).hostname or request.endpoint in _ANY_HOST:
        return
    logs.logger.warning("foreign_host", door=_door())
    abort(421)


def _finish(response: Response) -> Response:
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
        headers.setdefault("Strict-Transport-Security", f"max-age={YEAR_S}; includeSubDomains")
    if request.path.startswith("/static/"):
        headers["Cache-Control"] = f"public, max-age={YEAR_S if 'h' in request.args else 300}" + (
            ", immutable" if "h" in request.args else ""
        )
    elif not headers.get("Cache-Control"):
        headers["Cache-Control"] = "no-store"
    return _compress(response)


def _compress(response: Response) -> Response:
    """Gzip what strangers get. Never a page behind a sign-in: its size would tell of the secrets in it."""
    if (
        request.path.startswith(("/staff", "/login", "/account", "/password", "/api/"))
        or "gzip" not in request.headers.get("Accept-Encoding", "")
        or response.headers.get("Content-Encoding")
        or response.status_code not in (200, 422)
        or not (
            (response.mimetype or "").startswith("text/")
            or response.mimetype in ("application/javascript", "image/svg+xml")
        )
    ):
        return response
    response.direct_passthrough = False
    body = response.get_data()
    if len(body) >= GZIP_LEAST_BYTES:
        response.set_data(gzip.compress(body, 6, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
        response.headers.add("Vary", "Accept-Encoding")
    return response


def vendor(name: str) -> Response:
    """htmx, under a name that changes with its content."""
    known, packed = htmx_file()
    if name != known:
        return _page(404, _("Not here"), _("There is nothing at this address."))
    accepts = "gzip" in request.headers.get("Accept-Encoding", "")
    response = Response(packed if accepts else gzip.decompress(packed), mimetype="text/javascript")
    response.headers["Cache-Control"] = f"public, max-age={YEAR_S}, immutable"
    response.headers["Vary"] = "Accept-Encoding"
    if accepts:
        response.headers["Content-Encoding"] = "gzip"
    return response


def error_json(error: Refused) -> Response:
    """The API's error: `{"error", "message", "fields"?}`."""
    body: dict[str, Any] = {"error": error.code, "message": said(error.message)}
    if error.fields:
        body["fields"] = {name: said(sentence) for name, sentence in error.fields.items()}
    response = jsonify(body)
    response.status_code = error.status
    tell_wait(error)
    return response


def tell_wait(error: Refused) -> None:
    """Let the answer say when to come back, where that is what was refused: every 429 has a `Retry-After`."""
    if isinstance(error, CoolDown):
        g.retry_after_s = error.retry_after_s


def _refused(error: Refused) -> Response:
    db.session.rollback()
    if wants_json():
        return error_json(error)
    tell_wait(error)
    return _page(error.status, _headline(error.status), said(error.message))


def forged(error: CSRFError) -> Response:
    """The answer to a form without its token, or with another session's."""
    if wants_json():
        return error_json(Refused(error.description or "The form's token is missing.", code="csrf"))
    return _page(
        400,
        _("The page was open too long"),
        _("Nothing was changed. Load the page again, then repeat what you did."),
    )


def _database_away(error: SQLAlchemyError) -> Response:
    db.session.rollback()
    logs.logger.error("database_away", error=str(getattr(error, "orig", None) or type(error).__name__)[:200])
    response = _problem(
        503,
        _("One moment"),
        _("We cannot reach our records just now. Nothing was lost or charged twice. Try again in a minute."),
    )
    g.retry_after_s = 60
    return response


def _beyond_bounds(error: Exception) -> Response:
    """A value that no database or calendar can hold is the caller's: each door says more where it can."""
    db.session.rollback()
    logs.logger.warning("beyond_bounds", door=_door(), error=type(error).__name__)
    return _problem(
        422,
        _("Please check"),
        _("Something in this request is too long, too large, or not text. Nothing was changed."),
    )


def _statement_failed(error: StatementError) -> Response:
    is_beyond = isinstance(error.orig, OverflowError | UnicodeEncodeError)
    return _beyond_bounds(error) if is_beyond else _our_mistake(error)


def _door() -> str:
    """The address as its rule is written: what stands in its places may be a token."""
    return str(request.url_rule or request.path)


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    sentences = {
        404: _("There is nothing at this address. Check it, or go back to the start."),
        405: _("This address does not take that kind of request."),
        421: _("This product has another address. Ask whoever sent you here."),
        413: _("That is too much at once."),
        429: _("Too many requests. Wait a little, then try again."),
    }
    response = _problem(status, _headline(status), sentences.get(status, _("The request could not be understood.")))
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    if isinstance(getattr(error, "retry_after", None), int):
        response.headers["Retry-After"] = str(error.retry_after)  # type: ignore[attr-defined]
    return response


def _our_mistake(error: Exception) -> Response:
    db.session.rollback()
    if isinstance(error, StatementError):
        error.hide_parameters = True  # the values of a statement are people's and payments'
    logs.logger.error("our_mistake", door=_door(), error=repr(error)[:500], exc_info=not isinstance(error, PortalError))
    return _problem(
        500,
        _("Our mistake"),
        _("Something went wrong on our side. Nothing was lost. Try again, or tell us the number below."),
    )


def _headline(status: int) -> str:
    return {
        401: _("Please sign in"), 403: _("Not for this sign-in"), 404: _("Not here"), 409: _("Not possible now"),
        413: _("Too large"), 422: _("Please check"), 429: _("One moment"),
    }.get(status, _("That did not work"))  # fmt: skip


_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_value",
    429: "too_many_requests",
    503: "unavailable",
}


def _problem(status: int, headline: str, sentence: str) -> Response:
    if not wants_json():
        return _page(status, headline, sentence)
    response = jsonify(
        {
            "error": _CODES.get(status, "internal_error" if status >= 500 else "bad_request"),
            "message": sentence,
        }
    )
    response.status_code = status
    return response


def _page(status: int, headline: str, sentence: str) -> Response:
    template = "errors/_fragment.html" if request.headers.get("HX-Request") else "errors/error.html"
    text = render_template(
        template,
        status=status,
        headline=headline,
        sentence=sentence,
        action=None,
        reference=g.get("request_id", ""),
    )
    return Response(text, status=status, mimetype="text/html")
