"""Years of business, written in bulk: payments, pushes, receipts, callbacks, books and audit of long ago.

All of it is over and older than what any page or tick looks back on, so that what grows with it grows with history
and with nothing else. Written by the database from numbers: a million rows a table take minutes, not hours.
"""

from typing import Any

from sqlalchemy import Column, Connection, Table, func, insert, select, text

from portal.audit.models import AuditEntry
from portal.clinic.models import Invoice, InvoiceLine
from portal.gateways.models import Gateway
from portal.hotspot.models import AccessGrant, AccessSession, Package, Purchase, Site
from portal.kernel.db import db, migrating, refresh_statistics
from portal.ledger.models import Journal, Line
from portal.outbox.models import OutboxItem
from portal.payments.models import (
    Allocation,
    Customer,
    InboxItem,
    MpesaRequest,
    Payment,
    Push,
    Refund,
    SmsSubmission,
    Transaction,
    TransactionSource,
)
from portal.reconciliation.models import Reconciliation, StatementRow
from portal.tenants.models import Tenant
from portal.users.models import User

CHAINED_FROM = 10**8  # beside the chain that the product itself makes
OVER_FOR_DAYS, EVERY_S = 40, 30  # the latest of it, and the pace before
TILL_EVERY, FEW_EVERY = 5, 8  # every so many was paid by hand; and is one of what happens seldom
MODELS = (
    Payment, Push, Transaction, Allocation, TransactionSource, InboxItem, Journal, Line, AuditEntry, OutboxItem,
    Purchase, AccessGrant, AccessSession, MpesaRequest, SmsSubmission, Refund, Customer, Invoice, InvoiceLine,
    StatementRow, Reconciliation,
)  # fmt: skip


def fill(*, first: int, last: int, ends: int) -> None:
    """The old payments numbered so, with all that each left behind; needs an application context.

    They are the first tenant's. ends: the number of the latest of all that are ever written.
    """
    with migrating():
        db.session.remove()
        with db.engine.begin() as connection:
            _Writer(connection, first, last, ends).write()
        refresh_statistics()  # as the scheduler does
        if db.engine.dialect.name == "postgresql":
            with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("SET statement_timeout = 0"))
                for model in MODELS:
                    connection.execute(text(f"VACUUM ANALYZE {model.__tablename__}"))
                connection.execute(text("RESET statement_timeout"))


