"""What the measurements reckon with: a figure that is wrong would be believed."""

import itertools
import os
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from bench import first_run, peer, settle, stock
from bench.burst import Burst, Left
from bench.load import CONNECTIONS, Load, drive
from bench.peer import NotInstalled, Taken, install, ratio
from bench.report import percentile

DONE = Left(0, 0, 0)


def _load(requests: int = 100, made: int = 100, failed: int = 0, seconds: float = 10.0) -> Load:
    return Load(requests, seconds, failed, 1.0, 2.0, 3.0, made)


def _burst(load: Load, *, last: Left = DONE, problems: tuple[str, ...] = (), **rows: int) -> Burst:
    made = {"callbacks kept": 98, "transactions": 98, "delivered": 98} | {
        name.replace("_", " "): count for name, count in rows.items()
    }
    return Burst(load, last, last, 6.0, made, list(problems))


def test_a_burst_counts_to_its_last_delivery():
    # 98 of 100 were no repeats; 10 s of load and 6 s until the last was delivered
    assert _burst(_load()).per_second == pytest.approx(98 / 16)
    assert _burst(_load()).trouble == ""


def test_a_callback_that_was_taken_and_is_in_no_row_is_lost():
    assert "97" in _burst(_load(), callbacks_kept=97, transactions=97, delivered=97).trouble


def test_a_payment_that_was_delivered_twice_is_doubled():
    assert "99" in _burst(_load(), delivered=99).trouble


def test_what_was_sent_at_the_end_and_not_answered_may_be_kept_or_not():
    unanswered = _load(requests=100, made=108)
    assert _burst(unanswered).trouble == ""
    assert _burst(unanswered, callbacks_kept=106, transactions=106, delivered=106).trouble == ""
    assert _burst(unanswered, callbacks_kept=107, transactions=107, delivered=107).trouble != ""


def test_what_waits_still_what_failed_and_what_the_books_say_is_trouble():
    assert "not within" in _burst(_load(), last=Left(0, 0, 3)).trouble
    assert "2 failed" in _burst(_load(failed=2)).trouble
    assert "suspense" in _burst(_load(), problems=("suspense holds 5 cents",)).trouble


def test_the_peer_is_counted_by_its_rows_and_not_by_its_answers():
    taken = Taken(_load(), settled=60)
    assert taken.per_second == 6.0
    assert taken.unsettled == 38  # two of the hundred were repeats
    assert Taken(_load(), settled=98).unsettled == 0


def test_a_ratio_is_that_of_the_medians():
    assert ratio([10.0, 300.0, 20.0], [5.0, 1.0, 10.0]) == 4.0
    assert ratio([1.0], [0.0]) == float("inf")


def test_the_smallest_value_that_so_many_do_not_exceed():
    assert [percentile([4.0, 1.0, 3.0, 2.0], percent) for percent in (50, 75, 95)] == [2.0, 3.0, 4.0]


def test_rows_are_copied_in_as_many_portions_and_none_before_what_it_refers_to():
    rows = {
        "journals": [{"id": 1}, {"id": 2}, {"id": 3}, {"id": 4}],
        # the first line names the last journal; the journal 9 was there before
        "lines": [
            {"id": 11, "journal_id": 4},
            {"id": 12, "journal_id": 1},
            {"id": 13, "journal_id": 9},
            {"id": 14, "journal_id": None},
        ],
    }
    first, second = settle.in_sets(rows, {"lines": {"journal_id": "journals"}}, 2)
    assert [row["id"] for row in first["journals"]] == [1, 2]
    assert [row["id"] for row in second["journals"]] == [3, 4]
    assert [row["id"] for row in first["lines"]] == [12]
    assert [row["id"] for row in second["lines"]] == [11, 13, 14]


def test_rows_of_fewer_callbacks_than_portions_leave_none_empty():
    assert settle.in_sets({"journals": [{"id": 1}]}, {}, 3) == [{"journals": [{"id": 1}]}]


def test_each_fiftieth_callback_is_the_one_ten_before():
    script = stock.callbacks("/stk/{token}", first=1001, repeats=True)
    assert script.python(49) == script.python(39)
    assert len({script.python(number) for number in range(100)}) == 98


