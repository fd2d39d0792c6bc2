"""The API's description, held against the API by a client that knows nothing else (schemathesis)."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from portal import api
from portal.api.openapi import path_of
from tests.support.product import Product

pytestmark = pytest.mark.usefixtures("unlimited")
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
DOORS = {f"{door.method} {path_of(door)}": door for door in api.router.routes}


@pytest.fixture(scope="module")
def described(open_product: Product) -> Any:
    """Our description, as schemathesis reads it from the running application."""
    return schemathesis.openapi.from_wsgi("/api/openapi.json", open_product.app)


@pytest.mark.parametrize("name", DOORS)
def test_every_door_answers_as_it_is_described(described: Any, open_product: Product, name: str) -> None:
    door = DOORS[name]
    headers = dict(open_product.api("amina").headers)

    @given(case=described[path_of(door)][door.method].as_strategy())
    @settings(max_examples=12, suppress_health_check=list(HealthCheck))
    def hold(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS)

    hold()


def test_every_door_says_in_a_sentence_what_it_is_for(described: Any) -> None:
    for path, methods in described.raw_schema["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"].endswith("."), (method, path)
