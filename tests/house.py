"""The product under test, with its people: Amina owns the clinic, Brian works at its counter, Chege owns another business.

`house.client()` is a stranger's browser, `house.api("amina")` an API client that is signed in. Nothing here replaces a
part of the product: jobs are the real ones, run by `house.work()` where a worker would.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
import requests
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.exceptions import HTTPException

from portal.api import _doors as api_doors
from portal.api import schemas
from portal.clinic import invoices, people
from portal.clinic.models import Clinician
from portal.gateways import settings
from portal.gateways.models import Gateway
from portal.hotspot import packages
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments.inbox import inbox
from portal.payments.models import InboxItem, Payment, Push
from portal.payments.processing import jobs
from portal.payments.stk import pushes
from portal.tenants.models import Tenant
from portal.users import credentials

PASSWORD = "correct horse"
_phones = itertools.count(1)


def new_phone(ending: str = "00") -> str:
    """A phone number that no other test uses; the ending chooses how the simulator's phone behaves."""
    return f"2547{next(_phones):06d}{ending}"


class _Named(FlaskClient):
    """A browser that asks for one host, unless told otherwise."""

    def __init__(self, url: str, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._url = url

    def open(self, *arguments: Any, **named: Any) -> Any:
        if arguments and isinstance(arguments[0], str):
            named.setdefault("base_url", self._url)
        return super().open(*arguments, **named)


class House:
    """One product with two tenants: `mlima`, a clinic and hotspot, and `bahari`, Chege's."""

    def __init__(self, app: Flask, *, daraja_url: str = "http://127.0.0.1:9", url: str = "") -> None:
        self.app, self.daraja_url, self.url = app, daraja_url, url
        self.tokens: dict[str, str] = {}

    def furnish(self) -> "House":
        """Tenants, people, gateways and packages."""
        with self.app.app_context(), transaction():
            for slug, shortcode in (("mlima", "600111"), ("bahari", "600222")):
                self._tenant(slug, shortcode)
        return self

    def _tenant(self, slug: str, shortcode: str) -> None:
        tenant = Tenant(
            slug=slug, name=f"{slug.capitalize()} House", is_clinic=True, is_hotspot=True, address="Moi Avenue 1",
            meeting_base_url="https://meet.example", help_phone="0700 000 001", refuses_unknown_accounts=slug == "mlima",
        )  # fmt: skip
        db.session.add(tenant)
        db.session.flush()
        settings.create(
            tenant.id,
            {
                "name": f"{slug} paybill", "displayName": f"{slug.upper()} HOUSE", "shortcode": shortcode,
                "consumerKey": f"{slug}-key", "consumerSecret": f"{slug}-secret", "passkey": f"{slug}-passkey",
                "env": "sandbox", "baseUrl": self._base_url(), "forClinic": True, "forHotspot": True,
            },
            actor="test",
        )  # fmt: skip
        for name, price, duration_s in (("1 hour", 20, 3_600), ("1 day", 50, 86_400)):
            given = {"name": name, "price": price, "duration": duration_s, "rate": "2M/5M"}
            packages.create(tenant.id, given, actor="test", push_limit_cents=tenant.push_limit_cents)
        team = {
            "mlima": (
                ("amina", "tenant_admin"),
                ("brian", "receptionist"),
                ("wanjiru", "clinician"),
                ("njeri", "accountant"),
                ("otieno", "patient"),
            )
        }
        for name, role in team.get(slug, (("chege", "tenant_admin"),)):
            user = credentials.add_user(email=f"{name}@{slug}.test", name=name.capitalize(), password=PASSWORD)
            credentials.add_role(user, tenant.id, role)
            if role == "patient":
                people.register(
                    tenant.id, name=name, phone="0711000001", email=f"{name}@{slug}.test", user_id=user.id, actor="test"
                )
        db.session.add(Clinician(tenant_id=tenant.id, name="Dr Wanjiru", title="General", fee_cents=150_000))
        db.session.flush()

    def _base_url(self) -> str:
        """In production no gateway is sent to a loopback address: there it is Safaricom's own."""
        return self.daraja_url if self.app.config["PORTAL"].development else ""

    def give_initiator(self, slug: str = "mlima") -> None:
        """An initiator with the simulator's certificate: pay-outs, reversals, status and balance work."""
        certificate = requests.get(f"{self.daraja_url}/certificate", timeout=30).text
        with self.app.app_context(), transaction():
            gateway = (
                db.session.query(Gateway).join(Tenant, Tenant.id == Gateway.tenant_id).filter(Tenant.slug == slug).one()
            )
            settings.change(
                gateway,
                {"initiatorName": f"{slug}-api", "initiatorPassword": "Safaricom123!", "certificate": certificate},
                actor="test",
                is_fresh_signin=True,
            )

    # --- getting about

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

    def settle(self) -> None:
        """What the money worker would do now: settle callbacks, deliver what was paid."""
        from portal import fulfilment

        with self.app.app_context():
            self._drain()
            fulfilment.deliver_paid()
            db.session.remove()

    def _drain(self) -> None:
        """Every turn of the draining job: on a busy machine one steps back before all is settled."""
        due = select(InboxItem.id).where(InboxItem.state == "new", InboxItem.next_at <= clock.now())
        jobs.drain_inbox()
        while db.session.scalar(due.limit(1)) is not None:
            db.session.rollback()
            jobs.drain_inbox()

    def settle_until(self, is_true: Callable[[], Any]) -> None:
        """Work until something is so: results come from the simulator's own thread."""

        def look() -> bool:
            self.work(rounds=1)
            return bool(is_true())

        wait_until(look)

    def work(self, rounds: int = 6) -> None:
        """Do what workers and scheduler would, until nothing is due."""
        from portal import fulfilment
        from portal.audit.jobs import chain_all
        from portal.outbox.deliver import deliver_due
        from portal.payments.processing.request_jobs import send_due

        for _round in range(rounds):
            with self.app.app_context():
                for job in (
                    jobs.expire_pushes,
                    jobs.send_pushes,
                    self._drain,
                    jobs.ask_mpesa,
                    send_due,
                    self._drain,
                    fulfilment.deliver_paid,
                    fulfilment.withdraw_unpaid,
                    deliver_due,
                ):
                    job()
                    db.session.remove()
                if not pushes.due_to_send() and not inbox.depth():
                    break
        with self.app.app_context():
            chain_all()

    # --- things

    @contextmanager
    def inside(self) -> Iterator[None]:
        """An application context, for looking at rows."""
        with self.app.app_context():
            yield
            db.session.remove()

    def tenant_id(self, slug: str = "mlima") -> int:
        with self.inside():
            return db.session.query(Tenant.id).filter_by(slug=slug).scalar()  # type: ignore[no-any-return]

    def hook(self, slug: str = "mlima") -> str:
        """The path of a tenant's hooks."""
        with self.inside():
            token = (
                db.session.query(Gateway.hook_token)
                .join(Tenant, Tenant.id == Gateway.tenant_id)
                .filter(Tenant.slug == slug, Gateway.archived_at.is_(None))
                .scalar()
            )
        return f"/hooks/{token}"

    def package(self, name: str = "1 day", slug: str = "mlima") -> str:
        items = self.client().get(f"/api/portal/packages?tenant={slug}").json["items"]  # type: ignore[index]
        return next(item["id"] for item in items if item["name"] == name)

    def invoice(self, amount: int = 1_500, slug: str = "mlima") -> tuple[str, str]:
        """(number, token) of a new invoice."""
        with self.app.app_context(), transaction():
            tenant = db.session.query(Tenant).filter_by(slug=slug).one()
            made = invoices.issue(
                tenant,
                lines=[{"kind": "other", "description": "Visit", "amount": amount}],
                payer={"name": "Payer"},
                actor="test",
            )
            return made.number, made.payment.token

    def pushed(self, token: str, msisdn: str = "", *, checkout_id: str | None = "made-up") -> "Pushed":
        """A push of a payment as if M-Pesa had accepted it, without a network."""
        msisdn = msisdn or new_phone()
        with self.app.app_context():
            with transaction():
                payment = db.session.query(Payment).filter_by(token=token).one()
                push = pushes.request_push(payment.id, msisdn, actor="test").push
                push_id = push.id
            with transaction():
                pushes.claim(push_id, hook_url="http://test/hooks")
            if checkout_id is not None:
                from portal.gateways.daraja import StkAccepted

                checkout_id = f"ws_CO_{push_id:010d}{msisdn[3:]}" if checkout_id == "made-up" else checkout_id
                with transaction():
                    pushes.accepted(
                        push_id,
                        StkAccepted(
                            checkout_request_id=checkout_id, merchant_request_id=f"m-{push_id}", customer_message=""
                        ),
                    )
            push = db.session.get_one(Push, push_id)
            found = Pushed(
                push.id,
                push.token,
                push.checkout_request_id or "ws_CO_unknown",
                push.amount_cents // 100,
                msisdn,
                push.reference,
            )
        return found

    def callback(self, pushed: "Pushed", **changes: Any) -> Any:
        """Post a callback for a push to its own address; the answer."""
        body = stk_body(pushed, **changes)
        return self.client().post(
            f"{self.hook()}/stk/{pushed.token}", data=json.dumps(body), content_type="application/json"
        )

    def status(self, token: str) -> dict[str, Any]:
        """What the captive portal's API says of a payment."""
        answer = self.client().get("/api/portal/mpesa/status", query_string={"paymentId": token})
        assert answer.status_code == 200, answer.text
        return answer.json  # type: ignore[return-value]

    def books(self) -> list[str]:
        """What the proof of the books complains about."""
        from portal.payments.integrity import problems

        with self.inside():
            return problems()


@dataclass
class Pushed:
    """A push as a test needs it. amount: shillings."""

    push_id: int
    token: str
    checkout_id: str
    amount: int
    msisdn: str
    reference: str


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


DOORS = {f"{door.method} /api{door.path}": door for door in api_doors.opened}


def csrf_of(client: FlaskClient, path: str) -> str:
    """The CSRF token of a page's form."""
    text = client.get(path).text
    return text.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]


