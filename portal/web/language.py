"""Whose language a page or an answer is in, and where sentences become text: for whoever reads it."""

from typing import Any
from urllib.parse import urlencode

from flask import Flask, g, has_request_context, request
from flask.json.provider import DefaultJSONProvider
from flask_babel import Babel, get_locale, lazy_gettext
from werkzeug.exceptions import HTTPException

from portal.kernel.errors import Sentence, Text
from portal.kernel.paths import ROOT
from portal.kernel.translations import render

LOCALES = ("en", "sw")


def said(text: Text) -> str:
    """The text in this request's language; words that are the same in every language as they are."""
    return render(text, str(get_locale() or "en"))


def set_up(app: Flask) -> None:
    """Choose each request's language, carry it from link to link, and say sentences in templates and JSON."""
    Babel(app, locale_selector=locale, default_translation_directories=str(ROOT / "translations"))
    app.jinja_env.globals.update(lang_url=lang_url, _l=lazy_gettext)
    app.context_processor(lambda: {"locale": str(get_locale() or "en")})
    app.url_defaults(_keep_language)
    app.jinja_env.finalize = _finalized
    app.json = Json(app)


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


def _keep_language(_endpoint: str, values: dict[str, Any]) -> None:
    if has_request_context() and (asked := _asked_language()) in LOCALES:
        values.setdefault("lang", asked)


def _finalized(value: Any) -> Any:
    return said(value) if isinstance(value, Sentence) else value


class Json(DefaultJSONProvider):
    """Flask's own, which says sentences too."""

    @staticmethod
    def default(value: Any) -> Any:
        return said(value) if isinstance(value, Sentence) else DefaultJSONProvider.default(value)
