"""The graphs of the rows of money, whole: every move is here by name, made once, and every other is refused."""

import ast
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import portal
from portal.gateways.models import Gateway
from portal.kernel import clock
from portal.kernel.db import db, transaction
from portal.kernel.states import IllegalMove, move
from portal.outbox.models import OUTBOX, OutboxItem
from portal.payments import states
from portal.payments.models import (
    InboxItem,
    MpesaRequest,
    Payment,
    Push,
    Refund,
    SmsSubmission,
    Transaction,
    UnverifiedReport,
)
from tests.support.daraja import receipt
from tests.support.product import Product

GRAPHS: dict[str, tuple[Any, dict[str, str]]] = {
    "push": (states.PUSH, {
        "created": "sending succeeded declined cancelled",
        "sending": "created awaiting_pin unconfirmed succeeded declined cancelled",
        "awaiting_pin": "unconfirmed succeeded declined cancelled",
        "unconfirmed": "succeeded declined cancelled",
        "succeeded": "",
        "declined": "succeeded",
        "cancelled": "succeeded",
    }),
    "inbox": (states.INBOX, {
        "new": "waiting done rejected dead",
        "waiting": "new done rejected",
        "done": "new",
        "rejected": "new",
        "dead": "new",
    }),
    "request": (states.REQUEST, {
        "created": "created sent answered unknown failed",
        "sent": "created answered unknown failed",
        "answered": "answered",
        "unknown": "created answered unknown failed",
        "failed": "created answered unknown failed",
    }),
    "refund": (states.REFUND, {
        "requested": "approved failed",
        "approved": "sending done failed",
        "sending": "approved sent unknown done failed",
        "sent": "unknown done failed",
        "unknown": "done failed",
        "done": "",
        "failed": "done",
    }),
    "submission": (states.SUBMISSION, {"queued": "accepted refused", "accepted": "", "refused": ""}),
    "report": (states.REPORT, {"held": "agreed refused", "agreed": "", "refused": ""}),
    "payment": (states.PAYMENT, {"open": "paid closed", "paid": "open", "closed": "open"}),
    "outbox": (OUTBOX, {"new": "new done skipped dead", "done": "", "skipped": "", "dead": "new"}),
}  # fmt: skip
BEFORE = [
    ("inbox", "done", {"new", "waiting"}),
    ("inbox", "new", {"waiting", "done", "rejected", "dead"}),
    ("payment", "paid", {"open"}),
    ("push", "succeeded", {"created", "sending", "awaiting_pin", "unconfirmed", "declined", "cancelled"}),
    ("refund", "approved", {"requested", "sending"}),
]


@pytest.mark.property(68)
@pytest.mark.parametrize("kind", GRAPHS)
def test_the_graph_is_this_one(kind: str) -> None:
    graph, moves = GRAPHS[kind]
    assert {str(old): set(map(str, after)) for old, after in graph.allowed.items()} == {
        old: set(after.split()) for old, after in moves.items()
    }


@pytest.mark.parametrize("kind, new, old", BEFORE)
def test_a_graph_tells_from_where_many_rows_may_be_moved_at_once(kind: str, new: str, old: set[str]) -> None:
    graph, _moves = GRAPHS[kind]
    state = next(state for state in graph.allowed if state == new)
    assert set(graph.before(state)) == old


def rows(product: Product) -> dict[str, Callable[[], Any]]:
    """One row of each kind, by how it is found."""
    _number, token = product.invoice(500)
    pushed = product.pushed(token)
    with product.app.app_context(), transaction():
        gateway = db.session.query(Gateway).filter_by(shortcode="600111").one()
        payment = db.session.query(Payment).filter_by(token=token).one()
        own = {"tenant_id": gateway.tenant_id}
        at = own | {"gateway_id": gateway.id}
        of_money = at | {"environment": "sandbox"}
        paid = Transaction(
            **of_money, receipt=receipt(1), channel="c2b", amount_cents=500, unallocated_cents=500,
            occurred_at=clock.now(),
        )  # fmt: skip
        db.session.add(paid)
        db.session.flush()
        made = {
            "inbox": InboxItem(**at, kind="c2b", dedupe="x", body_sealed=""),
            "request": MpesaRequest(**at, kind="status", receipt=receipt(1)),
            "refund": Refund(**of_money, transaction_id=paid.id, method="b2c", amount_cents=500, requested_by_id=1),
            "submission": SmsSubmission(
                **of_money, receipt=receipt(2), payment_id=payment.id, stated_cents=500, text_sealed=""
            ),
            "report": UnverifiedReport(**of_money, receipt=receipt(3), amount_cents=500, occurred_at=clock.now()),
            "outbox": OutboxItem(**own, kind="sms", key="k", payload_sealed=""),
        }  # fmt: skip
        db.session.add_all(made.values())
        db.session.flush()
        keys = {kind: (type(row), row.id) for kind, row in made.items()}
        keys |= {"push": (Push, pushed.push_id), "payment": (Payment, payment.id)}
    return {kind: lambda model=model, key=key: db.session.get_one(model, key) for kind, (model, key) in keys.items()}


