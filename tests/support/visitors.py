"""Who comes to the product: strangers' browsers, people who are signed in, programs."""

from functools import partial
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from tests.support.api_client import Api

PASSWORD = "correct horse"


class _Named(FlaskClient):
    """A browser that asks for one host, unless told otherwise."""

    def __init__(self, url: str, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._url = url

    def open(self, *arguments: Any, **named: Any) -> Any:
        if arguments and isinstance(arguments[0], str):
            named.setdefault("base_url", self._url)
        return super().open(*arguments, **named)


class Visitors:
    """The ways into one product."""

    app: Flask
    tokens: dict[str, str]

    def client(self) -> FlaskClient:
        """A stranger's browser. In production it comes by the product's own name: no other is answered."""
        config = self.app.config["PORTAL"]
        if not config.development:
            self.app.test_client_class = partial(_Named, config.public_url)  # type: ignore[assignment]
        return self.app.test_client()

    def api(self, name: str, slug: str = "") -> "Api":
        """An API client signed in as one of the people."""
        slug = slug or ("bahari" if name == "chege" else "mlima")
        if name not in self.tokens:
            answer = self.client().post("/api/auth/token", json={"email": f"{name}@{slug}.test", "password": PASSWORD})
            assert answer.status_code == 200, answer.text
            self.tokens[name] = answer.json["accessToken"]  # type: ignore[index]
        return Api(self.client(), {"Authorization": f"Bearer {self.tokens[name]}"})

    def browser_of(self, name: str, slug: str = "") -> FlaskClient:
        """A browser that is signed in as one of the people."""
        client = self.client()
        slug = slug or ("bahari" if name == "chege" else "mlima")
        answer = client.post(
            "/login",
            data={"email": f"{name}@{slug}.test", "password": PASSWORD, "csrf_token": csrf_of(client, "/login")},
        )
        assert answer.status_code == 303, answer.text
        return client


def csrf_of(client: FlaskClient, path: str) -> str:
    """The CSRF token of a page's form."""
    text = client.get(path).text
    return text.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]
