"""What can go wrong, named for what the caller must do next.

    PortalError
    ├── Refused      the person may be shown the text: thing, problem, remedy
    │   ├── NotFound     nothing of that name belongs to this tenant (404)
    │   ├── Conflict     it exists, but its state forbids this (409)
    │   └── CoolDown     come back in `retry_after_s` seconds (429)
    └── Misconfigured    an administrator must change a setting

Every text names the thing, what is wrong with it and what would be right.
"""

from collections.abc import Mapping


class Sentence:
    """What a person is told, before anybody knows in which language: a template and its values.

    template: English, with `%(name)s` for each of the values; a value may be a Sentence itself.
    `str()` is the English, for records and logs. It is no `str`, so that types and JSON show where an edge forgot to
    render it (`portal.web.language.said` for the reader, `portal.kernel.translations.render` for a locale).
    Rooms import it as `_`. Two of the same template and values are equal.
    """

    __slots__ = ("template", "values")
    template: str
    values: dict[str, object]

    def __init__(self, template: str, /, **values: object) -> None:
        self.template, self.values = template, values

    def __str__(self) -> str:
        return self.template % self.values if self.values else self.template

    def __repr__(self) -> str:
        return f"Sentence({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sentence):
            return NotImplemented
        return (self.template, self.values) == (other.template, other.values)

    def __hash__(self) -> int:
        return hash(self.template)


Text = str | Sentence  # a Sentence, or words that are the same in every language


class PortalError(Exception):
    """Base of everything this product raises on purpose."""


class Refused(PortalError):
    """The request cannot be met; the text is fit for the person who asked.

    code: the API's short name of the error, snake_case.
    fields: name of a field -> sentence, where single fields are to blame.
    """

    status = 422
    code = "refused"

    def __init__(self, message: Text, *, code: str | None = None, fields: Mapping[str, Text] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.fields: dict[str, Text] = dict(fields or {})


class NotFound(Refused):
    """Nothing of that name here. Also what a stranger to the tenant gets: existence is not revealed."""

    status = 404
    code = "not_found"


class Conflict(Refused):
    """It is there, but in a state that forbids what was asked."""

    status = 409
    code = "conflict"


class CoolDown(Refused):
    """Too soon: M-Pesa would refuse it. `retry_after_s`: seconds until it would be taken."""

    status = 429
    code = "cool_down"

    def __init__(self, message: Text, *, retry_after_s: int, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class Misconfigured(PortalError):
    """A setting is missing or wrong. `problems`: one sentence for each."""

    def __init__(self, *problems: str) -> None:
        super().__init__(" ".join(problems))
        self.problems = list(problems)
