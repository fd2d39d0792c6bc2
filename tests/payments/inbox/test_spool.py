"""Callbacks on this machine's disk: torn, sealed under a lost key, while the database is slow, and as one of many."""

import fcntl
import json
import os
import resource
import signal
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError

from portal.gateways.models import Gateway
from portal.kernel import clock, queue, vault
from portal.kernel.db import db, transaction
from portal.operations.rotation import rotate
from portal.payments.inbox import inbox
from portal.payments.inbox.spool import CannotKeep, Envelope, Spool
from portal.payments.models import InboxItem, Transaction
from portal.payments.processing import jobs
from portal.processes import scheduler
from tests.support.application import KEYS
from tests.support.clock import later
from tests.support.daraja import Pushed, c2b_body, receipt, stk_body
from tests.support.outages import database_away
from tests.support.product import Product

SAFARICOM, STRANGER = "196.201.214.200", "203.0.113.9"


def spool_of(product: Product) -> Spool:
    spool: Spool = product.app.extensions["spool"]
    return spool


def folder_of(product: Product) -> Path:
    folder: Path = product.app.config["PORTAL"].data_dir / "spool"
    return folder


def letter(product: Product, push: Pushed, **said: Any) -> Envelope:
    return inbox.envelope(
        "stk",
        gateway_token=product.hook().rpartition("/")[2],
        push_token=push.token,
        body=json.dumps(stk_body(push, **said)).encode(),
        remote_address="",
    )


def take_in(product: Product) -> int:
    with product.inside():
        return jobs.take_in_spool()


def aside(product: Product) -> int:
    file = folder_of(product) / "set-aside.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


