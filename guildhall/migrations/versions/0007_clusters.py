"""Scheduler: clusters registered through the API, their credentials and machines, and pools that follow from these."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What was there before was typed in, and stays as it was."""
    create_installation()
    extend_clusters()
    create_credentials()
    create_machines()
    extend_pools()
    op.add_column("attempts", sa.Column("machines", sa.ARRAY(sa.String()), nullable=False, server_default="{}"))
    op.alter_column("attempts", "machines", server_default=None)


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError


def create_installation() -> None:
    """The table installation."""
    op.create_table(
        "installation",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("single", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("single", name=op.f("ck_installation_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
        sa.UniqueConstraint("single", name=op.f("uq_installation_single")),
    )


def extend_clusters() -> None:
    """The table clusters."""
    op.add_column("clusters", sa.Column("state", sa.String(), nullable=False, server_default="READY"))
    op.alter_column("clusters", "state", server_default=None)
    op.add_column("clusters", sa.Column("state_code", sa.String()))
    op.add_column("clusters", sa.Column("state_message", sa.String()))
    op.add_column("clusters", sa.Column("uid", sa.String()))
    op.add_column("clusters", sa.Column("version", sa.String()))
    op.add_column("clusters", sa.Column("requests_per_second", sa.Integer(), nullable=False, server_default="50"))
    op.alter_column("clusters", "requests_per_second", server_default=None)
    op.add_column("clusters", sa.Column("jobs_lost_after_seconds", sa.Integer()))
    op.add_column("clusters", sa.Column("seen_at", sa.DateTime(timezone=True)))
    op.add_column("clusters", sa.Column("machines_at", sa.DateTime(timezone=True)))
    op.create_unique_constraint(op.f("uq_clusters_uid"), "clusters", ["uid"])
    checks = {
        "state_known": "state IN ('READY', 'UNREACHABLE', 'REFUSING', 'UNREGISTERED')",
        "state_has_reason": "(state = 'READY') = (state_code IS NULL)",
        "state_reason_whole": "(state_code IS NULL) = (state_message IS NULL)",
        "requests_per_second_in_range": "requests_per_second BETWEEN 1 AND 10000",
        "jobs_lost_after_positive": "jobs_lost_after_seconds > 0",
    }
    for name, condition in checks.items():
        op.create_check_constraint(op.f(f"ck_clusters_{name}"), "clusters", condition)


def create_credentials() -> None:
    """The table cluster_credentials."""
    op.create_table(
        "cluster_credentials",
        sa.Column("cluster_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key_name", sa.String()),
        sa.Column("nonce", sa.LargeBinary()),
        sa.Column("ciphertext", sa.LargeBinary()),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('KUBECONFIG', 'IN_CLUSTER')", name=op.f("ck_cluster_credentials_kind_known")),
        sa.CheckConstraint(
            "(kind = 'KUBECONFIG') = (ciphertext IS NOT NULL)", name=op.f("ck_cluster_credentials_kubeconfig_is_kept")
        ),
        sa.CheckConstraint(
            "(ciphertext IS NULL) = (nonce IS NULL)", name=op.f("ck_cluster_credentials_encrypted_whole")
        ),
        sa.CheckConstraint(
            "(ciphertext IS NULL) = (key_name IS NULL)", name=op.f("ck_cluster_credentials_encrypted_under_key")
        ),
        sa.CheckConstraint("revision > 0", name=op.f("ck_cluster_credentials_revision_positive")),
        sa.ForeignKeyConstraint(
            ["cluster_id"], ["clusters.id"], name=op.f("fk_cluster_credentials_cluster_id_clusters")
        ),
        sa.PrimaryKeyConstraint("cluster_id", name=op.f("pk_cluster_credentials")),
    )


def create_machines() -> None:
    """The table machines."""
    json = postgresql.JSONB(astext_type=sa.Text())
    op.create_table(
        "machines",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("cluster_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("labels", json, nullable=False),
        sa.Column("taints", json, nullable=False),
        sa.Column("schedulable", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("accelerators", json, nullable=False),
        sa.Column("foreign_accelerators", json, nullable=False),
        sa.Column("cpu_millis", sa.BigInteger(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("pool_ids", sa.ARRAY(sa.Uuid()), nullable=False),
        sa.CheckConstraint("name <> ''", name=op.f("ck_machines_name_given")),
        sa.CheckConstraint("cpu_millis >= 0 AND memory_bytes >= 0", name=op.f("ck_machines_size_not_negative")),
        sa.CheckConstraint("schedulable = (reason IS NULL)", name=op.f("ck_machines_unschedulable_has_reason")),
        sa.ForeignKeyConstraint(["cluster_id"], ["clusters.id"], name=op.f("fk_machines_cluster_id_clusters")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_machines")),
        sa.UniqueConstraint("cluster_id", "name", name=op.f("uq_machines_cluster_id_name")),
    )


def extend_pools() -> None:
    """The table pools."""
    json = postgresql.JSONB(astext_type=sa.Text())
    op.drop_constraint(op.f("ck_pools_nodes_positive"), "pools")
    op.create_check_constraint(op.f("ck_pools_nodes_not_negative"), "pools", "nodes >= 0")
    op.add_column("pools", sa.Column("slots_per_node", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE pools SET slots_per_node = slots / nodes")
    op.alter_column("pools", "slots_per_node", server_default=None)
    op.create_check_constraint(op.f("ck_pools_slots_per_node_not_negative"), "pools", "slots_per_node >= 0")
    op.add_column("pools", sa.Column("accelerator_resource", sa.String()))
    op.create_check_constraint(op.f("ck_pools_accelerator_resource_given"), "pools", "accelerator_resource <> ''")
    op.add_column("pools", sa.Column("node_selector", json, nullable=False, server_default="{}"))
    op.alter_column("pools", "node_selector", server_default=None)
    op.add_column("pools", sa.Column("tolerations", json, nullable=False, server_default="[]"))
    op.alter_column("pools", "tolerations", server_default=None)
    op.add_column("pools", sa.Column("image", sa.String()))
    op.create_check_constraint(op.f("ck_pools_image_given"), "pools", "image <> ''")
    op.add_column("pools", sa.Column("writable_root", sa.Boolean(), nullable=False, server_default="false"))
    op.alter_column("pools", "writable_root", server_default=None)
