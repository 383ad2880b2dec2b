"""Upstreams' limits and breakers, and what each lane may use of them; a batch's priority.

Revision ID: 0003
Revises: 0002
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _moment(name: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "upstream",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=True),
        sa.Column("per_minute", sa.Float(), nullable=True),
        sa.Column("tokens_per_minute", sa.Float(), nullable=True),
        _moment("next_at"),
        _moment("tokens_at"),
        sa.Column("tokens_per_call", sa.Float(), nullable=False),
        _moment("held_until"),
        _moment("throttled_at"),
        sa.Column("ceiling", sa.Integer(), nullable=True),
        sa.Column("paced_per_minute", sa.Float(), nullable=True),
        _moment("paced_until"),
        sa.Column("breaker", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("openings", sa.Integer(), nullable=False),
        _moment("open_until"),
        sa.Column("probe", sa.String(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        _moment("since"),
        sa.CheckConstraint("breaker IN ('closed', 'half_open', 'open')", name=op.f("ck_upstream_breaker_known")),
        sa.CheckConstraint(
            "concurrency > 0 AND per_minute > 0 AND tokens_per_minute > 0",
            name=op.f("ck_upstream_limits_positive"),
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_upstream")),
    )
    op.create_table(
        "allotment",
        sa.Column("lane", sa.String(), nullable=False),
        sa.Column("upstream", sa.String(), nullable=False),
        sa.Column("batch_id", ID, nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("served", sa.Integer(), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sa.Column("allotted", sa.Integer(), nullable=True),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("slots_wanted", sa.Integer(), nullable=False),
        _moment("waiting_since"),
        _moment("held_since"),
        _moment("slots_since"),
        _moment("beat_at", nullable=False),
        _moment("expires_at", nullable=False),
        sa.ForeignKeyConstraint(["upstream"], ["upstream.name"], name=op.f("fk_allotment_upstream")),
        sa.PrimaryKeyConstraint("lane", "upstream", name=op.f("pk_allotment")),
    )
    op.create_index(op.f("ix_allotment_upstream"), "allotment", ["upstream"])
    op.add_column("batch", sa.Column("priority", sa.Integer(), nullable=False, server_default="3"))
