"""Runs the migrations on the connection that `schema.upgrade` hands over."""

from alembic import context

from muster.ledger.tables import BATCH

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=BATCH.metadata,
    render_as_batch=True,  # SQLite cannot alter a table in place
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
