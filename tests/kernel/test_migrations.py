"""The migrations make what the models say, on both databases, and can be taken back."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask_migrate import downgrade, upgrade
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from portal.app import ROOT
from portal.kernel.db import db, migrating, transaction
from tests.support.business import House
from tests.support.daraja import receipt


def test_models_and_migrations_agree(either_house: House) -> None:
    with either_house.app.app_context(), db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, db.Model.metadata) == []


def test_the_schema_goes_down_and_up_again(either_house: House) -> None:
    with either_house.app.app_context(), migrating():
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
def test_history_cannot_be_rewritten(either_house: House, statement: str) -> None:
    _number, token = either_house.invoice(100)
    either_house.callback(either_house.pushed(token), receipt=receipt(1))
    either_house.work()
    with either_house.app.app_context(), pytest.raises(DBAPIError, match="append-only"), transaction():
        db.session.execute(text(statement))
