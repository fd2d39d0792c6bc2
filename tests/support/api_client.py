"""A client of the JSON API; whatever it is answered must be what the API's own description says."""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException

from portal.api import router as api_router
from portal.api import schemas


@dataclass
class Api:
    """A client with its authorization. Whatever it is answered must be what the API's description says."""

    client: FlaskClient
    headers: dict[str, str]

    def get(self, path: str, **named: Any) -> Any:
        return self._asked("GET", path, **named)

    def post(self, path: str, json: Any = None, **named: Any) -> Any:
        return self._asked("POST", path, json=json, **named)

    def put(self, path: str, json: Any = None) -> Any:
        return self._asked("PUT", path, json=json)

    def delete(self, path: str, **named: Any) -> Any:
        return self._asked("DELETE", path, **named)

    def _asked(self, method: str, path: str, **named: Any) -> Any:
        answer = self.client.open(path, method=method, headers=self.headers, **named)
        hold_to_description(self.client, method, path, answer)
        return answer


@cache
def _validator(schema: str) -> jsonschema_rs.Validator:
    described = json.loads(schema) | {"components": {"schemas": schemas.COMPONENTS}}
    return jsonschema_rs.validator_for(described, validate_formats=True)


def hold_to_description(client: FlaskClient, method: str, path: str, answer: Any) -> None:
    """Fail where an answer of the API is not as `/api/openapi.json` describes it."""
    rules = client.application.url_map.bind("localhost")
    try:
        rule, _arguments = rules.match(urlsplit(path).path, method=method, return_rule=True)
    except HTTPException:
        return
    door = DOORS.get(f"{method} {rule.rule}")
    if door is None or not answer.is_json:
        return
    schema = door.contract.gives if answer.status_code in door.contract.answers else schemas.ref("Error")
    problems = [
        f"{error.message} at {error.instance_path}"
        for error in _validator(json.dumps(schema)).iter_errors(json.loads(answer.data))
    ]
    assert not problems, (method, path, answer.status_code, problems)


DOORS = {f"{door.method} /api{door.path}": door for door in api_router.routes}
