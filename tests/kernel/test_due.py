"""The to-do lists of the jobs: what waits is found by its partial index, by job and sweeper alike."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from rq.utils import import_attribute
from sqlalchemy import update
from sqlalchemy.dialects import sqlite

from portal.audit.models import AuditEntry
from portal.kernel import clock, queue
from portal.kernel.db import db, transaction
from portal.outbox.models import OutboxItem
from portal.payments.models import InboxItem, Payment, Push
from portal.processes import scheduler
from tests.support.product import Product

LISTS = {
    "portal.payments.models.TO_SEND": "ix_stk_pushes_to_send",
    "portal.payments.models.TO_QUERY": "ix_stk_pushes_to_query",
    "portal.payments.models.TO_SETTLE": "ix_inbox_new",
    "portal.payments.models.TO_CONFIRM": "ix_inbox_to_ask",
    "portal.payments.models.TO_DELIVER": "ix_payments_to_fulfil",
    "portal.payments.models.TO_WITHDRAW": "ix_payments_to_withdraw",
    "portal.payments.models.RECEIPT_UNKNOWN": "ix_transactions_to_ask",
    "portal.payments.models.REFUND_DUE": "ix_refunds_due",
    "portal.payments.models.REQUEST_DUE": "ix_mpesa_requests_due",
    "portal.outbox.models.TO_CARRY": "ix_outbox_due",
    "portal.payments.models.TO_SPEND": "ix_customers_to_spend",
    "portal.hotspot.pppoe.models.TO_LOOK_AT": "ix_lines_to_look_at",
    "portal.hotspot.models.TO_PROVISION": "ix_access_grants_provision",
    "portal.hotspot.models.TO_BRING_ABOUT": "ix_provisionings_due",
    "portal.hotspot.routers.models.TO_SWEEP": "ix_router_states_sweep",
    "portal.hotspot.sites.models.TO_GIVE_BACK": "ix_outages_to_give_back",
    "portal.clinic.models.TO_RELEASE": "ix_appointments_release",
    "portal.clinic.models.TO_OFFER": "ix_waiting_wishes_offer",
    "portal.payments.models.TO_LOOK_AT": "ix_payments_to_look_at",
    "portal.audit.models.TO_CHAIN": "ix_audit_entries_unchained",
    "portal.clinic.meetings.models.TO_MAKE": "ix_meetings_due",
    "portal.clinic.meetings.models.TO_CHECK": "ix_meeting_settings_check",
    "portal.clinic.models.TO_REMIND": "ix_appointments_remind",
    "portal.payments.models.TO_TELL": "ix_stk_pushes_to_tell",
    "portal.notifications.models.REPLY_DUE": "ix_incoming_sms_due",
    "portal.notifications.models.REPORT_DUE": "ix_sms_reports_due",
}

FOR_A_PERSON = {
    "portal.payments.models.TO_APPROVE": "ix_refunds_requested",
    "portal.payments.models.REFUND_UNKNOWN": "ix_refunds_unknown",
    "portal.payments.models.CALLBACK_DEAD": "ix_inbox_dead",
    "portal.payments.models.TO_CHECK": "ix_sms_submissions_queued",
    "portal.payments.models.TO_AGREE": "ix_unverified_reports_held",
    "portal.payments.models.CALLBACK_WAITING": "ix_inbox_waiting",
    "portal.payments.models.UNCONFIRMED": "ix_stk_pushes_unconfirmed",
    "portal.payments.models.UNDELIVERED": "ix_payments_undelivered",
    "portal.outbox.models.MESSAGE_DEAD": "ix_outbox_dead",
    "portal.payments.models.OWING": "ix_payments_owing",
    "portal.payments.models.OFFERED": "ix_payments_offered",
    "portal.payments.models.RINGING": "ix_stk_pushes_waiting",
}


def test_every_bell_but_that_of_the_hour_has_a_list() -> None:
    assert {name for job in queue.JOBS for name in job.waiting} == set(LISTS)
    assert [job.name for job in queue.JOBS if not job.waiting] == ["pull", "remind"]


@pytest.mark.parametrize("name", LISTS | FOR_A_PERSON)
def test_what_is_due_is_read_from_its_partial_index_alone(product: Product, name: str) -> None:
    """SQLite uses a partial index only where the query spells its condition as the index does."""
    todo: Any = import_attribute(name)
    with product.app.app_context():
        said = str(todo.first.compile(dialect=sqlite.dialect()))
        plan = db.session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {said}", ("1",) * said.count("?"))
        assert (LISTS | FOR_A_PERSON)[name] in " ".join(row.detail for row in plan)


@pytest.mark.parametrize("job, make", [
    (queue.DRAIN, lambda at, own: InboxItem(kind="c2b", dedupe="x", body_sealed="", next_at=at)),
    (queue.REQUESTS, lambda at, own: InboxItem(kind="c2b", dedupe="x", body_sealed="", state="waiting", ask_at=at)),
    (queue.OUTBOX, lambda at, own: OutboxItem(**own, kind="sms", key="k", payload_sealed="", next_at=at)),
])  # fmt: skip
def test_a_job_has_work_when_a_rows_turn_has_come(
    either_product: Product, job: queue.Job, make: Callable[..., Any]
) -> None:
    product = either_product
    own = {"tenant_id": product.tenant_id()}
    with product.app.app_context():
        assert job not in scheduler.waiting()
        with transaction():
            db.session.add(make(clock.now() + timedelta(minutes=1), own))
        assert job not in scheduler.waiting(), "its turn has not come"
        with transaction():
            db.session.query(InboxItem).delete()
            db.session.query(OutboxItem).delete()
            db.session.add(make(clock.now() - timedelta(minutes=1), own))
        assert job in scheduler.waiting()


def test_what_is_in_another_state_is_no_work(either_product: Product) -> None:
    product = either_product
    _number, token = product.invoice(500)
    product.pushed(token)
    with product.app.app_context():
        past = clock.now() - timedelta(days=1)
        with transaction():
            db.session.execute(update(Push).values(state="declined", next_send_at=past, next_query_at=None))
            db.session.execute(update(Payment).values(state="paid", next_fulfil_at=past, fulfilled_at=past))
        assert not {queue.SEND_PUSHES, queue.PAID, queue.QUERIES} & set(scheduler.waiting())
        with transaction():
            db.session.execute(update(Push).values(state="created"))
            db.session.execute(update(Payment).values(fulfilled_at=None))
        assert {queue.SEND_PUSHES, queue.PAID} <= set(scheduler.waiting())


def test_an_audit_row_that_no_chain_holds_is_work_at_once(product: Product) -> None:
    product.invoice(500)
    with product.app.app_context():
        assert db.session.query(AuditEntry).filter_by(seq=None).count() > 0
        assert queue.CHAIN in scheduler.waiting()