@contextmanager
def disk_full_at(size_bytes: int) -> Iterator[None]:
    """No file grows beyond this size: a write across it is cut short, the next one fails."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fills_up_in_the_middle_of_a_line_loses_no_other_callback(product: Product) -> None:
    """money.md A5: the next callback was glued to the fragment of the one before it."""
    _number, token = product.invoice(100)
    push = product.pushed(token)
    spool = spool_of(product)
    with product.inside():
        spool.append(letter(product, push, code=1032))
        before = (folder_of(product) / "callbacks.jsonl").read_bytes()
        with disk_full_at(len(before) + 300), pytest.raises(CannotKeep):
            spool.append(letter(product, push, code=1))
        assert (folder_of(product) / "callbacks.jsonl").read_bytes() == before, (
            "what was not kept leaves nothing behind"
        )
        spool.append(letter(product, push, receipt=receipt(1)))
        assert spool.depth() == 2
    assert take_in(product) == 2 and aside(product) == 0
    product.settle()
    assert product.status(token)["status"] == "paid" and product.books() == []


def test_what_a_power_cut_tore_is_set_aside_and_its_neighbours_are_taken_in(product: Product) -> None:
    """money.md A5: one torn line raised in every sweep, before any job was enqueued."""
    _number, token = product.invoice(100)
    push = product.pushed(token)
    spool = spool_of(product)
    with product.inside():
        spool.append(letter(product, push, code=1032))
        with (folder_of(product) / "callbacks.jsonl").open("ab") as file:
            file.write(b"v1.test.AAAA")  # and here the power went
        spool.append(letter(product, push, receipt=receipt(1)))
        for odd in ("{}", '{"kind": "stk"}', "[1]", "not json"):
            with (folder_of(product) / "callbacks.jsonl").open("ab") as file:
                file.write(vault.seal(odd, context="spool").encode() + b"\n")
    assert take_in(product) == 7 and spool.depth() == 0 and aside(product) == 5
    assert take_in(product) == 0 and aside(product) == 5
    product.settle()
    assert product.status(token)["status"] == "paid"


def test_what_was_sealed_under_a_lost_key_waits_for_the_key_and_stops_nothing(product: Product) -> None:
    """money.md A5: a line sealed under a key that was rotated out stopped every sweep."""
    (_one, first), (_two, second) = product.invoice(100), product.invoice(200)
    pushes = [product.pushed(first), product.pushed(second)]
    spool = spool_of(product)
    with product.inside():
        vault.use(vault.KeyRing("mid:" + "6b" * 32 + "," + KEYS))
        try:
            spool.append(letter(product, pushes[0], receipt=receipt(1)))
            vault.use(vault.KeyRing(KEYS))
            spool.append(letter(product, pushes[1], receipt=receipt(2)))
            assert inbox.take_in(spool, product.app.config["PORTAL"].callback_addresses) == 2 and aside(product) == 1
            db.session.remove()
            product.settle()
            assert [product.status(token)["status"] for token in (first, second)] == ["processing", "paid"]
            vault.use(vault.KeyRing("mid:" + "6b" * 32 + "," + KEYS))
            spool.retry()
            assert (
                spool.depth() == 1
                and inbox.take_in(spool, product.app.config["PORTAL"].callback_addresses) == 1
                and aside(product) == 0
            )
        finally:
            vault.use(vault.KeyRing(KEYS))
    with product.inside():
        assert db.session.query(InboxItem).count() == 2


def test_a_rotation_of_keys_reseals_the_spool_and_what_was_set_aside(product: Product) -> None:
    """money.md A5: `keys rotate` did not touch the spool."""
    _number, token = product.invoice(100)
    push = product.pushed(token)
    spool = spool_of(product)
    old, new = "mid:" + "6b" * 32, "new:" + "7c" * 32
    with product.inside():
        try:
            vault.use(vault.KeyRing(f"{old},{KEYS}"))
            spool.append(letter(product, push, receipt=receipt(1)))
            (folder_of(product) / "set-aside.jsonl").write_bytes(
                vault.seal("{}", context="spool").encode() + b"\nv1.gone.AAAA\n"
            )
            vault.use(vault.KeyRing(f"{new},{old},{KEYS}"))
            rotate()
            vault.use(vault.KeyRing(f"{new},{KEYS}"))  # the key in the middle is thrown away
            assert b"v1.mid." not in b"".join(file.read_bytes() for file in folder_of(product).iterdir())
            assert spool.depth() == 1 and inbox.take_in(spool, product.app.config["PORTAL"].callback_addresses) == 1
        finally:
            vault.use(vault.KeyRing(KEYS))
    assert aside(product) == 2, "what no key opens stays, and stops nothing"


@pytest.mark.parametrize("at_fault", ["expire_pushes", "take_in_spool", "close_forgotten"])
def test_whatever_stops_one_step_of_the_sweep_stops_no_other(
    product: Product, monkeypatch: pytest.MonkeyPatch, at_fault: str
) -> None:
    """money.md A5: the spool stood before the jobs, unguarded."""
    _number, token = product.invoice(100)
    push = product.pushed(token)
    product.callback(push, receipt=receipt(1))
    done: list[str] = []

    def fail() -> None:
        raise ValueError("a bad row")

    for step in ("expire_pushes", "take_in_spool", "close_forgotten"):
        monkeypatch.setattr(jobs, step, fail if step == at_fault else lambda step=step: done.append(step))
    monkeypatch.setattr(queue, "enqueue", lambda job: done.append(job.name))
    with product.inside():
        assert scheduler.sweep(0) is True
    expected = {"expire_pushes", "take_in_spool", "close_forgotten", "drain", "pull"} - {at_fault}
    assert expected <= set(done)


def test_a_sweep_whose_jobs_cannot_be_enqueued_still_takes_the_rest_and_says_so(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money.md A5."""
    done: list[str] = []

    def fail() -> None:
        raise OperationalError("SELECT", {}, Exception("away"))

    monkeypatch.setattr(scheduler, "waiting", fail)
    monkeypatch.setattr(jobs, "take_in_spool", lambda: done.append("spool"))
    with product.inside():
        assert scheduler.sweep(1) is False, "the night watch hears of it: no sign of life is left"
    assert done == ["spool"]


