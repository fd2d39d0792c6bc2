"""Where sentences become text: in the language of whoever reads the page or calls the API."""

from typing import Any

from flask import Flask
from flask.json.provider import DefaultJSONProvider
from flask_babel import get_locale

from portal.kernel.errors import Sentence, Text
from portal.kernel.translations import render


def said(text: Text) -> str:
    """The text in this request's language; words that are the same in every language as they are."""
    return render(text, str(get_locale() or "en"))


def set_up(app: Flask) -> None:
    """Have templates and JSON answers say the sentences that they are given."""
    app.jinja_env.finalize = _finalized
    app.json = Json(app)


def _finalized(value: Any) -> Any:
    return said(value) if isinstance(value, Sentence) else value


class Json(DefaultJSONProvider):
    """Flask's own, which says sentences too."""

    @staticmethod
    def default(value: Any) -> Any:
        return said(value) if isinstance(value, Sentence) else DefaultJSONProvider.default(value)
