"""The HTTP API's tokens, and batches that are held until somebody starts them.

Revision ID: 0005
Revises: 0004
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def _column(name: str, kind: Any, *, nullable: bool = False, **more: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=nullable, **more)


def upgrade() -> None:
    op.add_column("batch", _column("held", sa.Boolean(), server_default=sa.false()))
    op.create_table(
        "token",
        _column("id", ID),
        _column("name", sa.String()),
        _column("client_id", sa.String(), nullable=True),
        _column("hash", sa.String()),
        _column("created_at", TIME),
        _column("revoked_at", TIME, nullable=True),
        _column("last_used_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["client_id"], ["client.id"], name=op.f("fk_token_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
        sa.UniqueConstraint("hash", name=op.f("uq_token_hash")),
    )
