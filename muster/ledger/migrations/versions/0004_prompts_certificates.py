"""Prompts and answers, brands, the manifest and certificate of a run, a view for operators, a lane's pledge.

Revision ID: 0004
Revises: 0003
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

# What the night came to, a line for each batch; `muster batches` shows the same.
VIEW = """
CREATE VIEW batch_status AS
SELECT
  batch.id,
  run.key AS run,
  client.id AS client,
  client.name AS client_name,
  batch.workload,
  batch.state,
  batch.total,
  batch.succeeded,
  batch.skipped,
  batch.failed,
  batch.cancelled,
  batch.total - batch.succeeded - batch.skipped - batch.failed - batch.cancelled AS remaining,
  batch.driver,
  batch.driver_runs,
  batch.beat_at,
  batch.reason,
  batch.cost_micros,
  batch.created_at,
  batch.closed_at
FROM batch
JOIN run ON run.id = batch.run_id
JOIN client ON client.id = batch.client_id
"""


def _column(name: str, kind: Any, *, nullable: bool = False, **more: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=nullable, **more)


def upgrade() -> None:
    for name in ("brand", "competitors"):
        op.add_column("client", _column(name, JSON, server_default="[]"))
    op.add_column("run", _column("started_by", sa.String(), nullable=True))
    for name in ("manifest", "certificate", "result"):
        op.add_column("run", _column(name, JSON, nullable=True))
    op.add_column("run", _column("manifest_hash", sa.String(), nullable=True))
    op.add_column("allotment", _column("pledged", sa.Integer(), server_default="0"))
    op.add_column("batch", _column("manifest_hash", sa.String(), nullable=True))
    op.create_table(
        "prompt",
        _column("id", ID),
        _column("client_id", sa.String()),
        _column("key", sa.String()),
        _column("text", sa.Text()),
        _column("state", sa.String()),
        sa.CheckConstraint("state IN ('active', 'inactive')", name=op.f("ck_prompt_state_known")),
        sa.ForeignKeyConstraint(["client_id"], ["client.id"], name=op.f("fk_prompt_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompt")),
        sa.UniqueConstraint("client_id", "key", name=op.f("uq_prompt_client_id_key")),
    )
    op.create_table(
        "answer",
        _column("id", ID),
        _column("item_id", ID),
        _column("prompt_id", ID),
        _column("client_id", sa.String()),
        _column("provider", sa.String()),
        _column("model", sa.String()),
        _column("text", sa.Text()),
        _column("mark", sa.String(), nullable=True),
        _column("grounded", sa.Boolean()),
        _column("brand_mentioned", sa.Boolean()),
        _column("mentions", JSON),
        _column("citations", JSON),
        _column("searches", sa.Integer()),
        _column("input_tokens", sa.Integer()),
        _column("output_tokens", sa.Integer()),
        _column("cost_micros", sa.BigInteger(), nullable=True),
        _column("at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_answer_item_id")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_answer_prompt_id")),
        sa.ForeignKeyConstraint(["client_id"], ["client.id"], name=op.f("fk_answer_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_answer")),
        sa.UniqueConstraint("item_id", name=op.f("uq_answer_item_id")),
    )
    op.create_index(op.f("ix_answer_prompt_id_provider"), "answer", ["prompt_id", "provider"])
    op.create_index(op.f("ix_answer_client_id_at"), "answer", ["client_id", "at"])
    op.execute(VIEW)
