"""What goes wrong, told: to a person as a page (or the fragment that htmx asked for), to a program as JSON."""

from typing import Any

from flask import Flask, Response, g, jsonify, render_template, request
from flask_babel import gettext as _
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DataError, InterfaceError, OperationalError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from portal.kernel import logs
from portal.kernel.db import db
from portal.kernel.errors import CoolDown, PortalError, Refused
from portal.web.language import said


def set_up(app: Flask) -> None:
    """Answer every error with a sentence of ours; what is our mistake is logged, never shown."""
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(CSRFError, forged)
    for away in (OperationalError, InterfaceError, NoConnectionFree):
        app.register_error_handler(away, _database_away)
    for beyond in (DataError, OverflowError, UnicodeEncodeError):
        app.register_error_handler(beyond, _beyond_bounds)
    app.register_error_handler(StatementError, _statement_failed)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _our_mistake)


def wants_json() -> bool:
    """Whether the caller is a program."""
    return request.path.startswith(("/api/", "/hooks/"))


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
    return error_page(error.status, _headline(error.status), said(error.message))


def forged(error: CSRFError) -> Response:
    """The answer to a form without its token, or with another session's."""
    if wants_json():
        return error_json(Refused(error.description or "The form's token is missing.", code="csrf"))
    return error_page(
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
    logs.logger.warning("beyond_bounds", door=route(), error=type(error).__name__)
    return _problem(
        422,
        _("Please check"),
        _("Something in this request is too long, too large, or not text. Nothing was changed."),
    )


def _statement_failed(error: StatementError) -> Response:
    is_beyond = isinstance(error.orig, OverflowError | UnicodeEncodeError)
    return _beyond_bounds(error) if is_beyond else _our_mistake(error)


def route() -> str:
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
    logs.logger.error("our_mistake", door=route(), error=repr(error)[:500], exc_info=not isinstance(error, PortalError))
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
        return error_page(status, headline, sentence)
    response = jsonify(
        {
            "error": _CODES.get(status, "internal_error" if status >= 500 else "bad_request"),
            "message": sentence,
        }
    )
    response.status_code = status
    return response


def error_page(status: int, headline: str, sentence: str) -> Response:
    """A page that says what went wrong, or the fragment of it that htmx puts into the page that asked."""
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