class _EachThirdFails(BaseHTTPRequestHandler):
    asked = itertools.count(1)
    failed: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        """As a server whose connections end with each answer, and which breaks one in three."""
        self.rfile.read(int(self.headers["Content-Length"]))
        number = next(self.asked)
        if number % 3 == 0:
            self.failed.append(number)
        if number % 6 != 0:  # each second failure is no answer at all
            self.send_response(500 if number % 3 == 0 else 200)
            self.end_headers()

    def log_message(self, *_words: object) -> None: ...


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # five, as usual, would turn some of the connections away


@pytest.mark.parametrize("per_second", [None, 200.0])
def test_without_wrk_each_request_is_counted_and_each_failure(
    per_second: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shutil.which", lambda _name: None)
    monkeypatch.setattr(_EachThirdFails, "asked", itertools.count(1))
    monkeypatch.setattr(_EachThirdFails, "failed", [])
    with _Server(("127.0.0.1", 0), _EachThirdFails) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        script = stock.callbacks("/hook/{token}", first=1)
        load = drive(
            f"http://127.0.0.1:{server.server_port}", script, seconds=0.3, directory=tmp_path, per_second=per_second
        )
        server.shutdown()
    assert load.requests == load.made > 0
    assert load.failed == len(_EachThirdFails.failed)
    if per_second:
        assert load.made <= 0.3 * 200 + CONNECTIONS  # those that were waiting for their moment when the time was over


def test_the_peer_takes_the_very_callbacks_that_its_pushes_wait_for():
    """The peer's own stock is written by another Python: its numbers must be spelled as ours are."""
    _method, path, body = stock.callbacks("/mpesa/stk/callback/", first=7).python(0)
    assert (path, stock.PRICE_KES) == ("/mpesa/stk/callback/", 50)
    assert b'"ws_CO_00000000000000000007"' in (body or b"")
    source = (peer.PROJECT / "stock.py").read_text()
    assert 'f"ws_CO_{number:020d}"' in source
    assert "PRICE_KES, MSISDN = 50," in source


def test_a_peer_that_cannot_be_installed_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(argv: list[str], **_options: object) -> None:
        raise subprocess.CalledProcessError(1, argv, stderr="WARNING: retrying\nERROR: No matching distribution\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(NotInstalled) as caught:
        install(tmp_path / "peer")
    said = str(caught.value)
    assert "No matching distribution" in said
    assert "--peer-venv" in said


def test_a_peer_that_is_installed_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    (tmp_path / "installed.txt").write_text((peer.PROJECT / "requirements.txt").read_text())
    monkeypatch.setattr(subprocess, "run", None)
    assert install(tmp_path) == tmp_path / "bin" / "python"


def test_the_peer_is_no_dependency_of_ours():
    root = Path(peer.__file__).parent.parent
    for lock in root.glob("*.lock"):
        assert not re.search(r"^(django|mainfinity-django-mpesa|gunicorn)==", lock.read_text(), re.MULTILINE)


def test_a_first_run_starts_with_empty_caches_and_without_our_own_environment(tmp_path: Path):
    fast = tmp_path / "fast"
    fast.mkdir()
    (fast / "uv").touch()
    given = {
        "PATH": os.pathsep.join((str(fast), "/usr/bin")),
        "VIRTUAL_ENV": "/ours",
        "MAKEFLAGS": "-j4",
        "ARGS": "first-run",
        "PIP_INDEX_URL": "https://registry.example",
    }
    fresh = first_run.fresh_environment(given, tmp_path / "cache")
    assert fresh["PATH"] == "/usr/bin"
    assert not {"VIRTUAL_ENV", "MAKEFLAGS", "ARGS"} & set(fresh)
    assert fresh["PIP_INDEX_URL"] == "https://registry.example"
    assert Path(fresh["PIP_CACHE_DIR"]).parent == tmp_path / "cache"
    assert (fresh["REDIS_URL"], fresh["DATABASE_URL"]) == ("", "")
