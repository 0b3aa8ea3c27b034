"""Alembic's entry: migrates over the connection that `harness.results.schema` hands in."""

from __future__ import annotations

from alembic import context

from harness.results.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite alters a table by copying it
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
