"""English and Swahili, without knowing who reads: a sentence and a language in, a text out.

Decided: everything below the views says what it has to say as a `Sentence` (`portal.kernel.errors`), a value that can
be compared and kept. Text is made of it at the edge: for a reader by `portal.web.language.said`, and by `render` where
somebody is written to in a language of theirs (SMS, mail, notices of staff), which is handed in, never looked up.
Decided: what is kept (audit trail, failures of pushes, M-Pesa's answers) is written in English once, because
a record must read the same for everybody who looks at it later.
The catalogue is `translations/sw`; `make translations` brings it up to date, and a test names what it lacks.
"""

from functools import cache
from gettext import NullTranslations

from babel.support import Translations

from portal.kernel.errors import Sentence, Text
from portal.kernel.paths import ROOT


def render(text: Text, locale: str) -> str:
    """The text in this language (`en`, `sw`): English where the catalogue lacks it, or the language is unknown."""
    if isinstance(text, str):
        return text
    template = _catalogue(locale).gettext(text.template)
    if not text.values:
        return template
    return template % {
        name: render(value, locale) if isinstance(value, Sentence) else value for name, value in text.values.items()
    }


@cache
def _catalogue(locale: str) -> NullTranslations:
    """Read once in a process. The English is in the source, hence in no catalogue."""
    return Translations.load(ROOT / "translations", [locale])
