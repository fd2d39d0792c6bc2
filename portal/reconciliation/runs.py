"""Our books against M-Pesa's own records: a statement, or pulled transactions, row by row, into buckets that add up.

`run` and `accept` open their own transactions, one a batch, because a month is too much for one: callbacks wait
meanwhile. Each batch commits its rows with what they booked, so that what was cut off goes on where it stopped when it
is asked for again; a whole one changes nothing then.

Decided: a statement is believed by an administrator, not by whoever brings the file. `run` makes a draft: it does all
that accepting would do, and takes it back, so that the draft shows what would be booked by the very rules that book.
`accept` then does it again for good, with what became known meanwhile. M-Pesa's own list, which it gave to us, needs
nobody's word.
Decided: one row that cannot be taken stops no other. It is listed with its number among the differences.
Decided: rows are taken oldest first whatever the file's order, so that a payment is booked before its reversal.
Decided: a run happens while the person waits, instead of in a worker. The file is kept, sealed, until it is accepted.
"""

import base64
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from portal.audit import chain
from portal.gateways.messages import PulledTransaction
from portal.gateways.models import Gateway
from portal.kernel import clock, personal
from portal.kernel.db import db, new_uid, transaction, upsert_nothing
from portal.kernel.errors import Conflict, PortalError, Refused, Sentence
from portal.kernel.logs import logger
from portal.kernel.phone import without_phone
from portal.payments import matching
from portal.payments.c2b import pull
from portal.payments.models import MpesaRequest, Refund, Transaction, TransactionSource
from portal.payments.processing.jobs import is_passing
from portal.payments.refunds import refunds
from portal.payments.states import RefundState
from portal.reconciliation.models import PULL, STATEMENT, Reconciliation, StatementRow
from portal.reconciliation.rows import (
    BUCKETS,
    DIFFERENT,
    FLAGGED,
    MATCHED,
    MISSING_THERE,
    Known,
    Verdict,
    judge,
    look_up,
    post_internal,
)
from portal.reconciliation.statements import PAYMENT, PAYOUT, REVERSAL, Row, Statement, read, shortcode_in

BATCH_ROWS = 200
LISTED_AFTER = timedelta(minutes=15)  # what is younger may not be in M-Pesa's list yet
SEEN_AT_ONCE = 500  # receipts looked up by one statement
WHOLE = "rows"  # in `counts` once every row has its bucket


_Lacking = tuple[int, str, str]  # transaction, receipt and kind of what M-Pesa's records lack


class DoNotAddUp(PortalError):
    """A row is in no bucket, or in two: a mistake of ours."""


def read_statement(content: bytes, *, name: str, gateway: Gateway) -> Statement:
    """The statement of this gateway in a file. Raises StatementError."""
    return read(content, name=name, shortcodes=_own_shortcodes(gateway))


def _own_shortcodes(gateway: Gateway) -> set[str]:
    return matching.numbers_of(gateway) | ({gateway.b2c_shortcode} if gateway.b2c_shortcode else set())


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
    """Compare a statement with our books; the id of its report, for the same file again the one it had.

    Nothing is booked until the report is accepted. Opens transactions.
    """
    return _Run(gateway_id, statement, source=STATEMENT, user_id=user_id, actor=actor, is_draft=True).work()


def accept(reconciliation_id: int, *, user_id: int | None, actor: str) -> None:
    """An administrator believes this statement: what was missing is booked and placed. Opens transactions.

    Done once, however often it is asked for; cut off, it goes on where it stopped. Raises Conflict where the
    comparison is not whole, where the gateway went from test to real money since, or where the file's own totals
    cannot be checked.
    """
    with transaction():
        made = _locked(reconciliation_id)
        if not made.is_draft:
            return
        _refuse_unless_acceptable(made)
        if made.accepted_at is None:
            made.accepted_at, made.accepted_by_id = clock.now(), user_id
            chain.record(made.tenant_id, "reconciliation", made.id, "accepted", actor=actor, new=made.digest[:12])
        gateway, name = made.gateway, made.name
        content = _unpacked(personal.open_text(made.content_sealed, made.tenant_id) or "")
        gateway_id, shortcodes = gateway.id, _own_shortcodes(gateway)
    statement = read(content, name=name, shortcodes=shortcodes)
    _Run(gateway_id, statement, source=STATEMENT, user_id=user_id, actor=actor).book(reconciliation_id)


