"""What workers and scheduler do, done where a test says: the jobs are the real ones."""

from collections.abc import Callable
from typing import Any

from flask import Flask
from sqlalchemy import select

from portal import fulfilment
from portal.audit.jobs import chain_all
from portal.clinic.meetings import make
from portal.hotspot.pppoe import keeping
from portal.kernel import clock, queue
from portal.kernel.db import db
from portal.outbox.deliver import deliver_due
from portal.payments.inbox import inbox
from portal.payments.models import InboxItem
from portal.payments.processing import jobs
from portal.payments.processing.request_jobs import send_due
from portal.payments.stk import pushes
from tests.support.clock import wait_until


class Workers:
    """The workers of one product."""

    app: Flask

    def settle(self) -> None:
        """What the money worker would do now: settle callbacks, deliver what was paid."""
        with self.app.app_context():
            self._drain()
            fulfilment.deliver_paid()
            db.session.remove()

    def _drain(self) -> None:
        """Every turn of the draining job: on a busy machine one steps back before all is settled."""
        due = select(InboxItem.id).where(InboxItem.state == "new", InboxItem.next_at <= clock.now())
        fulfilment.drain()
        while db.session.scalar(due.limit(1)) is not None:
            db.session.rollback()
            fulfilment.drain()

    def _drain_what_came(self) -> None:
        """The draining job again, as the sweeper would: where something waits for it."""
        if queue.DRAIN.has_work():
            self._drain()

    def _keep_what_changed(self) -> None:
        """The same of the lines."""
        if queue.LINES.has_work():
            keeping.keep()

    def settle_until(self, is_true: Callable[[], Any]) -> None:
        """Work until something is so: results come from the simulator's own thread."""

        def look() -> bool:
            self.work(rounds=1)
            return bool(is_true())

        wait_until(look)

    def work(self, rounds: int = 6) -> None:
        """Do what workers and scheduler would, until nothing is due."""
        for _round in range(rounds):
            with self.app.app_context():
                for job in (
                    jobs.expire_pushes,
                    jobs.send_pushes,
                    self._drain,
                    jobs.ask_mpesa,
                    send_due,
                    self._drain_what_came,
                    fulfilment.deliver_paid,
                    keeping.keep,
                    fulfilment.withdraw_unpaid,
                    self._keep_what_changed,
                    make.make_due,
                    deliver_due,
                ):
                    job()
                    db.session.remove()
                if not pushes.due_to_send() and not inbox.depth():
                    break
        with self.app.app_context():
            chain_all()
