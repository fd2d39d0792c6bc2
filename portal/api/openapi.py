"""A description of the API, made from its own doors: paths, what they take and give, who may pass."""

import re
from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue

from portal.api import schemas
from portal.api.guard import ANYONE_SIGNED_IN, EVERYBODY, Route, Router

MEDIA_OF_FILES = {"csv": "text/csv", "<name>": "text/plain"}  # by how their address ends; all else is JSON
_SIGNED_IN: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}]
_REFUSED = {
    "400": "The body is no JSON object.",
    "401": "Nobody is signed in, or not any more.",
    "403": "This sign-in may not do that.",
    "404": "There is no such thing here.",
    "409": "It cannot be done as things stand.",
    "413": "The body is too large.",
    "415": "The body is no JSON.",
    "422": "A field is wrong; `fields` says which and what would be right.",
    "429": "Too often: wait for `Retry-After` seconds.",
}


def register_routes(router: Router) -> None:
    @schemas.contract({"type": "object"})
    def describe() -> ResponseReturnValue:
        """This description."""
        return jsonify(_description(router))

    describe.__module__ = __name__
    router.add("GET", "/openapi.json", describe, who=EVERYBODY, limits=())


def _description(router: Router) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for route in router.routes:
        paths.setdefault(path_of(route), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mlango",
            "version": "1",
            "description": "Payments by M-Pesa, and what they open. Amounts are KES, times RFC 3339.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas.COMPONENTS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def path_of(route: Route) -> str:
    """A route's path as the description writes it, such as `/api/mpesa/{checkoutRequestId}/refund`."""
    return "/api" + re.sub(r"<(?:path:)?(\w+)>", lambda found: "{" + _camel(found.group(1)) + "}", route.path)


def _operation(route: Route) -> dict[str, Any]:
    summary, _, more = route.summary.partition("\n")
    media = MEDIA_OF_FILES.get(route.path.rpartition("/")[2].rpartition(".")[2], "application/json")
    return {
        "operationId": _camel(re.sub(r"\W+", "_", f"{route.method.lower()}_{route.path}").strip("_")),
        "summary": summary,
        **({"description": " ".join(more.split())} if more.strip() else {}),
        "tags": [route.path.split("/")[1]],
        "security": [] if route.who == EVERYBODY else _SIGNED_IN,
        **({} if route.who in (EVERYBODY, ANYONE_SIGNED_IN) else {"x-permission": route.who}),
        "parameters": _parameters(route),
        **_body(route),
        "responses": {
            **{str(code): _answer("Done.", route.contract.gives, media) for code in route.contract.answers},
            **{code: _answer(why, schemas.ref("Error")) for code, why in _REFUSED.items()},
        },
    }


def _parameters(route: Route) -> list[dict[str, Any]]:
    in_path = [
        {"name": _camel(name), "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"<(?:path:)?(\w+)>", route.path)
    ]
    return in_path + [
        {"name": name, "in": "query", "schema": schemas.PARAMETERS[name]} for name in route.contract.query
    ]


def _body(route: Route) -> dict[str, Any]:
    if route.contract.takes is None:
        return {}
    described = schemas.COMPONENTS[route.contract.takes["$ref"].rpartition("/")[2]]
    is_needed = bool(described.get("required"))
    return {"requestBody": {"required": is_needed, "content": {"application/json": {"schema": route.contract.takes}}}}


def _answer(why: str, schema: schemas.Schema, media: str = "application/json") -> dict[str, Any]:
    return {"description": why, "content": {media: {"schema": schema}}}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return "id" if name == "uid" else first + "".join(other.capitalize() for other in others)
