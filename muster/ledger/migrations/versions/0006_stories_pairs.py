"""Niches, what is known of a profile's stories, endpoint pairs with their leases.

Revision ID: 0006
Revises: 0005
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def _column(name: str, kind: Any, *, nullable: bool = False, **more: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=nullable, **more)


def _moments(*names: str) -> list[sa.Column[Any]]:
    return [_column(name, sa.DateTime(timezone=True), nullable=True) for name in names]


def upgrade() -> None:
    op.create_table(
        "niche",
        _column("id", ID),
        _column("client_id", sa.String()),
        _column("name", sa.String()),
        _column("daily_story_target", sa.Integer()),
        sa.CheckConstraint("daily_story_target >= 0", name=op.f("ck_niche_target_not_negative")),
        sa.ForeignKeyConstraint(["client_id"], ["client.id"], name=op.f("fk_niche_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_niche")),
        sa.UniqueConstraint("client_id", "name", name=op.f("uq_niche_client_id_name")),
    )
    # In SQL of its own: Alembic would copy the whole table on SQLite, and posts refer to it.
    kind = "BIGINT" if op.get_bind().dialect.name == "postgresql" else "INTEGER"
    op.execute(f"ALTER TABLE profile ADD COLUMN niche_id {kind} CONSTRAINT fk_profile_niche_id REFERENCES niche (id)")
    op.add_column("profile", _column("active_story", sa.Boolean(), nullable=True))
    for moment in _moments("last_story_detected", "last_checked"):
        op.add_column("profile", moment)
    for name in ("total_checks", "total_detections"):
        op.add_column("profile", _column(name, sa.Integer(), server_default="0"))
    op.add_column("profile", _column("story_id", sa.String(), nullable=True))
    op.create_table(
        "proxy",
        _column("id", ID),
        _column("address", sa.String()),
        _column("scheme", sa.String()),
        _column("username", sa.String(), nullable=True),
        _column("password", sa.String(), nullable=True),
        _column("state", sa.String()),
        _column("errors", sa.Integer()),
        _column("limited", sa.Integer()),
        _column("requests", sa.Integer()),
        _column("failures", sa.Integer()),
        _column("latency_ms", sa.Float(), nullable=True),
        _column("last_error", sa.Text(), nullable=True),
        *_moments("last_ok_at", "verified_at", "cooldown_until", "recheck_at"),
        _column("holder", sa.String(), nullable=True),
        _column("item_id", ID, nullable=True),
        *_moments("leased_until", "last_used_at", "hour_at"),
        _column("uses_in_hour", sa.Integer()),
        sa.CheckConstraint("state IN ('active', 'disabled')", name=op.f("ck_proxy_state_known")),
        sa.CheckConstraint("(holder IS NOT NULL) = (leased_until IS NOT NULL)", name=op.f("ck_proxy_held_iff_leased")),
        sa.CheckConstraint(
            "errors >= 0 AND limited >= 0 AND requests >= 0 AND failures >= 0 AND uses_in_hour >= 0",
            name=op.f("ck_proxy_counts_not_negative"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proxy")),
        sa.UniqueConstraint("address", name=op.f("uq_proxy_address")),
    )
    op.create_table(
        "session",
        _column("id", ID),
        _column("proxy_id", ID),
        _column("cookies", JSON),
        _column("headers", JSON),
        _column("state", sa.String()),
        _column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('active', 'disabled')", name=op.f("ck_session_state_known")),
        sa.ForeignKeyConstraint(["proxy_id"], ["proxy.id"], name=op.f("fk_session_proxy_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_session")),
        sa.UniqueConstraint("proxy_id", name=op.f("uq_session_proxy_id")),
    )
