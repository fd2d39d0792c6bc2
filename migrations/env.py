"""Alembic's environment: the application's own engine, one transaction, the same scripts on SQLite and PostgreSQL."""

from alembic import context
from flask import current_app

config = context.config
db = current_app.extensions["migrate"].db


def run() -> None:
    """Run the migrations on the application's engine."""
    arguments = current_app.extensions["migrate"].configure_args
    with db.engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=db.Model.metadata,
            render_as_batch=arguments.get("render_as_batch", True),
            compare_server_default=False,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


if context.is_offline_mode():
    context.configure(url=str(db.engine.url), target_metadata=db.Model.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    run()
