"""Sending a push and waiting a moment for the phone to ring, without letting waiters fill the server."""

import threading
import time

from flask import current_app
from sqlalchemy import select

from portal.kernel import queue
from portal.kernel.db import db
from portal.payments.models import Push
from portal.payments.stk.push_states import State

WAIT_S, LOOK_EVERY_S = 2.5, 0.1
_ON_THEIR_WAY = (State.CREATED, State.SENDING)


def ring_and_wait(push_id: int) -> Push:
    """The push, after at most 2.5 s: with its CheckoutRequestID if M-Pesa was that quick. Never holds a connection.

    At most half of this process's threads wait so; the others answer at once, and the page polls.
    """
    queue.enqueue(queue.SEND_PUSHES)
    waiters: threading.BoundedSemaphore = current_app.extensions["waiters"]
    if waiters.acquire(blocking=False):
        try:
            until = time.monotonic() + WAIT_S
            while time.monotonic() < until:
                state = db.session.execute(
                    select(Push.state, Push.checkout_hash, Push.sends).where(Push.id == push_id)
                ).one()
                db.session.rollback()
                if (
                    state.checkout_hash
                    or state.state not in _ON_THEIR_WAY
                    or (state.state == State.CREATED and state.sends)
                ):
                    break
                time.sleep(LOOK_EVERY_S)
        finally:
            waiters.release()
    return db.session.get_one(Push, push_id)
