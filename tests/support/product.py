"""The product under test, with its people: Amina owns the clinic, Brian works at its counter, Chege owns another business.

`product.client()` is a stranger's browser, `product.api("amina")` an API client that is signed in. Nothing here replaces a
part of the product: jobs are the real ones, run by `product.work()` where a worker would.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import requests
from flask import Flask
from sqlalchemy import make_url

from portal.clinic import invoices, people
from portal.clinic.models import Clinician
from portal.gateways import settings
from portal.gateways.models import Gateway
from portal.hotspot import packages
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.payments.inbox import inbox
from portal.payments.models import Payment, Push
from portal.payments.stk import pushes
from portal.tenants.models import Tenant
from portal.users import credentials
from tests.support.application import closed, config_for, opened
from tests.support.daraja import Pushed, new_phone, stk_body
from tests.support.visitors import PASSWORD, Visitors
from tests.support.workers import Workers

Made = TypeVar("Made")


class Product(Visitors, Workers):
    """One product with two tenants: `mlima`, a clinic and hotspot, and `bahari`, Chege's."""

    def __init__(self, app: Flask, *, daraja_url: str = "http://127.0.0.1:9", url: str = "") -> None:
        self.app, self.daraja_url, self.url = app, daraja_url, url
        self.tokens: dict[str, str] = {}
        self._beginning: tuple[bytes, datetime, dict[str, str], Any] | None = None

    def begin_again(self, prepare: Callable[[], Made] = lambda: None) -> Made:  # type: ignore[assignment]
        """Everything is as it was when this was first called, and it is then: each example of a property meets the same
        business at the same moment. prepare: what each would do first, done once; what it gave is given to all.

        For SQLite: its file is put back.
        """
        made = prepare() if self._beginning is None else None
        file = Path(make_url(self.app.config["PORTAL"].database_url).database or "")
        with self.app.app_context():
            db.session.remove()
            db.engine.dispose()
        if self._beginning is None:
            with closing(sqlite3.connect(file)) as connection:  # what is still in the write-ahead log is not copied
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._beginning = file.read_bytes(), clock.now(), dict(self.tokens), made
            return made  # type: ignore[return-value]
        rows, began_at, tokens, made = self._beginning
        for ending in ("-wal", "-shm"):
            file.with_name(file.name + ending).unlink(missing_ok=True)
        file.write_bytes(rows)
        clock.move(began_at - clock.now())
        self.app.extensions["redis"].flushdb()
        self.tokens = dict(tokens)
        inbox.forget_doors()
        return made  # type: ignore[no-any-return]

    def furnish(self) -> "Product":
        """Tenants, people, gateways and packages."""
        with self.app.app_context(), transaction():
            for slug, shortcode in (("mlima", "600111"), ("bahari", "600222")):
                _furnish(slug, shortcode, self.gateway_url())
        return self

    def gateway_url(self) -> str:
        """Where its gateways are reached: in production at Safaricom's own address, for none is sent to a loopback."""
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
                pushes.lease(push_id, hook_url="http://test/hooks")
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


def _furnish(slug: str, shortcode: str, gateway_url: str) -> None:
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
            "env": "sandbox", "baseUrl": gateway_url, "forClinic": True, "forHotspot": True,
        },
        actor="test",
    )  # fmt: skip
    for name, price, duration_s in (("1 hour", 20, 3_600), ("1 day", 50, 86_400)):
        packages.create(tenant.id, packages.Offer(name, price * 100, duration_s, "2M/5M"), actor="test")
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


def opened_product(database_url: str, redis_url: str, directory: Path, **changes: Any) -> Product:
    """A product over a database that is prepared; `closed_product()` gives it back."""
    return Product(opened(config_for(database_url, redis_url, directory / "data", **changes)))


def closed_product(product: Product) -> None:
    """Its connections are closed, and its application may be used again."""
    closed(product.app)
