"""Scheduler: clusters and pools, jobs with their attempts and intervals, and what runners report."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from guildhall.db import ddl

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What is billed and what happened are records; of an interval only the end is ever filled in."""
    create_clusters()
    create_jobs()
    create_attempts()
    create_reports()
    ddl.append_only(op, "job_events")
    ddl.service_may(op, "run_intervals", "SELECT, INSERT, UPDATE (ended_at)")
    ddl.service_may(op, "attempt_reports", "SELECT, INSERT")
    ddl.service_may(op, "input_openings", "SELECT, INSERT")
    ddl.service_may(op, "job_metrics", "SELECT, INSERT")
    end_intervals_once()


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError


def end_intervals_once() -> None:
    """An interval that has ended stays as it is: it may have been billed."""
    op.execute("""
        CREATE FUNCTION scheduler_end_interval_once() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'a run interval that has ended is a record'
                USING ERRCODE = 'restrict_violation', TABLE = 'run_intervals', CONSTRAINT = 'run_intervals_end_once';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER run_intervals_end_once BEFORE UPDATE ON run_intervals
        FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL AND NEW.ended_at IS DISTINCT FROM OLD.ended_at)
        EXECUTE FUNCTION scheduler_end_interval_once()
    """)


def create_clusters() -> None:
    """clusters, pools."""
    op.create_table(
        "clusters",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('LOCAL', 'KUBERNETES')", name=op.f("ck_clusters_kind_known")),
        sa.CheckConstraint("name ~ '^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$'", name=op.f("ck_clusters_name_is_slug")),
        sa.CheckConstraint("region <> ''", name=op.f("ck_clusters_region_given")),
        sa.CheckConstraint("(lease_token IS NULL) = (lease_expires_at IS NULL)", name=op.f("ck_clusters_lease_whole")),
        sa.CheckConstraint("(lease_token IS NULL) = (lease_owner IS NULL)", name=op.f("ck_clusters_lease_owned")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clusters")),
        sa.UniqueConstraint("name", name=op.f("uq_clusters_name")),
    )
    op.create_table(
        "pools",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("cluster_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("accelerator", sa.String(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("nodes", sa.Integer(), nullable=False),
        sa.Column("watts_per_accelerator", sa.Integer(), nullable=False),
        sa.Column("walltime_seconds_max", sa.Integer(), nullable=False),
        sa.Column("cpu_per_node", sa.Integer(), nullable=True),
        sa.Column("memory_bytes_per_node", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("accelerator <> ''", name=op.f("ck_pools_accelerator_given")),
        sa.CheckConstraint("name ~ '^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$'", name=op.f("ck_pools_name_is_slug")),
        sa.CheckConstraint("cpu_per_node > 0", name=op.f("ck_pools_cpu_positive")),
        sa.CheckConstraint("memory_bytes_per_node > 0", name=op.f("ck_pools_memory_positive")),
        sa.CheckConstraint("nodes > 0", name=op.f("ck_pools_nodes_positive")),
        sa.CheckConstraint("slots BETWEEN 0 AND 10000", name=op.f("ck_pools_slots_in_range")),
        sa.CheckConstraint("walltime_seconds_max > 0", name=op.f("ck_pools_walltime_positive")),
        sa.CheckConstraint("watts_per_accelerator >= 0", name=op.f("ck_pools_watts_not_negative")),
        sa.ForeignKeyConstraint(["cluster_id"], ["clusters.id"], name=op.f("fk_pools_cluster_id_clusters")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pools")),
        sa.UniqueConstraint("name", name=op.f("uq_pools_name")),
    )
    op.create_index("ix_pools_cluster_id", "pools", ["cluster_id"], unique=False)


def create_jobs() -> None:
    """jobs, job_inputs."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("programme_id", sa.Uuid(), nullable=False),
        sa.Column("quote_id", sa.Uuid(), nullable=False),
        sa.Column("hold_id", sa.Uuid(), nullable=False),
        sa.Column("launch_outbox_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("spec", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("spec_hash", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("state_code", sa.String(), nullable=False),
        sa.Column("state_message", sa.String(), nullable=False),
        sa.Column("waiting_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("predicted_start", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pool_id", sa.Uuid(), nullable=True),
        sa.Column("tier", sa.String(), nullable=False),
        sa.Column("strategic_class", sa.String(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("walltime_seconds", sa.Integer(), nullable=False),
        sa.Column("start_by", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sensitive", sa.Boolean(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("captured", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.BigInteger(), nullable=False),
        sa.Column("created_by_kind", sa.String(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("admitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stop_code", sa.String(), nullable=True),
        sa.Column("stop_message", sa.String(), nullable=True),
        sa.Column("stop_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'EXPIRED')) = (ended_at IS NOT NULL)",
            name=op.f("ck_jobs_ended_has_moment"),
        ),
        sa.CheckConstraint(
            "(state IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'EXPIRED')) = (settled_at IS NOT NULL)",
            name=op.f("ck_jobs_ended_is_settled"),
        ),
        sa.CheckConstraint(
            "created_by_kind IN ('USER', 'SERVICE_ACCOUNT')", name=op.f("ck_jobs_created_by_kind_known")
        ),
        sa.CheckConstraint("state = 'QUEUED' OR waiting_until IS NULL", name=op.f("ck_jobs_only_queued_waits")),
        sa.CheckConstraint(
            "state IN ('QUEUED', 'ADMITTED', 'STARTING', 'RUNNING', 'STOPPING', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'EXPIRED')",
            name=op.f("ck_jobs_state_known"),
        ),
        sa.CheckConstraint("strategic_class IN ('A', 'B', 'C', 'D')", name=op.f("ck_jobs_strategic_class_known")),
        sa.CheckConstraint("tier IN ('GUARANTEED', 'STANDARD', 'PREEMPTIBLE')", name=op.f("ck_jobs_tier_known")),
        sa.CheckConstraint("(stop_code IS NULL) = (stop_at IS NULL)", name=op.f("ck_jobs_stop_has_moment")),
        sa.CheckConstraint("(stop_code IS NULL) = (stop_message IS NULL)", name=op.f("ck_jobs_stop_whole")),
        sa.CheckConstraint("captured + released <= held", name=op.f("ck_jobs_charge_within_hold")),
        sa.CheckConstraint("held >= 0 AND captured >= 0 AND released >= 0", name=op.f("ck_jobs_charge_not_negative")),
        sa.CheckConstraint("slots > 0 AND walltime_seconds > 0", name=op.f("ck_jobs_size_positive")),
        sa.ForeignKeyConstraint(["hold_id"], ["holds.id"], name=op.f("fk_jobs_hold_id_holds")),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_jobs_pool_id_pools")),
        sa.ForeignKeyConstraint(["programme_id"], ["programmes.id"], name=op.f("fk_jobs_programme_id_programmes")),
        sa.ForeignKeyConstraint(["quote_id"], ["quotes.id"], name=op.f("fk_jobs_quote_id_quotes")),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_jobs_team_id_teams")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("hold_id", name=op.f("uq_jobs_hold_id")),
        sa.UniqueConstraint("quote_id", name=op.f("uq_jobs_quote_id")),
    )
    op.create_index(
        "ix_jobs_state",
        "jobs",
        ["state", "strategic_class", "created_at"],
        unique=False,
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    op.create_index("ix_jobs_team_id", "jobs", ["team_id", "id"], unique=False)
    op.create_table(
        "job_inputs",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("mount_path", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.CheckConstraint("kind IN ('DATASET_VERSION', 'MODEL_VERSION')", name=op.f("ck_job_inputs_kind_known")),
        sa.CheckConstraint('"index" >= 0', name=op.f("ck_job_inputs_index_not_negative")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_inputs_job_id_jobs")),
        sa.PrimaryKeyConstraint("job_id", "index", name=op.f("pk_job_inputs")),
    )
    op.create_index("ix_job_inputs_source_id", "job_inputs", ["source_id"], unique=False)


def create_attempts() -> None:
    """attempts, slot_uses, job_events, run_intervals."""
    op.create_table(
        "attempts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("pool_id", sa.Uuid(), nullable=False),
        sa.Column("slot_indexes", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("spec_hash", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("launched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("exit_reason_code", sa.String(), nullable=True),
        sa.Column("exit_reason_message", sa.String(), nullable=True),
        sa.Column("environment", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("progress", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("log_bytes", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state IN ('ENDED', 'LOST', 'REFUSED')) = (ended_at IS NOT NULL)",
            name=op.f("ck_attempts_ended_has_moment"),
        ),
        sa.CheckConstraint(
            "state IN ('ADMITTED', 'STARTING', 'RUNNING', 'ENDED', 'LOST', 'REFUSED')",
            name=op.f("ck_attempts_state_known"),
        ),
        sa.CheckConstraint(
            "(exit_reason_code IS NULL) = (exit_reason_message IS NULL)", name=op.f("ck_attempts_exit_reason_whole")
        ),
        sa.CheckConstraint("(lease_token IS NULL) = (lease_expires_at IS NULL)", name=op.f("ck_attempts_lease_whole")),
        sa.CheckConstraint("(lease_token IS NULL) = (lease_owner IS NULL)", name=op.f("ck_attempts_lease_owned")),
        sa.CheckConstraint("number >= 1", name=op.f("ck_attempts_number_from_one")),
        sa.CheckConstraint("removed_at IS NULL OR ended_at IS NOT NULL", name=op.f("ck_attempts_removed_after_end")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_attempts_job_id_jobs")),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_attempts_pool_id_pools")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("job_id", "number", name=op.f("uq_attempts_job_id_number")),
        sa.UniqueConstraint("name", name=op.f("uq_attempts_name")),
    )
    op.create_index(
        "ix_attempts_live", "attempts", ["pool_id"], unique=False, postgresql_where=sa.text("removed_at IS NULL")
    )
    op.create_table(
        "slot_uses",
        sa.Column("pool_id", sa.Uuid(), nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("slot >= 0", name=op.f("ck_slot_uses_slot_not_negative")),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_slot_uses_attempt_id_attempts")),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_slot_uses_pool_id_pools")),
        sa.PrimaryKeyConstraint("pool_id", "slot", name=op.f("pk_slot_uses")),
    )
    op.create_index("ix_slot_uses_attempt_id", "slot_uses", ["attempt_id"], unique=False)
    op.create_table(
        "job_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("attempt_id", sa.Uuid(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("from_state", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.CheckConstraint("code <> '' AND message <> ''", name=op.f("ck_job_events_reason_given")),
        sa.CheckConstraint(
            "from_state IN ('QUEUED', 'ADMITTED', 'STARTING', 'RUNNING', 'STOPPING', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'EXPIRED')",
            name=op.f("ck_job_events_from_state_known"),
        ),
        sa.CheckConstraint(
            "state IN ('QUEUED', 'ADMITTED', 'STARTING', 'RUNNING', 'STOPPING', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'EXPIRED')",
            name=op.f("ck_job_events_state_known"),
        ),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_job_events_attempt_id_attempts")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_events_job_id_jobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_events")),
    )
    op.create_index("ix_job_events_job_id", "job_events", ["job_id", "id"], unique=False)
    op.create_table(
        "run_intervals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("source_uid", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("ended_at >= started_at", name=op.f("ck_run_intervals_not_negative")),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_run_intervals_attempt_id_attempts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_intervals")),
        sa.UniqueConstraint("source_uid", name=op.f("uq_run_intervals_source_uid")),
    )
    op.create_index("ix_run_intervals_attempt_id", "run_intervals", ["attempt_id"], unique=False)


def create_reports() -> None:
    """attempt_reports, input_openings, job_metrics, job_outputs."""
    op.create_table(
        "attempt_reports",
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lines", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint("sequence >= 0", name=op.f("ck_attempt_reports_sequence_not_negative")),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_attempt_reports_attempt_id_attempts")),
        sa.PrimaryKeyConstraint("attempt_id", "sequence", name=op.f("pk_attempt_reports")),
    )
    op.create_table(
        "input_openings",
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("access_grant_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_input_openings_attempt_id_attempts")),
        sa.PrimaryKeyConstraint("attempt_id", "index", name=op.f("pk_input_openings")),
    )
    op.create_table(
        "job_metrics",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("split", sa.String(), nullable=True),
        sa.Column("step", sa.Integer(), nullable=True),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_job_metrics_attempt_id_attempts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_metrics")),
    )
    op.create_index("ix_job_metrics_attempt_id", "job_metrics", ["attempt_id", "id"], unique=False)
    op.create_table(
        "job_outputs",
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("model_version_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_job_outputs_attempt_id_attempts")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_outputs_job_id_jobs")),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name=op.f("fk_job_outputs_model_version_id_model_versions")
        ),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_job_outputs")),
        sa.UniqueConstraint("model_version_id", name=op.f("uq_job_outputs_model_version_id")),
    )
    op.create_index(op.f("ix_job_outputs_job_id"), "job_outputs", ["job_id"], unique=False)