class _Writer:
    """Inserts what the numbers from `first` to `last` spell."""

    def __init__(self, connection: Connection, first: int, last: int, ends: int) -> None:
        self.connection, self.first, self.last, self.ends = connection, first, last, ends
        self.is_sqlite = connection.dialect.name == "sqlite"
        newest = [connection.scalar(select(func.max(model.__table__.c.id))) or 0 for model in MODELS]
        self.ids_after = max(max(newest) - first + 1, 0)  # the same of a number in every table

    def write(self) -> None:
        if not self.is_sqlite:
            self.connection.execute(text("SET LOCAL statement_timeout = 0"))
        tenant_id = self._first_of(Tenant)
        gateway_id, package_id, user_id = map(self._first_of, (Gateway, Package, User))
        own = {"tenant_id": str(tenant_id)}
        of_gateway = own | {"gateway_id": str(gateway_id), "environment": "'sandbox'"}
        by_id, phone = "f.id", "'h' || (i % 50000)"
        at = self._at()
        self._insert(
            Payment, of_gateway | {
                "token": "'t' || i", "purpose": "'hotspot'", "reference": "'X' || i", "amount_cents": "2000",
                "allocated_cents": "2000", "state": "'paid'", "paid_at": at, "fulfilled_at": at, "phone_hash": phone,
                "order_id": "'order-' || i",
            },
        )  # fmt: skip
        self._insert(
            Push, own | {
                "gateway_id": str(gateway_id), "payment_id": by_id, "token": "'p' || i",
                "reference": "'X' || i || 'P1'",
                "amount_cents": "2000", "state": "'succeeded'", "next_send_at": at, "sent_at": at, "ended_at": at,
                "phone_hash": phone, "sends": "1",
            },
        )  # fmt: skip
        is_by_hand = f"i % {TILL_EVERY} = 0"
        self._insert(
            Transaction, of_gateway | {
                "uid": "'x' || i", "receipt": "'UKA' || i", "amount_cents": "2000", "unallocated_cents": "0",
                "channel": f"CASE WHEN {is_by_hand} THEN 'c2b' ELSE 'stk' END",
                "push_id": f"CASE WHEN {is_by_hand} THEN NULL ELSE f.id END",
                "account": f"CASE WHEN {is_by_hand} THEN 'X' || i ELSE 'X' || i || 'P1' END",
                "phone_hash": phone, "occurred_at": at,
            },
        )  # fmt: skip
        self._insert(Allocation, own | {"transaction_id": by_id, "payment_id": by_id, "amount_cents": "2000"})
        self._insert(TransactionSource, own | {"transaction_id": by_id, "channel": "'stk'"})
        self._insert(
            InboxItem, own | {
                "gateway_id": str(gateway_id), "received_at": at, "next_at": at, "done_at": at, "state": "'done'",
                "kind": f"CASE WHEN {is_by_hand} THEN 'c2b' ELSE 'stk' END", "dedupe": "'d' || i",
                "push_token": f"CASE WHEN {is_by_hand} THEN NULL ELSE 'p' || i END", "body_sealed": "'sealed'",
                "push_id": f"CASE WHEN {is_by_hand} THEN NULL ELSE f.id END", "outcome": "'Paid'",
            },
        )  # fmt: skip
        posted = {"environment": "'sandbox'", "kind": "'money_in'", "reference": "'x' || i", "occurred_at": at}
        self._insert(Journal, own | posted)
        lines = {"journal_id": by_id, "amount_cents": "CASE WHEN i % 2 = 0 THEN 2000 ELSE -2000 END"}
        self._insert(Line, own | lines | {"account": "CASE WHEN i % 2 = 0 THEN 'mpesa_clearing' ELSE 'suspense' END"})
        self._insert(
            AuditEntry, own | {
                "actor": "'worker'", "action": "'booked'", "subject_kind": "'transaction'", "subject_id": by_id,
                "seq": f"i + {CHAINED_FROM}", "prev_hash": "'0'", "hash": "'0'",
            },
        )  # fmt: skip
        sent = {"kind": "'sms'", "key": "'k' || i", "payload_sealed": "'sealed'", "state": "'done'", "next_at": at}
        self._insert(OutboxItem, own | sent)
        device = "'AA:BB:' || (i % 30000)"
        self._insert(Purchase, own | {"payment_id": by_id, "package_id": str(package_id), "mac": device})
        self._insert(
            AccessGrant, own | {
                "purchase_id": by_id, "package_id": str(package_id), "leader_id": by_id, "mac": device,
                "username": "'UKA' || i", "password": "'password'", "starts_at": at, "expires_at": at,
                "provision_at": "NULL",
            },
        )  # fmt: skip
        self._insert(
            AccessSession, own | {
                "uid": "'s' || i", "accounting_id": "'s' || i", "site_id": str(self._site(tenant_id)),
                "grant_id": by_id,
                "username": "'UKA' || i", "mac": device, "started_at": at, "updated_at": at, "stopped_at": at,
                "bytes_in": "1000000", "bytes_out": "9000000",
            },
        )  # fmt: skip
        self._insert(
            MpesaRequest, own | {
                "gateway_id": str(gateway_id), "kind": "'status'", "receipt": "'UKZ' || i", "token": "'q' || i",
                "state": "'answered'", "next_at": "NULL", "answered_at": at,
            },
        )  # fmt: skip
        self._insert(
            SmsSubmission, of_gateway | {
                "uid": "'c' || i", "receipt": "'UKA' || i", "payment_id": by_id, "stated_cents": "2000",
                "text_sealed": "'sealed'", "state": "'accepted'", "device": device, "transaction_id": by_id,
            },
        )  # fmt: skip
        seldom = f"i % {FEW_EVERY} = 0"
        self._insert(
            Refund, of_gateway | {
                "uid": "'r' || i", "transaction_id": by_id, "payment_id": by_id, "method": "'b2c'", "state": "'done'",
                "amount_cents": "100", "requested_by_id": str(user_id), "receipt": "'UKR' || i", "ended_at": at,
            },
            where=seldom,
        )  # fmt: skip
        self._insert(
            Customer, own | {"uid": "'u' || i", "account_number": "'C9' || i", "phone_hash": "'g' || i"}, where=seldom
        )
        named = {"uid": "'v' || i", "number": "'OLD-' || i", "verify_token": "'v' || i"}
        self._insert(Invoice, own | named | {"payment_id": by_id}, where=seldom)
        self._insert(
            InvoiceLine,
            own | {"invoice_id": by_id, "kind": "'other'", "description": "'Visit'", "amount_cents": "2000"},
            where=seldom,
        )
        compared = {"gateway_id": str(gateway_id), "uid": "'n' || i", "source": "'statement'", "digest": "'d' || i"}
        self._insert(Reconciliation, own | compared, where=f"i % {FEW_EVERY * 2} = 0 OR i = {self.first}")
        self._insert(
            StatementRow, own | {
                "reconciliation_id": str(self.first + self.ids_after), "row_number": "i",
                "receipt": "'UKA' || i", "kind": "'payment'",
                "bucket": "'matched'", "transaction_id": by_id, "completed_at": at, "paid_in_cents": "2000",
            },
        )  # fmt: skip

    def _first_of(self, model: Any) -> int:
        return int(self.connection.scalar(select(func.min(model.__table__.c.id))) or 0)

    def _site(self, tenant_id: int) -> int:
        """A site of this tenant, made where there is none."""
        table = Site.__table__
        known = self.connection.scalar(select(func.min(table.c.id)).where(table.c.tenant_id == tenant_id))
        if known is None:
            made = insert(Site).values(tenant_id=tenant_id, name="Lodge", address="10.90.0.7", secret="secret-of-it")
            known = self.connection.scalar(made.returning(table.c.id))
        return int(known or 0)

    def _at(self) -> str:
        seconds = f"({OVER_FOR_DAYS} * 86400 + ({self.ends} - i) * {EVERY_S})"
        if self.is_sqlite:
            return f"strftime('%Y-%m-%d %H:%M:%S', 'now', '-' || {seconds} || ' seconds') || '.000000'"
        return f"now() - {seconds} * interval '1 second'"

    def _insert(self, model: Any, values: dict[str, str], *, where: str = "1 = 1") -> None:
        """values: column -> SQL over `i` and `f.id`. Columns that may not be empty have what the model says."""
        table: Table = model.__table__
        given = {"id": "f.id", "created_at": self._at()} if "created_at" in table.c else {"id": "f.id"}
        given |= {name: sql for name, sql in values.items() if name in table.c}
        for column in table.columns:
            if column.name not in given and not column.nullable:
                given[column.name] = self._default(column)
        self.connection.execute(
            text(
                f"INSERT INTO {table.name} ({', '.join(given)}) "  # noqa: S608 - our own names and numbers
                f"WITH RECURSIVE g(i) AS (SELECT {self.first} UNION ALL SELECT i + 1 FROM g WHERE i < {self.last}), "
                f"f AS (SELECT i, i + {self.ids_after} AS id FROM g) "
                f"SELECT {', '.join(given.values())} FROM f WHERE {where}"
            )
        )
        if not self.is_sqlite:
            sequence = f"pg_get_serial_sequence('{table.name}', 'id')"
            self.connection.execute(text(f"SELECT setval({sequence}, {self.last + self.ids_after})"))

    def _default(self, column: "Column[Any]") -> str:
        default: Any = column.default
        value = default.arg if default is not None and default.is_scalar else None
        if isinstance(value, bool):
            return str(value).lower() if not self.is_sqlite else str(int(value))
        if isinstance(value, int):
            return str(value)
        if isinstance(value, str):
            return f"'{value}'"
        return "'{}'" if default is not None and "JSON" in str(column.type) else "''"