def _refuse_unless_acceptable(made: Reconciliation) -> None:
    if WHOLE not in made.counts:
        raise Conflict(Sentence("This comparison was cut off. Choose the same file again, then accept it."))
    if made.environment != made.gateway.environment:
        raise Conflict(
            Sentence(
                "This gateway went from test to real money, or back, since. Choose the file again, then accept it."
            )
        )
    if unproved := made.why_unproved:
        raise Conflict(unproved, code="not_proved")


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def _locked(reconciliation_id: int) -> Reconciliation:
    """Two people who send or accept the same file at once take turns."""
    return db.session.scalars(
        select(Reconciliation)
        .where(Reconciliation.id == reconciliation_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()


def run_list(gateway_id: int, *, user_id: int | None, actor: str) -> int | None:
    """Reconcile M-Pesa's own list of the last 48 hours; the report's id, None where it says nothing new.

    Opens its own transactions, none while it waits for M-Pesa. Raises DarajaError, Conflict.
    """
    rows, since, until = pull.fetch_list(gateway_id)
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
    seen = _reported_before(gateway, [one.receipt for one in pulled])
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


def _reported_before(gateway: Gateway, receipts: list[str]) -> set[str]:
    found: set[str] = set()
    for first in range(0, len(receipts), SEEN_AT_ONCE):
        of_receipts = select(StatementRow.receipt).join(Reconciliation)
        found |= set(
            db.session.scalars(
                of_receipts.where(
                    StatementRow.tenant_id == gateway.tenant_id,
                    StatementRow.receipt.in_(receipts[first : first + SEEN_AT_ONCE]),
                    Reconciliation.gateway_id == gateway.id,
                    Reconciliation.source == PULL,
                )
            )
        )
    return found


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
        is_draft: bool = False,
    ) -> None:
        self.is_draft = is_draft
        self.gateway_id, self.statement, self.source = gateway_id, statement, source
        self.user_id, self.actor, self.also_there = user_id, actor, also_there
        self.rows = sorted(statement.rows, key=lambda row: (row.completed_at, row.nature == REVERSAL, row.number))
        self.reversed = frozenset(row.linked_receipt for row in self.rows if row.nature == REVERSAL)
        self.seen: set[tuple[str, str, int]] = set()

    def work(self) -> int:
        with transaction():
            reconciliation_id, is_whole = self._open()
        if not is_whole:
            self._take_all(reconciliation_id)
        return reconciliation_id

    def book(self, reconciliation_id: int) -> None:
        """Do for good what the draft of this report shows."""
        self._take_all(reconciliation_id)

    def _take_all(self, reconciliation_id: int) -> None:
        for first in range(0, len(self.rows), BATCH_ROWS):
            with transaction():
                self._take(reconciliation_id, self.rows[first : first + BATCH_ROWS])
        with transaction():
            self._close(reconciliation_id)

    def _open(self) -> tuple[int, bool]:
        gateway = db.session.get_one(Gateway, self.gateway_id)
        db.session.execute(
            upsert_nothing(
                Reconciliation,
                unique=["tenant_id", "gateway_id", "environment", "digest"],
                tenant_id=gateway.tenant_id,
                uid=new_uid(),
                gateway_id=gateway.id,
                environment=gateway.environment,
                name=self.statement.name[:80],
                content_sealed=self._kept(gateway.tenant_id),
                unproved=_told(self.statement.unproved),
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
                Reconciliation.environment == gateway.environment,
                Reconciliation.digest == self.statement.digest,
            )
        ).one()
        return made.id, WHOLE in made.counts

    def _kept(self, tenant_id: int) -> str | None:
        return personal.seal_text(_packed(self.statement.content), tenant_id) if self.is_draft else None

    def _take(self, reconciliation_id: int, rows: list[Row]) -> None:
        made = _locked(reconciliation_id)
        if made.booked_at is not None:
            return
        numbers = [row.number for row in rows]
        before = {
            row.row_number: row
            for row in db.session.scalars(
                select(StatementRow).where(
                    StatementRow.reconciliation_id == reconciliation_id, StatementRow.row_number.in_(numbers)
                )
            )
        }
        is_taken = {number for number, row in before.items() if self.is_draft or not row.is_draft}
        self.seen |= {(row.receipt, row.nature, row.signed_cents) for row in rows if row.number in is_taken}
        left = [row for row in rows if row.number not in is_taken]
        verdicts = self._judged(db.session.get_one(Gateway, self.gateway_id), left)
        values = [
            self._value(reconciliation_id, made.tenant_id, row, verdict)
            for row, verdict in verdicts
            if row.number not in before
        ]
        for row, verdict in verdicts:
            if row.number in before:
                self._revise(before[row.number], verdict)
        if values:
            self._carry_resolutions(made.tenant_id, values)
            db.session.execute(insert(StatementRow), values)
        if not self.is_draft:
            self._bear_witness(made.tenant_id, verdicts)

    def _judged(self, gateway: Gateway, rows: list[Row]) -> list[tuple[Row, Verdict]]:
        """Each row with its bucket, what was missing booked; in a draft all of that is taken back again.

        Without savepoints as long as no row is at fault, then each in its own.
        """
        seen = set(self.seen)
        try:
            with self._sheltered():
                known = self._known(gateway, rows)
                verdicts = [(row, judge(row, known)) for row in rows]
                post_internal(known)
        except Exception as error:
            if is_passing(error):
                raise
            self.seen = seen
            with self._sheltered():
                verdicts = [(row, self._judged_alone(gateway, row)) for row in rows]
        return self._without_what_was_taken_back(verdicts) if self.is_draft else verdicts

    @contextmanager
    def _sheltered(self) -> Iterator[None]:
        savepoint = db.session.begin_nested()
        try:
            yield
        except BaseException:
            savepoint.rollback()
            raise
        if self.is_draft:
            savepoint.rollback()
        else:
            savepoint.commit()

    def _known(self, gateway: Gateway, rows: list[Row]) -> Known:
        known = look_up(gateway, rows, channel=self.source)
        known.seen, known.reversed_in_file = self.seen, self.reversed
        known.names_reversed = self.statement.layout in ("legacy", "store")
        return known

    def _judged_alone(self, gateway: Gateway, row: Row) -> Verdict:
        try:
            with db.session.begin_nested():
                known = self._known(gateway, [row])
                verdict = judge(row, known)
                post_internal(known)
            return verdict
        except Exception as error:
            if is_passing(error):
                raise
            logger.error("statement_row_not_taken", gateway=gateway.id, row=row.number, error=repr(error)[:300])
            reason = str(error) if isinstance(error, PortalError) else type(error).__name__
            why = f"Row {row.number}, {row.receipt}, could not be taken: {reason} Nothing was booked."
            return Verdict(DIFFERENT, why[:300])

    @staticmethod
    def _without_what_was_taken_back(verdicts: list[tuple[Row, Verdict]]) -> list[tuple[Row, Verdict]]:
        """The verdicts of a draft: they name no transaction that exists no more."""
        named = {verdict.transaction_id for _row, verdict in verdicts} - {None}
        there = set(db.session.scalars(select(Transaction.id).where(Transaction.id.in_(named)))) if named else set()
        return [
            (row, verdict if verdict.transaction_id in there else replace(verdict, transaction_id=None))
            for row, verdict in verdicts
        ]

    def _revise(self, row: StatementRow, verdict: Verdict) -> None:
        """What the draft said of this row is now so, or something else is."""
        if (row.bucket, row.why) != (verdict.bucket, verdict.why[:300]):
            told = self._verdict(row.tenant_id, verdict) | {"resolved_at": None, "resolution": ""}
            for name, value in told.items():
                setattr(row, name, value)
        row.transaction_id, row.is_draft = verdict.transaction_id, False

    def _value(self, reconciliation_id: int, tenant_id: int, row: Row, verdict: Verdict) -> dict[str, Any]:
        return {
            "tenant_id": tenant_id,
            "is_draft": self.is_draft,
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

    def _bear_witness(self, tenant_id: int, verdicts: list[tuple[Row, Verdict]]) -> None:
        """M-Pesa's records speak for a transaction as a callback does."""
        told = {
            verdict.transaction_id
            for row, verdict in verdicts
            if verdict.bucket == MATCHED and row.nature == PAYMENT and verdict.transaction_id is not None
        }
        rows = [{"tenant_id": tenant_id, "transaction_id": one, "channel": self.source} for one in sorted(told)]
        if rows:
            dialect: Any = postgresql if db.engine.dialect.name == "postgresql" else sqlite
            db.session.execute(
                dialect.insert(TransactionSource).on_conflict_do_nothing(index_elements=["transaction_id", "channel"]),
                rows,
            )

    def _close(self, reconciliation_id: int) -> None:
        made = _locked(reconciliation_id)
        if made.booked_at is not None or (self.is_draft and WHOLE in made.counts):
            return
        gateway = db.session.get_one(Gateway, self.gateway_id)
        if self.statement.since and self.statement.until and self.statement.holds_customers_money:
            there = frozenset(row.receipt for row in self.rows) | self.also_there
            missing = _missing_there(
                gateway, self.statement.since, self.statement.until, there, unreported=self.source == PULL
            )
            lacking = {(item.id, item.receipt or "", PAYMENT): item for item in missing}
            refunds: dict[_Lacking, Refund] = {}
            if self.source == STATEMENT:
                refunds = {_lacking_refund(one): one for one in self._refunds_lacking(gateway, there)}
            drafted = self._confirm_drafted(made, {*lacking, *refunds})
            values = [self._missing_value(made, item) for key, item in lacking.items() if key not in drafted]
            values += [self._missing_refund(made, one) for key, one in refunds.items() if key not in drafted]
            if values:
                self._carry_resolutions(gateway.tenant_id, values)
                db.session.execute(insert(StatementRow), values)
        db.session.flush()
        counts = counts_of(made)
        if sum(counts.values()) - counts[MISSING_THERE] != len(self.rows):
            raise DoNotAddUp(
                f"Reconciliation {made.id}: {counts} must add up to {len(self.rows)} rows of {self.statement.name}."
            )
        made.counts = counts | {WHOLE: len(self.rows)}
        if not self.is_draft:
            made.booked_at, made.content_sealed = clock.now(), None
        chain.record(
            made.tenant_id, "reconciliation", made.id, "compared" if self.is_draft else "reconciled", actor=self.actor,
            new=made.digest[:12], details=made.counts,
        )  # fmt: skip

    def _confirm_drafted(self, made: Reconciliation, lacking: "set[_Lacking]") -> "set[_Lacking]":
        """What the draft said is missing at M-Pesa, and is still; what came meanwhile is missing no more."""
        drafted = select(StatementRow).where(StatementRow.reconciliation_id == made.id, StatementRow.row_number == 0)
        confirmed = set()
        for row in db.session.scalars(drafted).all():
            key = (row.transaction_id or 0, row.receipt, row.kind)
            if key in lacking:
                row.is_draft = self.is_draft
                confirmed.add(key)
            elif row.is_draft:
                db.session.delete(row)
        return confirmed

    def _missing_value(self, made: Reconciliation, item: Transaction) -> dict[str, Any]:
        why = "M-Pesa's records of this time lack it."
        if item.receipt is None:
            why = "M-Pesa's receipt of it is not known, and no row of these records fits it."
        return {
            "tenant_id": made.tenant_id, "is_draft": self.is_draft, "reconciliation_id": made.id, "row_number": 0,
            "receipt": item.receipt or "", "completed_at": item.occurred_at, "kind": "payment",
            "details_sealed": None, "account": item.account, "paid_in_cents": item.amount_cents,
            "withdrawn_cents": 0, "balance_cents": None, "resolved_at": None, "resolution": "",
        } | self._verdict(made.tenant_id, Verdict(MISSING_THERE, why, item.id))  # fmt: skip

    def _refunds_lacking(self, gateway: Gateway, there: frozenset[str]) -> list[Refund]:
        """Refunds that went out in this time, as we believe, and that the statement lacks."""
        since, until = self.statement.since, self.statement.until
        mine = refunds.with_request().where(
            Refund.tenant_id == gateway.tenant_id,
            MpesaRequest.gateway_id == gateway.id,
            Refund.environment == gateway.environment,
            Refund.state == RefundState.DONE,
            Refund.receipt.is_not(None),
            MpesaRequest.sent_at >= since,
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
            "tenant_id": made.tenant_id, "is_draft": self.is_draft, "reconciliation_id": made.id, "row_number": 0,
            "receipt": refund.receipt or "", "completed_at": refund.ended_at,
            "kind": PAYOUT if refund.method == "b2c" else REVERSAL,
            "details_sealed": None, "account": "", "paid_in_cents": 0, "withdrawn_cents": refund.amount_cents,
            "balance_cents": None, "resolved_at": None, "resolution": "",
        } | self._verdict(made.tenant_id, verdict)  # fmt: skip


def _lacking_refund(refund: Refund) -> _Lacking:
    return refund.transaction_id, refund.receipt or "", PAYOUT if refund.method == "b2c" else REVERSAL


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


def _told(sentence: Sentence | None) -> dict[str, Any]:
    return {} if sentence is None else {"template": sentence.template, "values": sentence.values}


def counts_of(made: Reconciliation) -> dict[str, int]:
    """How many rows each bucket holds, as the table says."""
    held = select(StatementRow.bucket, func.count()).where(StatementRow.reconciliation_id == made.id)
    found = {str(bucket): int(number) for bucket, number in db.session.execute(held.group_by(StatementRow.bucket))}
    return {bucket: found.get(bucket, 0) for bucket in BUCKETS}


def counts_by_id(reconciliation_id: int) -> dict[str, int]:
    """The same of the report with this id."""
    return counts_of(db.session.get_one(Reconciliation, reconciliation_id))


def is_draft(reconciliation_id: int) -> bool:
    """Whether the report with this id waits to be accepted."""
    return db.session.get_one(Reconciliation, reconciliation_id).is_draft


def differences_in(counts: dict[str, int]) -> int:
    """How many of these rows a person must look into."""
    return sum(counts[bucket] for bucket in FLAGGED)
