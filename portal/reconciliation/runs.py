"""Our books against M-Pesa's own records: a statement, or pulled transactions, row by row, into buckets that add up.

`run` opens its own transactions, one a batch, because a month is too much for one: callbacks wait meanwhile. Each
batch commits its rows with what they booked, so that a run that was cut off goes on where it stopped when the same
file comes again; a whole one changes nothing then.

Decided: rows are taken oldest first whatever the file's order, so that a payment is booked before its reversal.
Decided: a run happens while the person waits, instead of in a worker: the file is not kept anywhere.
"""

import hashlib
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from portal import personal
from portal.audit import chain
from portal.db import db, new_uid, transaction, upsert_nothing
from portal.errors import PortalError, Refused
from portal.gateways.messages import PulledTransaction
from portal.gateways.models import Gateway
from portal.payments import accounts, pull
from portal.payments.models import Refund, Transaction, Witness
from portal.phone import without_phone
from portal.reconciliation.models import Reconciliation, StatementRow
from portal.reconciliation.rows import (
    BUCKETS,
    FLAGGED,
    MISSING_THERE,
    Known,
    Verdict,
    judge,
    look_up,
    post_internal,
)
from portal.reconciliation.statements import PAYOUT, REVERSAL, Row, Statement, read, shortcode_in

BATCH_ROWS = 200
LISTED_AFTER = timedelta(minutes=15)  # what is younger may not be in M-Pesa's list yet
STATEMENT, PULL = "statement", "pull"
WHOLE = "rows"  # in `counts` once every row has its bucket


class DoNotAddUp(PortalError):
    """A row is in no bucket, or in two: a mistake of ours."""


def read_statement(content: bytes, *, name: str, gateway: Gateway) -> Statement:
    """The statement of this gateway in a file. Raises StatementError."""
    return read(content, name=name, shortcodes=_own_shortcodes(gateway))


def _own_shortcodes(gateway: Gateway) -> set[str]:
    return accounts.numbers_of(gateway) | ({gateway.b2c_shortcode} if gateway.b2c_shortcode else set())


def gateway_of(content: bytes, *, name: str) -> Gateway:
    """The one gateway, of any tenant, whose statement a file says it is. Raises StatementError, Refused."""
    stated = shortcode_in(content, name=name)
    kept = db.session.scalars(select(Gateway).where(Gateway.archived_at.is_(None)).order_by(Gateway.id))
    fitting = [gateway for gateway in kept if stated in _own_shortcodes(gateway)]
    if len(fitting) == 1:
        return fitting[0]
    if not stated:
        raise Refused(f"{name} does not say whose statement it is. Say so: --tenant NAME.")
    several = f"{len(fitting)} gateways are" if fitting else "No gateway here is"
    raise Refused(f"{name} is the statement of {stated}. {several} called so: say --tenant NAME --gateway ID.")


def run(gateway_id: int, statement: Statement, *, user_id: int | None, actor: str) -> int:
    """Reconcile a statement; the id of its report, for the same file again the one it had. Opens transactions."""
    return _Run(gateway_id, statement, source=STATEMENT, user_id=user_id, actor=actor).work()


def run_list(gateway_id: int, *, user_id: int | None, actor: str) -> int | None:
    """Reconcile M-Pesa's own list of the last 48 hours; the report's id, None where it says nothing new.

    Opens its own transactions, none while it waits for M-Pesa. Raises DarajaError, Conflict.
    """
    rows, since, until = pull.listed(gateway_id)
    return run_pulled(gateway_id, rows, since=since, until=until - LISTED_AFTER, user_id=user_id, actor=actor)