def receipt(number: int, letter: str = "U") -> str:
    """A receipt number that looks like M-Pesa's."""
    return f"{letter}KL{number:07d}"


def stk_body(
    pushed: Pushed,
    *,
    code: int | str = 0,
    receipt: str = "UKL1ABCD23",
    amount: Any = None,
    checkout_id: str | None = None,
) -> dict[str, Any]:
    """An STK callback as Safaricom writes it."""
    callback: dict[str, Any] = {
        "MerchantRequestID": f"m-{pushed.push_id}",
        "CheckoutRequestID": checkout_id or pushed.checkout_id,
        "ResultCode": code,
        "ResultDesc": "The service request is processed successfully." if code == 0 else "Said so.",
    }
    if code == 0:
        callback["CallbackMetadata"] = {
            "Item": [
                {"Name": "Amount", "Value": float(pushed.amount if amount is None else amount)},
                {"Name": "MpesaReceiptNumber", "Value": receipt},
                {"Name": "Balance"},
                {"Name": "TransactionDate", "Value": int(clock.daraja_timestamp(clock.now()))},
                {"Name": "PhoneNumber", "Value": int(pushed.msisdn)},
            ]
        }
    return {"Body": {"stkCallback": callback}}


def c2b_body(
    *, receipt: str, amount: Any, account: str, shortcode: str = "600111", msisdn: str = "2547 ***** 126"
) -> dict[str, Any]:
    """A C2B confirmation as Safaricom writes it."""
    return {
        "TransactionType": "Pay Bill", "TransID": receipt, "TransTime": clock.daraja_timestamp(clock.now()),
        "TransAmount": f"{amount:.2f}", "BusinessShortCode": shortcode, "BillRefNumber": account, "InvoiceNumber": "",
        "OrgAccountBalance": "25.00", "ThirdPartyTransID": "", "MSISDN": msisdn, "FirstName": "JOHN", "MiddleName": "", "LastName": "",
    }  # fmt: skip


def wait_until(is_true: Any, *, within_s: float = 30.0) -> None:
    """Wait for something another thread does. The limit is for what never comes: a busy machine is slow."""
    until = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def later(seconds: float) -> None:
    """Move the product's clock."""
    clock.move(timedelta(seconds=seconds))
