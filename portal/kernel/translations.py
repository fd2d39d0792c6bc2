"""English and Swahili: what the doors share beyond Flask-Babel.

Decided: the kernel (`money`, `phone`, `errors`) writes `Sentence`s and stays free of Flask, because the
simulator and the command line use it too; a door says them in the reader's language. Rooms that only the
product uses call gettext themselves.
Decided: what is kept (audit trail, failures of pushes, M-Pesa's answers) is written in English once, because
a record must read the same for everybody who looks at it later.
The catalogue is `translations/sw`; `make translations` brings it up to date, and a test names what it lacks.
"""

from flask_babel import gettext

from portal.kernel.errors import Sentence


def said(text: str) -> str:
    """The text of an error in this request's language; a text that no catalogue knows as it is."""
    return gettext(text.template, **text.values) if isinstance(text, Sentence) else text
