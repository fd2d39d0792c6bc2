"""What was delivered can end before its time: its money is gone, or never came."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TO_WITHDRAW = sa.text("withdraw_at IS NOT NULL")


def upgrade() -> None:
    with op.batch_alter_table("access_grants") as batch_op:
        batch_op.add_column(sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("payments") as batch_op:
        batch_op.add_column(sa.Column("withdraw_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_index(
            "ix_payments_to_withdraw", ["withdraw_at"], sqlite_where=TO_WITHDRAW, postgresql_where=TO_WITHDRAW
        )


def downgrade() -> None:
    with op.batch_alter_table("payments") as batch_op:
        batch_op.drop_index("ix_payments_to_withdraw", sqlite_where=TO_WITHDRAW, postgresql_where=TO_WITHDRAW)
        batch_op.drop_column("withdraw_at")
    with op.batch_alter_table("access_grants") as batch_op:
        batch_op.drop_column("ended_at")