def run_pulled(
    gateway_id: int,
    pulled: list[PulledTransaction],
    *,
    since: datetime,
    until: datetime,
    user_id: int | None = None,
    actor: str,
) -> int | None:
    """Reconcile what M-Pesa's Pull answered for a period; the report's id, None where it says nothing new.

    Pulls overlap: rows that an earlier pull reported are left out, and so is money of ours that it missed before.
    """
    gateway = db.session.get_one(Gateway, gateway_id)
    seen = set(
        db.session.scalars(
            select(StatementRow.receipt)
            .join(Reconciliation)
            .where(
                Reconciliation.gateway_id == gateway_id,
                Reconciliation.source == PULL,
                StatementRow.completed_at >= since,
            )
        )
    )
    rows = [_pulled_row(number, one, until) for number, one in enumerate(pulled, 1) if one.receipt not in seen]
    everything = frozenset(one.receipt for one in pulled)
    missing = _missing_there(gateway, since, until, everything, unreported=True)
    if not rows and not missing:
        return None
    told = "\n".join([*sorted(f"{row.receipt} {row.paid_in_cents}" for row in rows), *(str(m.id) for m in missing)])
    statement = Statement(
        name="pull",
        layout=PULL,
        digest=hashlib.sha256(f"{PULL}\n{told}".encode()).hexdigest(),
        rows=rows,
        since=since,
        until=until,
    )
    return _Run(gateway_id, statement, source=PULL, user_id=user_id, actor=actor, also_there=everything).work()


def _pulled_row(number: int, one: PulledTransaction, until: datetime) -> Row:
    return Row(
        number=number,
        receipt=one.receipt,
        completed_at=one.occurred_at or until,
        kind=one.transaction_type[:60],
        paid_in_cents=one.amount_cents,
        withdrawn_cents=0,
        account=one.account[:40],
        details=" · ".join(filter(None, (one.transaction_type, one.organisation))),
        payer=one.payer,
        payer_name=one.sender[:80],
    )


