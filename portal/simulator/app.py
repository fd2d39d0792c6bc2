"""The application: doors, handset, control. One process, several threads; state under `data_dir`."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from flask import Flask, Response, current_app, jsonify, redirect, request, url_for
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from portal.kernel.errors import Misconfigured, PortalError, Refused
from portal.simulator.api import certificate as certificates
from portal.simulator.api import routes_c2b, routes_oauth, routes_other, routes_requests, routes_stk
from portal.simulator.api.router import DarajaError, error_response
from portal.simulator.control import routes as control
from portal.simulator.engine import hand_payments, journal, prompts, settlements
from portal.simulator.engine.callback_sender import CallbackSender
from portal.simulator.engine.organisations import BANKS, FIRST, OrganisationSpec, open_or_update
from portal.simulator.engine.store import Store
from portal.simulator.handset import overview
from portal.simulator.handset import routes as handset
from portal.simulator.post import mailbox, sms
from portal.simulator.router import control as router_control
from portal.simulator.router import pages as router_pages
from portal.simulator.router.fleet import Fleet
from portal.simulator.router.machine import RouterSpec

Spec = TypeVar("Spec")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src"
    " 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


@dataclass(slots=True)
class Simulator:
    """What a running simulator holds; `app.extensions["simulator"]`."""

    store: Store
    callback_sender: CallbackSender
    certificate: certificates.Certificate
    public_url: str
    fleet: Fleet

    def close(self) -> None:
        """Stop the callback sender and release the file. What is still due goes out after the next start."""
        self.fleet.close()
        self.callback_sender.stop()
        self.store.close()


def create_simulator(
    *,
    data_dir: Path,
    public_url: str,
    strict: bool = False,
    organisations: Iterable[OrganisationSpec] = (),
    routers: Iterable[RouterSpec] = (),
    sms_callbacks: str = "",
) -> Flask:
    """A Daraja of its own. `organisations` stand beside the first one and are updated if they exist already; `routers`
    are opened beside it.

    strict: callback addresses must be public https, as in production. sms_callbacks: where delivery reports and answers
    by SMS go.
    """
    data_dir = Path(data_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    store = Store(data_dir / "simulator.sqlite3")
    for spec in (FIRST, *BANKS, *organisations):
        open_or_update(store, spec)
    store.keep("strict", strict)
    store.keep(sms.CALLBACKS, sms_callbacks)
    fleet = Fleet(store, data_dir)
    callback_sender = CallbackSender(
        store,
        in_turn={
            "answer": prompts.answer_job,
            "settle": settlements.settle_job,
            "router_look": fleet.look_job,
        },
        at_once={
            "sms_post": sms.post_job,
            "hand_payment": hand_payments.pay_job,
            "router_account": fleet.account_job,
            "router_heartbeat": fleet.heartbeat_job,
        },
    )
    simulator = Simulator(
        store, callback_sender, certificates.open_certificate(data_dir), public_url.rstrip("/"), fleet
    )

    app = Flask(
        "portal.simulator",
        template_folder="templates",
        static_folder="static",
        static_url_path="/static/simulator",
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.compact = True  # type: ignore[attr-defined]
    app.config["MAX_CONTENT_LENGTH"] = 256 * 1024
    app.extensions["simulator"] = simulator
    for module in (
        routes_oauth,
        routes_stk,
        routes_c2b,
        routes_requests,
        routes_other,
        handset,
        control,
        router_control,
        router_pages,
        overview,
        sms,
        mailbox,
    ):
        app.register_blueprint(module.blueprint)
    fleet.open(routers)
    app.register_error_handler(DarajaError, error_response)
    app.register_error_handler(PortalError, _refuse)
    app.register_error_handler(HTTPException, _http_problem)
    app.after_request(_add_headers)
    callback_sender.start()
    return app


def from_environment() -> Flask:
    """The application for a server's factory.

    SIMULATOR_DATA, SIMULATOR_URL, SIMULATOR_STRICT, SIMULATOR_ORGANISATIONS and SIMULATOR_ROUTERS (JSON lists as in
    `/control`), SIMULATOR_SMTP_PORT (where e-mail is taken; empty: nowhere), SIMULATOR_SMS_CALLBACKS (where reports of
    text messages and answers to them go; empty: nowhere).
    """
    app = create_simulator(
        data_dir=Path(os.environ.get("SIMULATOR_DATA", "var/simulator")),
        public_url=os.environ.get("SIMULATOR_URL", "http://127.0.0.1:8001"),
        strict=os.environ.get("SIMULATOR_STRICT", "").lower() in ("1", "true", "yes", "on"),
        organisations=_listed("SIMULATOR_ORGANISATIONS", OrganisationSpec.of),
        routers=_listed("SIMULATOR_ROUTERS", RouterSpec.of),
        sms_callbacks=os.environ.get("SIMULATOR_SMS_CALLBACKS", ""),
    )
    if smtp_port := os.environ.get("SIMULATOR_SMTP_PORT"):
        mailbox.listen(app.extensions["simulator"].store, host="127.0.0.1", port=int(smtp_port))
    return app


def _listed(name: str, read: Callable[[Mapping[str, Any]], Spec]) -> list[Spec]:
    try:
        return [read(item) for item in json.loads(os.environ.get(name) or "[]")]
    except (ValueError, TypeError, AttributeError, Refused) as problem:
        raise Misconfigured(f"{name} is no such JSON list: {problem}") from None


def _refuse(problem: Exception) -> Response:
    """A sentence for the person or program that used a handset or control door."""
    if not isinstance(problem, Refused):
        raise problem
    number = (request.view_args or {}).get("number")
    is_form = request.mimetype in ("application/x-www-form-urlencoded", "multipart/form-data")
    if is_form and number and problem.code != "invalid_phone":
        return redirect(url_for("handset.show", number=number, note="invalid"), 303)  # type: ignore[return-value]
    body: dict[str, object] = {"error": problem.code, "message": str(problem.message)}
    if problem.fields:
        body["fields"] = {name: str(sentence) for name, sentence in problem.fields.items()}
    response = jsonify(body)
    response.status_code = problem.status
    return response


def _http_problem(problem: HTTPException) -> Response:
    """Unknown paths and methods, in Daraja's form."""
    simulator = current_app.extensions["simulator"]
    if request.path.startswith(("/mpesa/", "/oauth/", "/pulltransactions/", "/v1/", "/standingorder/")):
        journal.write(
            simulator.store,
            direction="received",
            door="No such door",
            method=request.method,
            address=request.path,
            status=str(problem.code),
            body="" if problem.code == 413 else request.get_data(as_text=True)[:500],
            answer=problem.name,
            msisdn="",
            started_at=simulator.store.timestamp(),
        )
    if isinstance(problem, MethodNotAllowed):
        response = error_response(DarajaError(405, "405.001", "Method Not Allowed"))
        response.headers["Allow"] = ", ".join(problem.valid_methods or ())
        return response
    if isinstance(problem, NotFound):
        return error_response(DarajaError(404, "404.001.01", "Resource not found"))
    return error_response(DarajaError(problem.code or 500, f"{problem.code or 500}.001", problem.name))


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