@pytest.mark.property(68)
def test_every_legal_move_is_made_once_and_every_other_is_refused(either_product: Product) -> None:
    found = rows(either_product)
    assert set(found) == set(GRAPHS)
    with either_product.app.app_context():
        for kind, find in found.items():
            graph, moves = GRAPHS[kind]
            for old, new in product(graph.allowed, graph.allowed):
                with transaction():
                    find().state = str(old)
                if new not in moves[old].split():
                    with pytest.raises(IllegalMove), transaction():
                        move(find(), new)
                    with transaction():
                        assert find().state == old, f"{kind}: {old} to {new}"
                    continue
                with transaction():
                    assert move(find(), new), f"{kind}: {old} to {new}"
                with transaction():
                    assert find().state == new
                    assert old == new or not move(find(), new, old=old), "whoever saw the old state comes too late"


def test_a_move_that_came_too_late_changes_nothing_and_shows_what_is(product: Product) -> None:
    find = rows(product)["report"]
    with product.app.app_context():
        with transaction():
            assert move(find(), states.ReportState.AGREED, payer_shown="first")
        with transaction():
            row = find()
            late = {"old": states.ReportState.HELD, "payer_shown": "second"}
            assert not move(row, states.ReportState.REFUSED, **late)
            assert (row.state, row.payer_shown) == ("agreed", "first")


# Words that are no row's state: what a query answered, what the API writes, what a transaction is called on a page.
NO_STATES = {"portal/payments/stk/queries.py", "portal/api/schemas.py", "portal/staff/manual.py"}


def _is_word(node: ast.expr) -> bool:
    return any(isinstance(one, ast.Constant) and isinstance(one.value, str) for one in ast.walk(node))


def _spelled(source: str) -> Iterator[int]:
    """The lines in which a state is compared with a bare word, or set to one."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(left=ast.Attribute(attr="state"), comparators=words) if any(map(_is_word, words)):
                yield node.lineno
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="state")), args=words) if any(
                map(_is_word, words)
            ):
                yield node.lineno
            case ast.keyword(arg="state", value=word) if _is_word(word):
                yield word.lineno
            case ast.Assign(targets=[ast.Attribute(attr="state")], value=word) if _is_word(word):
                yield node.lineno
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=words)):
                pairs = zip(names, words, strict=False)
                if any(isinstance(name, ast.Attribute) and name.attr == "state" and _is_word(w) for name, w in pairs):
                    yield node.lineno


def test_the_sight_of_bare_words_is_not_blind() -> None:
    for line in (
        'x.state == "done"', 'x.state in ("a", "b")', 'X.state.in_(("a",))', 'f(state="new")', 'x.state = "new"',
        'x.state, x.y = "new", 1',
    ):  # fmt: skip
        assert list(_spelled(line)) == [1], line
    assert list(_spelled("x.state == State.DONE; x.state = State.NEW; f(state=State.NEW)")) == []


def test_no_state_is_spelled_outside_its_enumeration() -> None:
    """house.md: 102 literal uses."""
    root = Path(portal.__file__).parents[1]
    files = [file for file in (root / "portal").rglob("*.py") if "simulator" not in file.parts]
    assert len(files) > 150
    found = {
        f"{name}:{line}" for file in files if (name := str(file.relative_to(root))) not in NO_STATES
        for line in _spelled(file.read_text())
    }  # fmt: skip
    assert found == set()