class _Run:
    """One reconciliation at work."""

    def __init__(
        self,
        gateway_id: int,
        statement: Statement,
        *,
        source: str,
        user_id: int | None,
        actor: str,
        also_there: frozenset[str] = frozenset(),
    ) -> None:
        self.gateway_id, self.statement, self.source = gateway_id, statement, source
        self.user_id, self.actor, self.also_there = user_id, actor, also_there
        self.rows = sorted(statement.rows, key=lambda row: (row.completed_at, row.nature == REVERSAL, row.number))
        self.reversed = frozenset(row.linked_receipt for row in self.rows if row.nature == REVERSAL)
        self.seen: set[tuple[str, str, int]] = set()

    def work(self) -> int:
        with transaction():
            reconciliation_id, is_whole = self._open()
        if is_whole:
            return reconciliation_id
        for first in range(0, len(self.rows), BATCH_ROWS):
            with transaction():
                self._take(reconciliation_id, self.rows[first : first + BATCH_ROWS])
        with transaction():
            self._close(reconciliation_id)
        return reconciliation_id

    def _open(self) -> tuple[int, bool]:
        gateway = db.session.get_one(Gateway, self.gateway_id)
        db.session.execute(
            upsert_nothing(
                Reconciliation,
                unique=["tenant_id", "gateway_id", "digest"],
                tenant_id=gateway.tenant_id,
                uid=new_uid(),
                gateway_id=gateway.id,
                source=self.source,
                layout=self.statement.layout,
                digest=self.statement.digest,
                since=self.statement.since,
                until=self.statement.until,
                made_by_id=self.user_id,
            )
        )
        made = db.session.scalars(
            select(Reconciliation).where(
                Reconciliation.tenant_id == gateway.tenant_id,
                Reconciliation.gateway_id == gateway.id,
                Reconciliation.digest == self.statement.digest,
            )
        ).one()
        return made.id, WHOLE in made.counts

    def _lock(self, reconciliation_id: int) -> Reconciliation:
        """Two people who send the same file at once take turns."""
        return db.session.scalars(
            select(Reconciliation)
            .where(Reconciliation.id == reconciliation_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).one()

    def _take(self, reconciliation_id: int, rows: list[Row]) -> None:
        self._lock(reconciliation_id)
        numbers = [row.number for row in rows]
        taken = set(
            db.session.scalars(
                select(StatementRow.row_number).where(
                    StatementRow.reconciliation_id == reconciliation_id, StatementRow.row_number.in_(numbers)
                )
            )
        )
        gateway = db.session.get_one(Gateway, self.gateway_id)
        known = look_up(gateway, rows, channel=self.source)
        known.seen, known.reversed_in_file = self.seen, self.reversed
        known.names_reversed = self.statement.layout in ("legacy", "store")
        values = []
        for row in rows:
            if row.number in taken:
                self.seen.add((row.receipt, row.nature, row.signed_cents))
                continue
            values.append(self._value(reconciliation_id, gateway.tenant_id, row, judge(row, known)))
        post_internal(known)
        if values:
            self._carry_resolutions(gateway.tenant_id, values)
            db.session.execute(insert(StatementRow), values)
            self._bear_witness(known, values)

    def _value(self, reconciliation_id: int, tenant_id: int, row: Row, verdict: Verdict) -> dict[str, Any]:
        return {
            "tenant_id": tenant_id,
            "reconciliation_id": reconciliation_id,
            "row_number": row.number,
            "receipt": row.receipt,
            "completed_at": row.completed_at,
            "kind": row.nature,
            "details_sealed": personal.seal_text(row.details, tenant_id),
            "account": without_phone(row.account),
            "paid_in_cents": row.paid_in_cents,
            "withdrawn_cents": row.withdrawn_cents,
            "balance_cents": row.balance_cents,
            "resolved_at": None,
            "resolution": "",
        } | self._verdict(tenant_id, verdict)

    def _verdict(self, tenant_id: int, verdict: Verdict) -> dict[str, Any]:
        is_flagged = verdict.bucket in FLAGGED
        if is_flagged and verdict.transaction_id is not None:
            chain.record(
                tenant_id, "transaction", verdict.transaction_id, "flagged", actor=self.actor,
                new=verdict.bucket, why=verdict.why,
            )  # fmt: skip
        return {
            "bucket": verdict.bucket,
            "why": verdict.why[:300],
            "transaction_id": verdict.transaction_id,
            "owner_id": self.user_id if is_flagged else None,
        }

    def _carry_resolutions(self, tenant_id: int, values: list[dict[str, Any]]) -> None:
        """What somebody explained in an earlier report need not be explained again."""
        flagged = {value["receipt"]: value for value in values if value["bucket"] in FLAGGED}
        explained = select(StatementRow).where(
            StatementRow.tenant_id == tenant_id,
            StatementRow.receipt.in_([receipt for receipt in flagged if receipt]),
            StatementRow.resolved_at.is_not(None),
        )
        for earlier in db.session.scalars(explained.order_by(StatementRow.id)) if flagged else ():
            value = flagged[earlier.receipt]
            if (earlier.bucket, earlier.why, earlier.kind) == (value["bucket"], value["why"], value["kind"]):
                value |= {
                    "resolved_at": earlier.resolved_at,
                    "resolution": earlier.resolution,
                    "owner_id": earlier.owner_id,
                }

    def _bear_witness(self, known: Known, values: list[dict[str, Any]]) -> None:
        """M-Pesa's records speak for a transaction as a callback does."""
        told = {v["transaction_id"] for v in values if v["bucket"] == "matched" and v["kind"] == "payment"}
        rows = [
            {"tenant_id": known.gateway.tenant_id, "transaction_id": one, "channel": known.channel}
            for one in sorted(told - {None})
        ]
        if rows:
            dialect: Any = postgresql if db.engine.dialect.name == "postgresql" else sqlite
            db.session.execute(
                dialect.insert(Witness).on_conflict_do_nothing(index_elements=["transaction_id", "channel"]), rows
            )

    def _close(self, reconciliation_id: int) -> None:
        made = self._lock(reconciliation_id)
        if WHOLE in made.counts:
            return
        gateway = db.session.get_one(Gateway, self.gateway_id)
        if self.statement.since and self.statement.until and self.statement.holds_customers_money:
            there = frozenset(row.receipt for row in self.rows) | self.also_there
            missing = _missing_there(
                gateway, self.statement.since, self.statement.until, there, unreported=self.source == PULL
            )
            values = [self._missing_value(made, item) for item in missing]
            if self.source == STATEMENT:
                values += [self._missing_refund(made, one) for one in self._refunds_lacking(gateway, there)]
            if values:
                self._carry_resolutions(gateway.tenant_id, values)
                db.session.execute(insert(StatementRow), values)
        counts = counts_of(made)
        if sum(counts.values()) - counts[MISSING_THERE] != len(self.rows):
            raise DoNotAddUp(
                f"Reconciliation {made.id}: {counts} must add up to {len(self.rows)} rows of {self.statement.name}."
            )
        made.counts = counts | {WHOLE: len(self.rows)}
        chain.record(
            made.tenant_id, "reconciliation", made.id, "reconciled", actor=self.actor,
            new=made.digest[:12], details=made.counts,
        )  # fmt: skip

    def _missing_value(self, made: Reconciliation, item: Transaction) -> dict[str, Any]:
        why = "M-Pesa's records of this time lack it."
        if item.receipt is None:
            why = "M-Pesa's receipt of it is not known, and no row of these records fits it."
        return {
            "tenant_id": made.tenant_id, "reconciliation_id": made.id, "row_number": 0,
            "receipt": item.receipt or "", "completed_at": item.occurred_at, "kind": "payment",
            "details_sealed": None, "account": item.account, "paid_in_cents": item.amount_cents,
            "withdrawn_cents": 0, "balance_cents": None, "resolved_at": None, "resolution": "",
        } | self._verdict(made.tenant_id, Verdict(MISSING_THERE, why, item.id))  # fmt: skip

    def _refunds_lacking(self, gateway: Gateway, there: frozenset[str]) -> list[Refund]:
        """Refunds that went out in this time, as we believe, and that the statement lacks."""
        since, until = self.statement.since, self.statement.until
        mine = select(Refund).where(
            Refund.tenant_id == gateway.tenant_id,
            Refund.gateway_id == gateway.id,
            Refund.environment == gateway.environment,
            Refund.state == "done",
            Refund.receipt.is_not(None),
            Refund.sent_at >= since,
            Refund.ended_at <= until,
        )
        if gateway.b2c_shortcode not in ("", None, self.statement.shortcode or gateway.shortcode):
            mine = mine.where(Refund.method == "reversal")  # pay-outs are on the statement of another shortcode
        found = db.session.scalars(mine.order_by(Refund.id)).all()
        names_them = any(row.linked_receipt for row in self.rows if row.nature == REVERSAL)
        return [
            one
            for one in found
            if one.receipt not in there
            and not (one.method == "reversal" and (not names_them or one.transaction.receipt in self.reversed))
        ]

    def _missing_refund(self, made: Reconciliation, refund: Refund) -> dict[str, Any]:
        verdict = Verdict(
            MISSING_THERE, "Here this refund went out; M-Pesa's records of this time lack it.", refund.transaction_id
        )
        return {
            "tenant_id": made.tenant_id, "reconciliation_id": made.id, "row_number": 0,
            "receipt": refund.receipt or "", "completed_at": refund.ended_at,
            "kind": PAYOUT if refund.method == "b2c" else REVERSAL,
            "details_sealed": None, "account": "", "paid_in_cents": 0, "withdrawn_cents": refund.amount_cents,
            "balance_cents": None, "resolved_at": None, "resolution": "",
        } | self._verdict(made.tenant_id, verdict)  # fmt: skip


def _missing_there(
    gateway: Gateway, since: datetime, until: datetime, there: frozenset[str], *, unreported: bool
) -> list[Transaction]:
    """Money that came through this gateway in this time, as we believe, and that M-Pesa's records lack."""
    mine = select(Transaction).where(
        Transaction.tenant_id == gateway.tenant_id,
        Transaction.gateway_id == gateway.id,
        Transaction.environment == gateway.environment,
        Transaction.provider == "mpesa",
        Transaction.occurred_at.between(since, until),
        Transaction.merged_into_id.is_(None),
        Transaction.reversed_at.is_(None),
        Transaction.voided_at.is_(None),
    )
    if unreported:
        reported = (
            select(StatementRow.id)
            .join(Reconciliation)
            .where(
                StatementRow.transaction_id == Transaction.id,
                StatementRow.bucket == MISSING_THERE,
                Reconciliation.source == PULL,
            )
        )
        mine = mine.where(~reported.exists())
    found = db.session.scalars(mine.order_by(Transaction.occurred_at, Transaction.id).execution_options(yield_per=500))
    return [item for item in found if item.receipt not in there]


def counts_of(made: Reconciliation) -> dict[str, int]:
    """How many rows each bucket holds, as the table says."""
    held = select(StatementRow.bucket, func.count()).where(StatementRow.reconciliation_id == made.id)
    found = {str(bucket): int(number) for bucket, number in db.session.execute(held.group_by(StatementRow.bucket))}
    return {bucket: found.get(bucket, 0) for bucket in BUCKETS}


def counts_by_id(reconciliation_id: int) -> dict[str, int]:
    """The same of the report with this id."""
    return counts_of(db.session.get_one(Reconciliation, reconciliation_id))


def differences_in(counts: dict[str, int]) -> int:
    """How many of these rows a person must look into."""
    return sum(counts[bucket] for bucket in FLAGGED)
