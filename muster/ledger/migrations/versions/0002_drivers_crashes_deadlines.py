"""Drivers that pull; what crashes are counted against; deadlines.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
OPEN = sa.text("state IN ('in_progress', 'paused', 'queued')")
RUNNING = sa.text("state = 'running'")
SUSPECT = sa.text("crashes >= 2")


def upgrade() -> None:
    op.add_column("run", sa.Column("planned_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE run SET planned_at = started_at")
    op.add_column("batch", sa.Column("fruitless", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("batch", sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_batch_open", "batch", ["client_id"], sqlite_where=OPEN, postgresql_where=OPEN)
    op.add_column("item", sa.Column("redrives", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("item", sa.Column("crashes", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("ix_item_running", "item", ["batch_id", "lane"], sqlite_where=RUNNING, postgresql_where=RUNNING)
    op.create_index("ix_item_suspect", "item", ["batch_id"], sqlite_where=SUSPECT, postgresql_where=SUSPECT)
    op.add_column("lane", sa.Column("alone", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "driver",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("run_id", ID, nullable=True),
        sa.Column("clients", JSON, nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_driver_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_driver")),
    )
