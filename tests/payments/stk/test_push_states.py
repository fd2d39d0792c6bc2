"""An STK push, moved along its graph (see `test_states`): what the audit says of it, and when it has ended."""

import itertools

import pytest

from portal.audit import chain
from portal.kernel.db import db, transaction
from portal.kernel.states import IllegalMove
from portal.payments.models import OPEN_PUSH, Push
from portal.payments.states import PUSH
from portal.payments.stk.push_states import FINAL, OPEN, State, move
from tests.support.product import Product


def test_the_database_and_the_code_mean_the_same_states_by_open() -> None:
    assert all(f"'{state}'" in OPEN_PUSH for state in OPEN)
    assert not any(f"'{state}'" in OPEN_PUSH for state in set(State) - OPEN)


@pytest.mark.property(68)
def test_every_move_of_a_push_is_in_the_audit_and_an_end_has_its_hour(product: Product) -> None:
    _number, token = product.invoice()
    push_id = product.pushed(token).push_id
    with product.app.app_context():
        for old, new in itertools.product(State, State):
            with transaction():
                db.session.query(Push).filter_by(id=push_id).update({"state": old})
            push = db.session.get_one(Push, push_id)
            if new not in PUSH.allowed[old]:
                with pytest.raises(IllegalMove), transaction():
                    move(push, old, new, why="try", actor="test")
                continue
            with transaction():
                assert move(db.session.get_one(Push, push_id), old, new, why=f"{old} to {new}", actor="test")
            with transaction():
                assert not move(db.session.get_one(Push, push_id), old, new, why="again", actor="test")
            last = chain.history(product.tenant_id(), ("push", push_id))[-1]
            assert (last.old, last.new, last.why, last.actor) == (old, new, f"{old} to {new}", "test")
            assert (db.session.get_one(Push, push_id).ended_at is not None) or new not in FINAL
