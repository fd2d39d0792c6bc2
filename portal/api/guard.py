"""Who may pass an API door: the principal of a request, permissions, and limits counted per principal."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from math import isfinite
from typing import Any, TypeVar

from flask import Blueprint, current_app, g, request
from flask.typing import ResponseReturnValue

from portal.api.schemas import Contract, contract_of
from portal.kernel.errors import PortalError, Refused, Text
from portal.users import permissions, tokens
from portal.users.permissions import Forbidden, SignInNeeded
from portal.users.tokens import Principal
from portal.web.language import said
from portal.web.limits import STANDARD, network, shared

EVERYBODY = "everybody"
ANYONE_SIGNED_IN = "signed in"
View = Callable[..., ResponseReturnValue]
T = TypeVar("T")
LONGEST_TEXT, DEEPEST = 4_000, 8
LONGEST_CURSOR = 18  # digits of a 64-bit row id
LONGEST_TEXTS = {"certificate": 20_000}  # PEM, perhaps with its chain


@dataclass(frozen=True)
class Route:
    """All that is known of one route. who: see `Router.add`."""

    method: str
    path: str
    who: str
    summary: str
    contract: Contract


class Router:
    """Adds routes to the API's blueprint, each with who may pass it."""

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint
        self.routes: list[Route] = []

    def add(self, method: str, path: str, view: View, *, who: str, limits: tuple[str, ...] = (STANDARD,)) -> None:
        """Add one route. who: a permission, EVERYBODY or ANYONE_SIGNED_IN. limits: none where polls must pass."""
        if who not in permissions.ALL | {EVERYBODY, ANYONE_SIGNED_IN}:
            raise PortalError(f"The route {method} {path} names {who!r}, which is no permission.")
        name = f"{view.__module__.rsplit('.', 1)[-1]}_{view.__name__}"
        guarded = self._guard(view, who)
        for limit in limits:
            guarded = shared(limit, per=_counted_as)(guarded)
        self.routes.append(Route(method, path, who, (view.__doc__ or "").strip(), contract_of(view)))
        self._blueprint.add_url_rule(path, endpoint=name, view_func=guarded, methods=[method])

    @staticmethod
    def _guard(view: View, who: str) -> View:
        @wraps(view)
        def guarded(**arguments: Any) -> ResponseReturnValue:
            if who != EVERYBODY:
                asking = principal()
                if asking.tenant_id == tokens.NO_TENANT:
                    sentence = "This token is for no business. Get one with tenant: its short name."
                    raise Refused(sentence, code="tenant_needed", fields={"tenant": "Name one."})
                if who != ANYONE_SIGNED_IN and not permissions.allows(asking.role, who):
                    raise Forbidden("This sign-in may not do that. Ask an administrator of your business.")
            return view(**arguments)

        return guarded


def principal() -> Principal:
    """Who asks. Raises SignInNeeded."""
    if "principal" not in g:
        g.principal = _read_principal()
    found: Principal = g.principal
    return found


def _read_principal() -> Principal:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return tokens.read(token.strip(), current_app.config["SECRET_KEY"])
    if key := request.headers.get("X-API-Key"):
        return tokens.read_api_key(key.strip())
    raise SignInNeeded("Send a bearer token (POST /api/auth/token) or an X-API-Key header.")


def _counted_as() -> str:
    """One count per principal, wherever it calls from; strangers are counted by network."""
    try:
        asking = principal()
    except SignInNeeded:
        return f"network:{network()}"
    return f"{asking.tenant_id}:{asking.actor}"


def body() -> dict[str, Any]:
    """The JSON object of this request. Raises Refused where there is none, or where it holds what cannot be kept."""
    given = _read_json()
    if not isinstance(given, dict):
        raise Refused("Send a JSON object, with Content-Type: application/json.", code="invalid_json")
    for name, value in given.items():
        if sentence := _unkeepable(value, longest=LONGEST_TEXTS.get(name, LONGEST_TEXT)) or _unkeepable(name):
            name = name.encode("utf-8", "replace").decode()[:40]
            raise Refused(f"{name}: {sentence}", code="invalid_fields", fields={name: sentence})
    return given


def body_if_any() -> dict[str, Any]:
    """The JSON object of a request that may come without one."""
    return body() if request.get_data(cache=True) else {}


def _read_json() -> Any:
    if not request.is_json:
        return None
    try:
        return json.loads(request.get_data(cache=True), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # nested too deep for the parser is no JSON of ours either
        return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON.")


def _unkeepable(value: Any, *, longest: int = LONGEST_TEXT, depth: int = 0) -> str:
    """Why a database or a calendar could not keep this value, or an empty text.

    Half of a surrogate pair, NUL and numbers without end are JSON to Python and to nobody else.
    """
    if isinstance(value, dict | list):
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        if depth >= DEEPEST:
            return f"Is nested deeper than {DEEPEST} levels."
        return next(filter(None, (_unkeepable(one, longest=longest, depth=depth + 1) for one in inner)), "")
    if isinstance(value, str):
        if len(value) > longest:
            return f"Is longer than {longest} characters."
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            return "Holds characters that are no text."
    if isinstance(value, float) and not isfinite(value):
        return "Is too large."
    return ""


def text_of(given: dict[str, Any], name: str, *, required: bool = True) -> str:
    """One text of a request. Raises Refused naming the field."""
    value = given.get(name)
    if value is None or value == "":
        if required:
            raise Refused(f"{name} is missing.", code="invalid_fields", fields={name: "Required."})
        return ""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise Refused(f"{name} must be text.", code="invalid_fields", fields={name: "Must be text."})
    return str(value)


class Fields:
    """Reads a request's fields into values; all that is wrong with them is told at once."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
        self.wrong: dict[str, Text] = {}

    def read(self, name: str, how: Callable[[object], T], instead: T) -> T:
        """The field as `how` reads it. instead: what stands for it until `refuse_wrong`, where `how` refuses it."""
        try:
            return how(self._given.get(name))
        except Refused as error:
            self.wrong[name] = error.message
            return instead

    def refuse_wrong(self, sentence: str) -> None:
        """Raise Refused naming every field that could not be read."""
        if self.wrong:
            raise Refused(sentence, code="invalid_fields", fields=self.wrong)


@contextmanager
def blaming(name: str) -> Iterator[None]:
    """Whatever is refused inside is the fault of the field that the request calls `name`."""
    try:
        yield
    except Refused as error:
        error.fields = {name: " ".join(said(one) for one in error.fields.values() or [error.message])}
        raise


def read_cursor() -> int | None:
    """The cursor of a list that is paged by row. Raises Refused for one that is not ours."""
    cursor = request.args.get("cursor", "")
    if cursor and not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= LONGEST_CURSOR):
        raise Refused("The cursor is not one of ours. Start from the first page.", code="invalid_cursor")
    return int(cursor) if cursor else None
