"""Clients, profiles, posts; runs, batches, items and what lanes do with them.

Revision ID: 0001
Revises: nothing
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "client",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("service_level", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("batch_size", sa.Integer(), nullable=False),
        sa.Column("max_batches", sa.Integer(), nullable=False),
        sa.Column("posts_target", sa.Integer(), nullable=True),
        sa.Column("max_posts_per_profile", sa.Integer(), nullable=False),
        sa.Column("profiles_limit", sa.Integer(), nullable=False),
        sa.CheckConstraint("state IN ('active', 'inactive', 'paused')", name=op.f("ck_client_state_known")),
        sa.CheckConstraint("batch_size > 0 AND max_batches >= 0", name=op.f("ck_client_batch_sizes")),
        sa.CheckConstraint("weight > 0", name=op.f("ck_client_weight_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_client")),
    )
    op.create_table(
        "run",
        sa.Column("id", ID, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("request", JSON, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (state IN ('done', 'failed'))", name=op.f("ck_run_finished_at_iff_closed")
        ),
        sa.CheckConstraint("state IN ('done', 'failed', 'running')", name=op.f("ck_run_state_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("key", name=op.f("uq_run_key")),
    )
    op.create_table(
        "setting",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_setting")),
    )
    op.create_table(
        "batch",
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("workload", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("limits", JSON, nullable=False),
        sa.Column("request", JSON, nullable=False),
        sa.Column("upstreams", JSON, nullable=False),
        sa.Column("stopped", JSON, nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("succeeded", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("cancelled", sa.Integer(), nullable=False),
        sa.Column("target", sa.Integer(), nullable=True),
        sa.Column("gained", sa.Integer(), nullable=False),
        sa.Column("reserved", sa.Integer(), nullable=False),
        sa.Column("cost_micros", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("driver", sa.String(), nullable=True),
        sa.Column("driver_runs", sa.Integer(), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(closed_at IS NOT NULL) = (state IN ('cancelled', 'done', 'failed'))",
            name=op.f("ck_batch_closed_at_iff_closed"),
        ),
        sa.CheckConstraint(
            "state <> 'done' OR succeeded + skipped + failed + cancelled = total",
            name=op.f("ck_batch_done_is_all_closed"),
        ),
        sa.CheckConstraint(
            "state IN ('cancelled', 'done', 'failed', 'in_progress', 'paused', 'queued')",
            name=op.f("ck_batch_state_known"),
        ),
        sa.CheckConstraint("gained >= 0 AND reserved >= 0", name=op.f("ck_batch_allowance_not_negative")),
        sa.CheckConstraint(
            "succeeded >= 0 AND skipped >= 0 AND failed >= 0 AND cancelled >= 0 AND succeeded + skipped + failed + cancelled <= total",
            name=op.f("ck_batch_counts_within_total"),
        ),
        sa.CheckConstraint("target IS NULL OR gained + reserved <= target", name=op.f("ck_batch_target_never_passed")),
        sa.ForeignKeyConstraint(["client_id"], ["client.id"], name=op.f("fk_batch_client_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_batch_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch")),
        sa.UniqueConstraint("key", name=op.f("uq_batch_key")),
    )
    with op.batch_alter_table("batch", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_batch_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_batch_run_id"), ["run_id"], unique=False)
        batch_op.create_index(
            "uq_batch_working",
            ["client_id", "workload"],
            unique=True,
            sqlite_where=sa.text("state IN ('in_progress', 'paused')"),
            postgresql_where=sa.text("state IN ('in_progress', 'paused')"),
        )

    op.create_table(
        "profile",
        sa.Column("id", ID, nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("platform", sa.String(), nullable=False),
        sa.Column("handle", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=True),
        sa.Column("data", JSON, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("score", sa.Integer(), nullable=True),
        sa.Column("score_reason", sa.Text(), nullable=True),
        sa.Column("scored_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("harvested_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('active', 'gone', 'no_posts')", name=op.f("ck_profile_state_known")),
        sa.CheckConstraint("score BETWEEN 0 AND 100", name=op.f("ck_profile_score_in_range")),
        sa.ForeignKeyConstraint(["client_id"], ["client.id"], name=op.f("fk_profile_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profile")),
        sa.UniqueConstraint("client_id", "platform", "handle", name=op.f("uq_profile_client_id_platform_handle")),
    )
    op.create_table(
        "run_client",
        sa.Column("run_id", ID, nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("included", sa.Boolean(), nullable=False),
        sa.Column("workloads", JSON, nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["client_id"], ["client.id"], name=op.f("fk_run_client_client_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_run_client_run_id")),
        sa.PrimaryKeyConstraint("run_id", "client_id", name=op.f("pk_run_client")),
    )
    op.create_table(
        "event",
        sa.Column("id", ID, nullable=False),
        sa.Column("batch_id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("level", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", JSON, nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_event_batch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
    )
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_event_batch_id_id"), ["batch_id", "id"], unique=False)

    op.create_table(
        "item",
        sa.Column("id", ID, nullable=False),
        sa.Column("batch_id", ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("upstream", sa.String(), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("starts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("lane", sa.String(), nullable=True),
        sa.Column("reserved", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_kind", sa.String(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("result", JSON, nullable=True),
        sa.Column("cost_micros", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(closed_at IS NOT NULL) = (state IN ('cancelled', 'failed', 'skipped', 'succeeded'))",
            name=op.f("ck_item_closed_at_iff_closed"),
        ),
        sa.CheckConstraint("(lane IS NOT NULL) = (state = 'running')", name=op.f("ck_item_lane_iff_running")),
        sa.CheckConstraint(
            "state IN ('cancelled', 'failed', 'pending', 'running', 'skipped', 'succeeded', 'waiting')",
            name=op.f("ck_item_state_known"),
        ),
        sa.CheckConstraint("tries >= 0 AND starts >= 0 AND reserved >= 0", name=op.f("ck_item_counts_not_negative")),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_item_batch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_item")),
        sa.UniqueConstraint("batch_id", "key", name=op.f("uq_item_batch_id_key")),
    )
    with op.batch_alter_table("item", schema=None) as batch_op:
        batch_op.create_index("ix_item_ready", ["batch_id", "upstream", "state", "due_at", "seq"], unique=False)

    op.create_table(
        "lane",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("batch_id", ID, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_lane_batch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lane")),
    )
    with op.batch_alter_table("lane", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_lane_batch_id"), ["batch_id"], unique=False)

    op.create_table(
        "post",
        sa.Column("id", ID, nullable=False),
        sa.Column("profile_id", ID, nullable=False),
        sa.Column("external_id", sa.String(), nullable=False),
        sa.Column("item_id", ID, nullable=True),
        sa.Column("url", sa.String(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("data", JSON, nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["profile_id"], ["profile.id"], name=op.f("fk_post_profile_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_post")),
        sa.UniqueConstraint("profile_id", "external_id", name=op.f("uq_post_profile_id_external_id")),
    )
    op.create_table(
        "attempt",
        sa.Column("id", ID, nullable=False),
        sa.Column("item_id", ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("error_kind", sa.String(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("ms", sa.Integer(), nullable=False),
        sa.Column("resource", sa.String(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_attempt_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
    )
    with op.batch_alter_table("attempt", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_attempt_item_id"), ["item_id"], unique=False)

    op.create_table(
        "step",
        sa.Column("item_id", ID, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("result", JSON, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_step_item_id")),
        sa.PrimaryKeyConstraint("item_id", "name", name=op.f("pk_step")),
    )
