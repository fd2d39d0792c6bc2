"""Health, readiness and metrics: what a load balancer and a night watch ask."""

import hmac
import shutil
from datetime import timedelta
from typing import Any

import redis
from flask import Blueprint, Response, abort, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.datastructures import WWWAuthenticate

from portal.gateways.models import Gateway
from portal.kernel import clock, queue
from portal.kernel.db import db
from portal.outbox.models import TO_CARRY, OutboxItem
from portal.payments import search, stuck
from portal.payments.c2b import unresolved
from portal.payments.inbox import inbox
from portal.payments.inbox.spool import Spool
from portal.payments.models import CALLBACK_DEAD, REFUND_UNKNOWN, TO_SETTLE, InboxItem, Push, Transaction
from portal.tenants.models import Tenant

bp = Blueprint("operations", __name__)
DAY = timedelta(hours=24)
ROOM_NEEDED_BYTES = 50 * 1024 * 1024
SEEN_WITHIN_S = 60


@bp.get("/healthz")
def healthz() -> Response:
    """This process answers."""
    return jsonify(status="ok")


@bp.get("/readyz")
def readyz() -> ResponseReturnValue:
    """200 once database, Redis, a worker for each queue and a scheduler are there; what is missing otherwise."""
    checks: dict[str, Any] = {"database": _database(), "redis": _redis(), "disk": _disk()}
    checks |= {f"worker_{name}": _seen(f"worker_{name}") for name in queue.QUEUES}
    checks["scheduler"] = _seen("scheduler")
    spool: Spool = current_app.extensions["spool"]
    body = {"ready": all(checks.values()), "checks": checks, "spooled": spool.depth()}
    if checks["database"]:
        body["inbox"] = inbox.depth()
    return jsonify(body), 200 if body["ready"] else 503


def _database() -> bool:
    try:
        db.session.execute(text("SELECT 1 FROM tenants LIMIT 1"))
        return True
    except SQLAlchemyError:
        db.session.rollback()
        return False


def _redis() -> bool:
    try:
        return bool(current_app.extensions["redis"].ping())
    except redis.RedisError:
        return False


def _seen(process: str) -> bool:
    try:
        return bool(current_app.extensions["redis"].exists(f"alive:{process}"))
    except redis.RedisError:
        return False


def _disk() -> bool:
    return shutil.disk_usage(current_app.config["PORTAL"].data_dir).free > ROOM_NEEDED_BYTES


def say_alive(process: str, *, for_s: int = SEEN_WITHIN_S) -> None:
    """Leave a sign of life for `/readyz`. Never raises."""
    try:
        current_app.extensions["redis"].set(f"alive:{process}", "1", ex=for_s)
    except redis.RedisError:
        current_app.logger.warning("redis away: no sign of life left")


@bp.get("/metrics")
def metrics() -> Response:
    """Prometheus' text: what waits, how old it is, and how pushes ended. Counts only, nobody's data.

    Behind METRICS_TOKEN, because how much is sold is the business's own. Without one it is not there in production.
    """
    config = current_app.config["PORTAL"]
    if config.metrics_token:
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {config.metrics_token}".encode()):
            abort(401, www_authenticate=WWWAuthenticate("bearer"))
    elif not config.development:
        abort(404)
    registry = CollectorRegistry()
    pushes = Gauge("mlango_pushes", "STK pushes of the last 24 hours by state", ["state"], registry=registry)
    since = clock.now() - DAY
    of_tenants = select(Push.state, func.count()).join(Tenant, Tenant.id == Push.tenant_id)  # by each one's index
    for state, count in db.session.execute(of_tenants.where(Push.created_at >= since).group_by(Push.state)):
        pushes.labels(state).set(count)
    waiting = Gauge("mlango_waiting", "Rows that wait for work", ["what"], registry=registry)
    oldest = Gauge("mlango_oldest_seconds", "Age of the oldest waiting row", ["what"], registry=registry)
    for what, todo, at in (
        ("inbox", TO_SETTLE, InboxItem.received_at),
        ("outbox", TO_CARRY, OutboxItem.created_at),
    ):
        count, first = db.session.execute(select(func.count(), func.min(at)).where(todo.waits)).one()
        waiting.labels(what).set(count)
        oldest.labels(what).set((clock.now() - first).total_seconds() if first else 0)
    dead = db.session.scalar(CALLBACK_DEAD.count) or 0
    waiting.labels("inbox_dead").set(dead)
    for what, count in stuck.counts().items():
        waiting.labels(f"stuck_{what}").set(count)
    to_decide = select(func.count()).select_from(InboxItem).where(unresolved.waits())
    waiting.labels("payments_to_decide").set(db.session.scalar(to_decide) or 0)
    unproved = select(func.count(), func.count(Transaction.contradicted_at)).where(search.is_provisional())
    count, contradicted = db.session.execute(unproved).one()
    waiting.labels("paid_without_receipt").set(count)
    waiting.labels("payments_contradicted").set(contradicted)
    waiting.labels("refunds_unknown").set(db.session.scalar(REFUND_UNKNOWN.count) or 0)
    refused = select(func.count()).where(Gateway.refused_at.is_not(None), Gateway.archived_at.is_(None))
    waiting.labels("gateways_refused").set(db.session.scalar(refused) or 0)
    to_place = select(func.count(), func.coalesce(func.sum(Transaction.unallocated_cents), 0))
    count, cents = db.session.execute(to_place.where(Transaction.unallocated_cents > 0)).one()
    waiting.labels("money_to_place").set(count)
    Gauge("mlango_unplaced_cents", "Money without a home, in cents", registry=registry).set(cents)
    spool: Spool = current_app.extensions["spool"]
    Gauge("mlango_spooled", "Callbacks on this machine's disk", registry=registry).set(spool.depth())
    odd = Gauge("mlango_spool_set_aside_bytes", "What this machine's spool could not bring in", registry=registry)
    odd.set(spool.set_aside_bytes())
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
