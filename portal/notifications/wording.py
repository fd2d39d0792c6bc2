"""A tenant's own words for what is told: written with {names} in braces, checked before they are kept.

Decided: braces, not gettext's `%(name)s`: who writes them is a practice manager. What is filled in are the values of
the sentence that the words stand for, so nothing else of the product can be named.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import delete, select

from portal.kernel.db import db
from portal.kernel.errors import Refused, Sentence, Text
from portal.kernel.errors import Sentence as _
from portal.kernel.translations import render
from portal.notifications.models import MessageTemplate

CHANNELS, LOCALES = ("sms", "email"), ("en", "sw")
LONGEST_SUBJECT, LONGEST_TEXT, MOST_PARTS = 200, 1_000, 4
_NAME, _OURS = re.compile(r"\{(\w*)\}"), re.compile(r"%\((\w+)\)s")
_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_TWICE = frozenset("^{}\\[~]|€\f")  # two characters on the air


@dataclass(frozen=True)
class Words:
    """What is said. subject: of e-mail alone."""

    subject: Text
    text: Text


def parts_of(text: str) -> int:
    """How many messages a text is sent and paid as: 160 characters, or 153 each; 70 or 67 with others than GSM's."""
    if all(letter in _GSM or letter in _GSM_TWICE for letter in text):
        length, one, each = sum(1 + (letter in _GSM_TWICE) for letter in text), 160, 153
    else:
        length, one, each = len(text.encode("utf-16-le")) // 2, 70, 67
    return 1 if length <= one else -(-length // each)


def in_braces(sentence: Sentence, locale: str) -> str:
    """Our own words of this language, as a person edits them."""
    return _OURS.sub(r"{\1}", render(Sentence(sentence.template), locale)).replace("%%", "%")


def names_in(text: str) -> set[str]:
    """The names in braces."""
    return set(_NAME.findall(text))


def filled(words: str, values: Mapping[str, object], locale: str) -> str:
    """The words with these values; a name that has none stays as it is."""

    def value_of(found: re.Match[str]) -> str:
        value = values.get(found[1], found[0])
        return render(value, locale) if isinstance(value, Sentence) else str(value)

    return _NAME.sub(value_of, words)


def of(tenant_id: int, event: str, channel: str, locale: str) -> MessageTemplate | None:
    """The tenant's own words, or None."""
    own = select(MessageTemplate).where(
        MessageTemplate.tenant_id == tenant_id, MessageTemplate.event == event,
        MessageTemplate.channel == channel, MessageTemplate.locale == locale,
    )  # fmt: skip
    return db.session.scalars(own).one_or_none()


def all_of(tenant_id: int) -> list[MessageTemplate]:
    """All words of its own that a tenant has."""
    return list(db.session.scalars(select(MessageTemplate).where(MessageTemplate.tenant_id == tenant_id)))


def chosen(tenant_id: int, event: str, channel: str, locale: str, ours: Words) -> Words:
    """What this tenant says of an event: its own words, filled in, or ours."""
    own = of(tenant_id, event, channel, locale) if event else None
    if own is None or not isinstance(ours.text, Sentence):
        return ours
    values = ours.text.values
    subject = filled(own.subject, values, locale) if own.subject else ours.subject
    return Words(subject, filled(own.text, values, locale))


def check(
    channel: str, subject: str, text: str, *, known: Collection[str], needed: Collection[str], shown: str = ""
) -> None:
    """Raises Refused, naming each field, unless these words can be sent. needed: without them the message is no use.

    shown: the same filled in, which is what is paid for: a short {name} may stand for a long one, and many times.
    """
    parts = max(parts_of(text), parts_of(shown))
    faults: dict[str, Text] = {}
    strange = sorted(names_in(text + subject) - set(known))
    missing = sorted(set(needed) - names_in(text))
    if not text.strip():
        faults["text"] = _("Write the message, or go back to our own words.")
    elif strange:
        told = _("There is no {%(name)s}. Choose from: %(names)s.", name=strange[0], names=_listed(known))
        faults["text" if strange[0] in names_in(text) else "subject"] = told
    elif missing:
        faults["text"] = _("The message must have {%(name)s}: without it nobody can act on it.", name=missing[0])
    elif len(text) > LONGEST_TEXT:
        faults["text"] = _("At most %(count)s characters.", count=LONGEST_TEXT)
    elif channel == "sms" and parts > MOST_PARTS:
        faults["text"] = _("A text message this long is sent as %(parts)s messages; at most %(most)s.",
                           parts=parts, most=MOST_PARTS)  # fmt: skip
    if len(subject) > LONGEST_SUBJECT or "\n" in subject or "\r" in subject:
        faults["subject"] = _("One line of at most %(count)s characters.", count=LONGEST_SUBJECT)
    if faults:
        raise Refused(next(iter(faults.values())), code="invalid_template", fields=faults)


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(names))


def keep(tenant_id: int, event: str, channel: str, locale: str, *, subject: str, text: str) -> None:
    """Say it so from now on; the words went through `check`. The caller commits."""
    own = of(tenant_id, event, channel, locale)
    if own is None:
        own = MessageTemplate(tenant_id=tenant_id, event=event, channel=channel, locale=locale)
        db.session.add(own)
    own.subject, own.text = subject.strip(), text.strip()
    db.session.flush()


def drop(tenant_id: int, event: str, channel: str, locale: str) -> None:
    """Say it in our own words again. The caller commits."""
    db.session.execute(
        delete(MessageTemplate).where(
            MessageTemplate.tenant_id == tenant_id, MessageTemplate.event == event,
            MessageTemplate.channel == channel, MessageTemplate.locale == locale,
        )
    )  # fmt: skip