def test_a_slow_intake_holds_up_no_callback(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """money.md A6: a web thread's append waited for the lock that the intake held during an insert."""
    _number, token = product.invoice(100)
    push = product.pushed(token)
    spool = spool_of(product)
    one, two = letter(product, push, code=1032), letter(product, push, receipt=receipt(1))
    spool.append(one)
    inserting, go_on = threading.Event(), threading.Event()
    real = inbox.insert

    def slow(*given: Any) -> bool:
        inserting.set()
        assert go_on.wait(60)
        return real(*given)

    monkeypatch.setattr(inbox, "insert", slow)
    intake = threading.Thread(target=take_in, args=(product,))
    intake.start()
    assert inserting.wait(60)
    appended = threading.Thread(target=spool.append, args=(two,))
    appended.start()
    appended.join(30)
    was_kept = not appended.is_alive()
    go_on.set()
    intake.join()
    appended.join()
    assert was_kept, "the callback waited for the database"
    assert spool.depth() == 1 and take_in(product) == 1
    product.settle()
    assert product.status(token)["status"] == "paid"


@pytest.mark.parametrize("error", [OperationalError, ProgrammingError])
def test_a_database_that_fails_midway_leaves_the_rest_on_disk(
    product: Product, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    """tests.md K2: only what no database will ever take is set aside."""
    invoices = [product.invoice(100 + n)[1] for n in range(3)]
    spool = spool_of(product)
    for n, token in enumerate(invoices):
        spool.append(letter(product, product.pushed(token), receipt=receipt(n)))
    real, calls = inbox.insert, []

    def fail_once(*given: Any) -> bool:
        calls.append(given)
        if len(calls) == 2:
            raise error("INSERT", {}, Exception("the server went away"))
        return real(*given)

    monkeypatch.setattr(inbox, "insert", fail_once)
    with product.inside(), pytest.raises(error):
        jobs.take_in_spool()
    assert spool.depth() == 2 and aside(product) == 0
    assert take_in(product) == 2 and spool.depth() == 0 and aside(product) == 0
    product.settle()
    assert [product.status(token)["status"] for token in invoices] == ["paid"] * 3


def test_what_stays_after_half_an_intake_is_on_the_disk_before_the_whole_is_gone(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut between the two would lose callbacks that were acknowledged."""
    spool, push = spool_of(product), product.pushed(product.invoice(100)[1])
    for n in range(2):
        spool.append(letter(product, push, receipt=receipt(n)))
    done: list[str] = []
    flush, unlink = os.fsync, Path.unlink

    def flushed(handle: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{handle}")).suffix or "directory")
        flush(handle)

    def unlinked(file: Path, missing_ok: bool = False) -> None:
        done.append("unlink")
        unlink(file, missing_ok=missing_ok)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "unlink", unlinked)
    taken: list[Envelope] = []

    def take_one(one: Envelope) -> None:
        if taken:
            raise OSError("the database went away")
        taken.append(one)

    with product.inside(), pytest.raises(OSError, match="went away"):
        spool.take_in(take_one)
    assert done == ["directory", ".draft", "directory", "unlink", "directory"] and spool.depth() == 1


def test_an_intake_that_has_no_time_left_goes_on_in_the_next_turn(product: Product) -> None:
    """money.md A5: a long outage's callbacks must not hold up what else the scheduler does."""
    spool = spool_of(product)
    push = product.pushed(product.invoice(100)[1])
    for code in range(5):
        spool.append(letter(product, push, code=code + 1))
    taken: list[Envelope] = []
    assert spool.take_in(taken.append, for_s=-1) == 0 and spool.depth() == 5 and taken == []
    assert spool.take_in(taken.append) == 5 and spool.depth() == 0


def test_a_callback_is_on_the_disk_with_its_name_before_it_is_kept(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests.md, second guards: inbox.py:190. money.md D: the directory that names a new file is flushed as well."""
    flushed: list[str] = []
    real = os.fsync

    def watched(handle: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", watched)
    push = product.pushed(product.invoice(100)[1])
    folder = folder_of(product)
    file = str(folder / "callbacks.jsonl")
    spool_of(product).append(letter(product, push, code=1))
    assert flushed == [file, str(folder), str(folder.parent)]
    spool_of(product).append(letter(product, push, code=2))
    assert flushed[3:] == [file]


def test_a_writer_waits_while_another_process_closes_the_file(product: Product) -> None:
    """tests.md, second guards: inbox.py:238 (flock)."""
    spool, push = spool_of(product), product.pushed(product.invoice(100)[1])
    one, two = letter(product, push, code=1), letter(product, push, code=2)
    spool.append(one)
    with (folder_of(product) / "writing.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        writer = threading.Thread(target=spool.append, args=(two,))
        writer.start()
        writer.join(0.3)  # a writer that does not wait is done by then; one that waits never is
        assert writer.is_alive() and spool.depth() == 1
    writer.join(30)
    assert not writer.is_alive() and spool.depth() == 2


def test_of_two_schedulers_on_one_machine_one_takes_the_spool_in(product: Product) -> None:
    """tests.md, second guards: inbox.py:238 (flock)."""
    spool, push = spool_of(product), product.pushed(product.invoice(100)[1])
    spool.append(letter(product, push, receipt=receipt(1)))
    with (folder_of(product) / "intake.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert take_in(product) == 0 and spool.depth() == 1
    assert take_in(product) == 1


def in_production(product: Product, *addresses: str) -> None:
    product.app.config["PORTAL"] = replace(product.app.config["PORTAL"], callback_addresses=addresses)
    with product.app.app_context(), transaction():
        db.session.query(Gateway).filter_by(shortcode="600111").one().environment = "production"
    inbox.forget_doors()


def test_an_unlisted_address_is_unlisted_during_an_outage_too(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money.md A11: while the database was away the rule was off, and the spool kept that."""
    pushes = [product.pushed(product.invoice(amount)[1]) for amount in (20, 30)]
    in_production(product, SAFARICOM)
    hook = product.hook()
    with database_away(product, monkeypatch):
        for n, caller in enumerate((STRANGER, SAFARICOM)):
            answer = product.client().post(
                f"{hook}/stk/{pushes[n].token}",
                json=stk_body(pushes[n], receipt=receipt(n)),
                environ_base={"REMOTE_ADDR": caller},
            )
            assert answer.status_code == 200
    assert take_in(product) == 2
    with product.inside():
        assert [item.is_foreign for item in db.session.query(InboxItem).order_by(InboxItem.id)] == [True, False]


def test_a_spooled_callback_keeps_the_time_at_which_it_came(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """money.md C33: the row said when it was taken in, and money without a time of its own was booked then."""
    number, _token = product.invoice(500)
    hook, came = product.hook(), clock.now()
    body = c2b_body(receipt=receipt(1), amount=500, account=number) | {"TransTime": ""}
    with database_away(product, monkeypatch):
        assert product.client().post(f"{hook}/c2b/confirmation", json=body).status_code == 200
    later(20 * 3_600)
    assert take_in(product) == 1
    product.settle()
    with product.inside():
        for at in (db.session.query(InboxItem).one().received_at, db.session.query(Transaction).one().occurred_at):
            assert timedelta(0) <= at - came < timedelta(minutes=5)


def test_the_spools_depth_is_told_without_reading_it(product: Product) -> None:
    """money.md C33: /readyz read the whole spool, 200 MB of it into memory."""
    folder = folder_of(product)
    folder.mkdir(parents=True)
    with (folder / "full-00000000000000000001-150000.jsonl").open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    spool_of(product).append(letter(product, product.pushed(product.invoice(100)[1]), code=1))
    tracemalloc.start()
    answer = product.client().get("/readyz")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.json is not None and answer.json["spooled"] == 150_001 and peak_bytes < 20_000_000


def test_a_long_outage_makes_files_of_about_a_megabyte_and_none_is_lost(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money.md A5, C33: what waits is taken in file by file."""
    monkeypatch.setattr("portal.payments.inbox.spool.FULL_BYTES", 3_000)
    spool, push = spool_of(product), product.pushed(product.invoice(100)[1])
    for code in range(12):
        spool.append(letter(product, push, code=code + 1))
    assert spool.depth() == 12 and len(list(folder_of(product).glob("full-*.jsonl"))) == 2
    assert take_in(product) == 12 and spool.depth() == 0 and not list(folder_of(product).glob("full-*"))
    with product.inside():
        kept = [item.id for item in db.session.query(InboxItem)]
    assert len(kept) == 12
