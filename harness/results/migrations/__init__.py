"""Alembic migrations, run by `harness.results.schema` only."""
