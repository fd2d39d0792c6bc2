"""A description of the API, made from its own doors."""

import re
from typing import Any

from flask import current_app, jsonify
from flask.typing import ResponseReturnValue

from portal.api.guard import ANYONE_SIGNED_IN, EVERYBODY, Doors

_ERROR = {
    "type": "object",
    "required": ["error", "message"],
    "properties": {
        "error": {"type": "string"},
        "message": {"type": "string"},
        "fields": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


def open_doors(doors: Doors) -> None:
    def describe() -> ResponseReturnValue:
        """This description."""
        return jsonify(_description(doors))

    describe.__module__ = __name__
    doors.add("GET", "/openapi.json", describe, who=EVERYBODY, limit=None)


def _description(doors: Doors) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for door, who in doors.who.items():
        method, path = door.split(" ", 1)
        view = _view(method, path)
        names = re.findall(r"<(?:path:)?(\w+)>", path)
        paths.setdefault("/api" + re.sub(r"<(?:path:)?(\w+)>", r"{\1}", path), {})[method.lower()] = {
            "summary": (view or "").split("\n")[0] or path,
            "security": [] if who == EVERYBODY else [{"bearer": []}, {"apiKey": []}],
            "x-permission": None if who in (EVERYBODY, ANYONE_SIGNED_IN) else who,
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
            ],
            **({"requestBody": _OBJECT} if method in ("POST", "PUT") else {}),
            "responses": {
                "2XX": {"description": "Done.", "content": {"application/json": {"schema": {}}}},
                "4XX": {
                    "description": "Refused, with the reason.",
                    "content": {"application/json": {"schema": _ERROR}},
                },
            },
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Mlango", "version": "1", "description": "Payments by M-Pesa, and what they open."},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            }
        },
    }


_OBJECT = {"content": {"application/json": {"schema": {"type": "object"}}}}


def _view(method: str, path: str) -> str | None:
    for rule in current_app.url_map.iter_rules():
        if rule.rule == "/api" + path and method in (rule.methods or ()):
            return current_app.view_functions[rule.endpoint].__doc__
    return None
