"""The thread that does what has fallen due: answers prompts, settles requests, posts callbacks.

Jobs are rows; this thread only rings through them. What touches the books alone is done one after another in the
order in which it fell due, so that a fault ordered for one message meets the one that came first. A few workers post
and wait for answers, so that one slow listener holds up nobody.
"""

import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from portal.simulator.engine import journal
from portal.simulator.engine.store import Store

TIMEOUTS_S = (3.05, 6)  # short enough that a stop never waits ten seconds for a listener
logger = logging.getLogger(__name__)


Handlers = dict[str, Callable[[Store, dict[str, Any]], None]]


class CallbackSender:
    """Kind of job -> what does it. in_turn: quick ones, kept in order. at_once: those that wait for a listener, beside
    `post`, which is built in.
    """

    def __init__(self, store: Store, *, in_turn: Handlers, at_once: Handlers) -> None:
        self._store = store
        self._in_turn = frozenset(in_turn)
        self._handlers = in_turn | at_once | {"post": post_job}
        self._stopping = threading.Event()
        self._workers = ThreadPoolExecutor(max_workers=12, thread_name_prefix="callback_sender-worker")
        self._thread = threading.Thread(target=self._watch, name="callback-sender", daemon=True)

    def start(self) -> None:
        """Begin; what fell due while the process was away goes out at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after the job in hand."""
        self._stopping.set()
        self._store.doorbell.set()
        self._thread.join(timeout=5)
        self._workers.shutdown(wait=True, cancel_futures=True)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._store.doorbell.clear()
            claimed = self._store.claim_due_jobs()
            for job in claimed:
                work = job["id"], job["kind"], json.loads(job["payload"])
                if job["kind"] in self._in_turn:
                    self._do(*work)
                else:
                    self._workers.submit(self._do, *work)
            if not claimed:
                wait_s = self._store.next_due_in_s()
                # The ceiling notices a machine's clock that was set; nothing else depends on it.
                self._store.doorbell.wait(timeout=min(5.0, wait_s if wait_s is not None else 5.0))

    def _do(self, job_id: int, kind: str, payload: dict[str, Any]) -> None:
        try:
            self._handlers[kind](self._store, payload)
        except Exception:
            logger.exception("The simulator's job %s (%s) failed.", job_id, kind)
        self._store.run("DELETE FROM jobs WHERE id = ?", job_id)


def post_job(store: Store, payload: dict[str, Any]) -> None:
    """Post one callback and write down how it was received. Not retried: Daraja documents no retry."""
    post(store, payload["url"], payload["body"], door=payload["door"], msisdn=payload.get("msisdn", ""))


def post(
    store: Store, url: str, body: Any, *, door: str, msisdn: str = "", timeout_s: float | None = None
) -> tuple[int | None, str]:
    """(status, answer) of a POST of JSON; status None if nothing answered, with the reason as answer."""
    started_at = store.timestamp()
    status: int | None = None
    try:
        with requests.Session() as session:
            # A proxy of the developer's shell has no business between two programs of one machine.
            session.trust_env = False
            answer = session.post(
                url,
                json=body,
                timeout=timeout_s or TIMEOUTS_S,
                allow_redirects=False,
                headers={"User-Agent": "Mlango-Daraja-simulator"},
            )
            status, text = answer.status_code, answer.text[:4000]
    except requests.RequestException as problem:
        text = f"{type(problem).__name__}: nobody took it"
    journal.write(
        store,
        direction="sent",
        door=door,
        method="POST",
        address=url,
        status=str(status or "lost"),
        body=body,
        answer=text,
        msisdn=msisdn,
        started_at=started_at,
    )
    return status, text
