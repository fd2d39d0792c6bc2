"""The migrations make what the models say, on both databases, and can be taken back."""

from itertools import permutations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask_migrate import downgrade, upgrade
from sqlalchemy import CheckConstraint, UniqueConstraint, inspect, text
from sqlalchemy.exc import DBAPIError

from portal.app import ROOT
from portal.kernel.db import db, migrating, transaction
from tests.support.daraja import receipt
from tests.support.product import Product


def test_models_and_migrations_agree(either_product: Product) -> None:
    with either_product.app.app_context(), db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, db.Model.metadata) == []


def test_the_schema_goes_down_and_up_again(either_product: Product) -> None:
    with either_product.app.app_context(), migrating():
        db.session.remove()
        downgrade(directory=str(ROOT / "migrations"), revision="base")
        assert inspect(db.engine).get_table_names() == ["alembic_version"]
        upgrade(directory=str(ROOT / "migrations"))
        assert set(db.Model.metadata.tables) <= set(inspect(db.engine).get_table_names())


def test_there_is_one_head() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    assert len(ScriptDirectory.from_config(config).get_heads()) == 1


@pytest.mark.parametrize("statement", [
    "UPDATE ledger_lines SET amount_cents = 1",
    "DELETE FROM ledger_lines",
    "DELETE FROM ledger_journals",
    "UPDATE audit_entries SET why = 'rewritten' WHERE seq IS NOT NULL",
    "DELETE FROM audit_entries",
])  # fmt: skip
def test_history_cannot_be_rewritten(either_product: Product, statement: str) -> None:
    _number, token = either_product.invoice(100)
    either_product.callback(either_product.pushed(token), receipt=receipt(1))
    either_product.work()
    with either_product.app.app_context(), pytest.raises(DBAPIError, match="append-only"), transaction():
        db.session.execute(text(statement))


def _keys() -> list[tuple[str, tuple[str, ...], str, bool]]:
    """(table, columns, condition, whether it is unique) of every index, those of unique constraints among them."""
    found = []
    for name, one in db.Model.metadata.tables.items():
        for constraint in one.constraints:
            if isinstance(constraint, UniqueConstraint):
                found.append((name, tuple(column.name for column in constraint.columns), "", True))
        for index in one.indexes:
            where = index.dialect_options["sqlite"]["where"]
            found.append((name, tuple(index.columns.keys()), "" if where is None else str(where), bool(index.unique)))
    return found


def test_no_index_is_the_beginning_of_another(product: Product) -> None:
    """house.md: each row that is written pays for both."""
    keys = _keys()
    assert ("payments", ("tenant_id", "reference"), "", True) in keys and len(keys) > 100
    covered = [
        (key, other)
        for key, other in permutations(keys, 2)
        if key[0] == other[0] and key[2] == other[2] and not key[3] and other[1][: len(key[1])] == key[1]
    ]
    assert covered == []


def test_no_index_leads_by_the_tenant_alone(product: Product) -> None:
    """A composite one that begins with the tenant serves as well; a unique one is a rule."""
    assert [key for key in _keys() if key[1] == ("tenant_id",) and not key[3]] == []


def test_the_database_holds_the_checks_that_the_models_state(either_product: Product) -> None:
    """The comparison of models and migrations looks at columns, indexes and keys, not at these."""
    with either_product.app.app_context():
        there = inspect(db.engine)
        for name, one in db.Model.metadata.tables.items():
            wanted = {str(check.name) for check in one.constraints if isinstance(check, CheckConstraint)}
            assert {check["name"] for check in there.get_check_constraints(name)} == wanted, name


def test_the_checks_say_the_same_in_models_and_migrations(product: Product) -> None:
    with product.app.app_context():
        there = inspect(db.engine)
        for name, one in db.Model.metadata.tables.items():
            stated = {
                str(check.name): str(check.sqltext) for check in one.constraints if isinstance(check, CheckConstraint)
            }
            assert {check["name"]: check["sqltext"] for check in there.get_check_constraints(name)} == stated, name
