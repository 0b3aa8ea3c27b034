"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "dataset",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("identity_key", sa.String(64), nullable=False),
        sa.Column("identity", sa.JSON(), nullable=False),
        sa.Column("content_hash", sa.String(64)),
        sa.Column("transitions", sa.BigInteger()),
        sa.Column("first_used", sa.DateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_dataset"),
        sa.UniqueConstraint("identity_key", name="uq_dataset_identity_key"),
    )
    op.create_table(
        "environment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_environment"),
        sa.UniqueConstraint("hash", name="uq_environment_hash"),
    )
    op.create_table(
        "configuration",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("algorithm", sa.String(255), nullable=False),
        sa.Column("dataset", sa.String(255), nullable=False),
        sa.Column("lineage", sa.String(255), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_configuration"),
        sa.UniqueConstraint("key", name="uq_configuration_key"),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name="fk_configuration_dataset_id"),
    )
    op.create_index(
        "ix_configuration_algorithm_dataset_lineage", "configuration", ["algorithm", "dataset", "lineage"]
    )
    op.create_table(
        "run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("configuration_id", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(255)),
        sa.Column("heartbeat", sa.DateTime()),
        sa.Column("population", sa.String(255)),
        sa.Column("checkpoint", sa.Text()),
        sa.Column("checkpoint_step", sa.BigInteger()),
        sa.Column("step", sa.BigInteger()),
        sa.Column("error", sa.Text()),
        sa.Column("failed_step", sa.BigInteger()),
        sa.Column("environment_id", sa.Integer()),
        sa.Column("wall_seconds", sa.Float(53)),
        sa.Column("device_seconds", sa.Float(53)),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("started", sa.DateTime()),
        sa.Column("finished", sa.DateTime()),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'finished', 'failed', 'interrupted')", name=op.f("ck_run_status")
        ),
        sa.CheckConstraint("origin IN ('trained', 'imported')", name=op.f("ck_run_origin")),
        sa.UniqueConstraint("key", name="uq_run_key"),
        sa.ForeignKeyConstraint(["configuration_id"], ["configuration.id"], name="fk_run_configuration_id"),
        sa.ForeignKeyConstraint(["environment_id"], ["environment.id"], name="fk_run_environment_id"),
    )
    op.create_index("ix_run_configuration_id_seed", "run", ["configuration_id", "seed"])
    op.create_index("ix_run_status", "run", ["status"])
    op.create_table(
        "evaluation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("mean_return", sa.Float(53), nullable=False),
        sa.Column("mean_length", sa.Float(53)),
        sa.Column("episodes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_evaluation"),
        sa.UniqueConstraint("run_id", "step", name="uq_evaluation_run_id_step"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_evaluation_run_id"),
    )
    op.create_table(
        "metric",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("value", sa.Float(53)),
        sa.PrimaryKeyConstraint("run_id", "step", "name", name="pk_metric"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_metric_run_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "episode",
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("raw_return", sa.Float(53), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("evaluation_id", "number", name="pk_episode"),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluation.id"], name="fk_episode_evaluation_id"),
        sqlite_with_rowid=False,
    )
