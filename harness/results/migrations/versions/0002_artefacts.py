"""Files that finished runs leave, and finished runs that a process holds to train them again for these."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "artefact",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "kind", name="pk_artefact"),
        sa.CheckConstraint("kind IN ('policy', 'state', 'gathered')", name=op.f("ck_artefact_kind")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_artefact_run_id"),
    )
    # an owner now says that the run is being trained, also of a finished one
    op.execute("UPDATE run SET owner = NULL, heartbeat = NULL WHERE status IN ('finished', 'failed')")
