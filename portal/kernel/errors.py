"""What can go wrong, named for what the caller must do next.

    PortalError
    ├── Refused      the person may be shown the text: thing, problem, remedy
    │   ├── NotFound     nothing of that name belongs to this tenant (404)
    │   ├── Conflict     it exists, but its state forbids this (409)
    │   └── CoolDown     come back in `retry_after_s` seconds (429)
    └── Misconfigured    an administrator must change a setting

Every text names the thing, what is wrong with it and what would be right.
"""


class Sentence(str):
    """English that a door can still say in another language, for modules that know of no languages.

    template: with `%(name)s` for each of the values; `portal.kernel.translations.said` looks it up.
    """

    template: str
    values: dict[str, object]

    def __new__(cls, template: str, **values: object) -> "Sentence":
        made = super().__new__(cls, template % values if values else template)
        made.template, made.values = template, values
        return made


class PortalError(Exception):
    """Base of everything this product raises on purpose."""


class Refused(PortalError):
    """The request cannot be met; the text is fit for the person who asked.

    code: the API's short name of the error, snake_case.
    fields: name of a field -> sentence, where single fields are to blame.
    """

    status = 422
    code = "refused"

    def __init__(self, message: str, *, code: str | None = None, fields: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.fields = fields or {}


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

    def __init__(self, message: str, *, retry_after_s: int, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class Misconfigured(PortalError):
    """A setting is missing or wrong. `problems`: one sentence for each."""

    def __init__(self, *problems: str) -> None:
        super().__init__(" ".join(problems))
        self.problems = list(problems)
