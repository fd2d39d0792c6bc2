"""The graph of an STK push: whole, and only moved along by compare-and-set."""

from itertools import product

import pytest

from portal.audit import chain
from portal.kernel.db import db, transaction
from portal.payments.models import OPEN_PUSH, Push
from portal.payments.stk.push_states import ALLOWED, FINAL, OPEN, IllegalMove, State, move
from tests.support.business import House


def test_every_state_has_its_row_in_the_graph() -> None:
    assert set(ALLOWED) == set(State)
    assert {state for state, allowed in ALLOWED.items() if not allowed} == {State.SUCCEEDED}


def test_the_database_and_the_code_mean_the_same_states_by_open() -> None:
    assert all(f"'{state}'" in OPEN_PUSH for state in OPEN)
    assert not any(f"'{state}'" in OPEN_PUSH for state in set(State) - OPEN)


@pytest.mark.property(68)
def test_every_legal_move_is_made_once_and_every_other_is_refused(house: House) -> None:
    _number, token = house.invoice()
    push_id = house.pushed(token).push_id
    with house.app.app_context():
        for old, new in product(State, State):
            with transaction():
                db.session.query(Push).filter_by(id=push_id).update({"state": old})
            push = db.session.get_one(Push, push_id)
            if new not in ALLOWED[old]:
                with pytest.raises(IllegalMove), transaction():
                    move(push, old, new, why="try", actor="test")
                continue
            with transaction():
                assert move(db.session.get_one(Push, push_id), old, new, why=f"{old} to {new}", actor="test")
            with transaction():
                assert not move(db.session.get_one(Push, push_id), old, new, why="again", actor="test")
            last = chain.history(house.tenant_id(), ("push", push_id))[-1]
            assert (last.old, last.new, last.why, last.actor) == (old, new, f"{old} to {new}", "test")
            assert (db.session.get_one(Push, push_id).ended_at is not None) or new not in FINAL
