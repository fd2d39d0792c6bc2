"""A simulator and a listener on loopback, for the tests of this folder."""

import base64
import contextlib
import functools
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from portal.simulator import OrganisationSpec, create_simulator
from portal.simulator.api.certificate import open_certificate
from portal.simulator.engine.organisations import SANDBOX_PASSKEY

TIMESTAMP = "20261121093000"
PUSH = "/mpesa/stkpush/v1/processrequest"
QUERY = "/mpesa/stkpushquery/v1/query"


class Listener:
    """Takes callbacks on a loopback port; `answers` maps a path to what is said there."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                outer.heard.append((self.path, json.loads(raw)))
                said = json.dumps(outer.answers.get(self.path, {"ResultCode": 0, "ResultDesc": "Accepted"}))
                self.send_response(200)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def at(self, path: str) -> list[dict[str, Any]]:
        """The bodies heard at paths that begin so."""
        return [body for where, body in list(self.heard) if where.startswith(path)]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Daraja:
    """A client that knows the first organisation's keys."""

    def __init__(self, app: Flask, listener: Listener) -> None:
        self.app, self.listener = app, listener
        self.client: FlaskClient = app.test_client()
        self.headers = {"Authorization": f"Bearer {self.token()}"}

    def hear(self, count: int, *, path: str = "") -> list[dict[str, Any]]:
        """The bodies heard at `path` once there are `count` of them; the simulator's clock runs meanwhile."""
        for _ in range(150):
            if len(found := self.listener.at(path)) >= count:
                return found
            self.app.extensions["simulator"].store.move_clock(0.25)
            time.sleep(0.02)
        raise AssertionError(f"heard {self.listener.heard} at {path or 'any path'}, wanted {count}")

    def token(self, key: str = "simulator-key", secret: str = "simulator-secret") -> str:
        basic = base64.b64encode(f"{key}:{secret}".encode()).decode()
        answer = self.client.get(
            "/oauth/v1/generate?grant_type=client_credentials", headers={"Authorization": f"Basic {basic}"}
        )
        return str(answer.json["access_token"]) if answer.json else ""

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.client.post(path, json=body, headers=self.headers)

    def fields(self, phone: str = "254712345600", **changes: Any) -> dict[str, Any]:
        body = {
            "BusinessShortCode": "174379",
            "Password": password(),
            "Timestamp": TIMESTAMP,
            "TransactionType": "CustomerPayBillOnline",
            "Amount": "50",
            "PartyA": phone,
            "PartyB": "174379",
            "PhoneNumber": phone,
            "CallBackURL": f"{self.listener.url}/hooks/abc/stk/def",
            "AccountReference": "INV-42",
            "TransactionDesc": "Invoice 42",
        } | changes
        return {name: value for name, value in body.items() if value is not None}

    def push(self, phone: str = "254712345600", **changes: Any) -> Any:
        return self.post(PUSH, self.fields(phone, **changes))

    def query(self, checkout_request_id: str) -> Any:
        body = {"BusinessShortCode": "174379", "Password": password(), "Timestamp": TIMESTAMP}
        return self.post(QUERY, body | {"CheckoutRequestID": checkout_request_id})

    def control(self, **order: Any) -> Any:
        answer = self.client.post("/control", json=order)
        assert answer.status_code == 200, answer.json
        return answer.json

    def pin(self, phone: str = "254712345600", pin: str = "1234") -> Any:
        return self.client.post(f"/handset/{phone}/pin", json={"pin": pin})

    def handset(self, phone: str = "254712345600") -> Any:
        return self.client.get(f"/handset/{phone}").json

    def register(self, version: int = 2, shortcode: str = "174379", **changes: Any) -> Any:
        body = {
            "ShortCode": shortcode,
            "ResponseType": "Completed",
            "ConfirmationURL": f"{self.listener.url}/confirmation",
            "ValidationURL": f"{self.listener.url}/validation",
        } | changes
        return self.post(f"/mpesa/c2b/v{version}/registerurl", body)

    def pay(self, phone: str = "254712345600", **fields: Any) -> Any:
        body = {"shortcode": "174379", "account": "INV-42", "amount": 50} | fields
        return self.client.post(f"/handset/{phone}/pay", json=body)


def password(shortcode: str = "174379", passkey: str = SANDBOX_PASSKEY, timestamp: str = TIMESTAMP) -> str:
    return base64.b64encode(f"{shortcode}{passkey}{timestamp}".encode()).decode()


@functools.cache
def _certificate() -> tuple[bytes, bytes]:
    """One for all tests: an RSA key takes longer to make than any test."""
    with tempfile.TemporaryDirectory() as scratch:
        open_certificate(Path(scratch))
        key, pem = (Path(scratch) / name for name in ("certificate.key", "certificate.pem"))
        return key.read_bytes(), pem.read_bytes()


@contextlib.contextmanager
def opened(data_dir: Path, *organisations: OrganisationSpec, strict: bool = False) -> Iterator[Daraja]:
    """A running simulator and a listener, both stopped at the end."""
    if not (data_dir / "certificate.key").exists():
        for name, content in zip(("certificate.key", "certificate.pem"), _certificate(), strict=True):
            (data_dir / name).write_bytes(content)
    app = create_simulator(
        data_dir=data_dir, public_url="http://127.0.0.1:8001", strict=strict, organisations=organisations
    )
    listener = Listener()
    try:
        yield Daraja(app, listener)
    finally:
        app.extensions["simulator"].close()
        listener.close()
