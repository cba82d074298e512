"""The credentials of clusters at rest: encrypted under a key that the database does not have."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.keys import Encrypted, Keyring
from scheduler.clusters.tables import ClusterCredentials, CredentialsKind

REGISTER = "scheduler:cluster:register"


async def keep_credentials(
    session: AsyncSession, cluster_id: UUID, kubeconfig: str | None, *, keyring: Keyring, at: datetime
) -> None:
    """Keep them in the place of those before; None: the account of the pod that we run in. Workers connect anew."""
    columns: dict[str, object] = {"key_name": None, "nonce": None, "ciphertext": None}
    kind = CredentialsKind.IN_CLUSTER
    if kubeconfig is not None:
        kind = CredentialsKind.KUBECONFIG
        columns = _columns(keyring.encrypt(kubeconfig, about=cluster_id.bytes))
    row = {"cluster_id": cluster_id, "kind": kind.value, "changed_at": at, **columns}
    statement = insert(ClusterCredentials).values(revision=1, **row)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["cluster_id"], set_={**row, "revision": ClusterCredentials.revision + 1}
        )
    )


def read_credentials(row: ClusterCredentials, keyring: Keyring) -> str | None:
    """The kubeconfig, None for the account of our own pod. Raises KeyMissing where it cannot be read."""
    if row.ciphertext is None or row.nonce is None or row.key_name is None:
        return None
    return keyring.decrypt(Encrypted(row.key_name, row.nonce, row.ciphertext), about=row.cluster_id.bytes)


async def forget_credentials(session: AsyncSession, cluster_id: UUID) -> None:
    """Nobody connects with them again."""
    await session.execute(delete(ClusterCredentials).where(ClusterCredentials.cluster_id == cluster_id))


async def encrypt_anew(
    session: AsyncSession, actor: Actor, *, keyring: Keyring, at: datetime, new_id: IdSource
) -> list[UUID]:
    """Put what is under another key under the current one; returns whose it was. Nobody has to connect anew."""
    statement = (
        select(ClusterCredentials)
        .where(ClusterCredentials.key_name.is_not(None), ClusterCredentials.key_name != keyring.current)
        .order_by(ClusterCredentials.cluster_id)
        .with_for_update()
    )
    rows = (await session.scalars(statement)).all()
    for row in rows:
        kubeconfig = read_credentials(row, keyring)
        assert kubeconfig is not None, "only what is under a key was asked for"
        for name, value in _columns(keyring.encrypt(kubeconfig, about=row.cluster_id.bytes)).items():
            setattr(row, name, value)
    await session.flush()
    changed = [row.cluster_id for row in rows]
    if changed:
        resources = [ResourceRef("Cluster", cluster_id) for cluster_id in changed]
        after = {"credentials_key": keyring.current}
        await record(session, actor, action=REGISTER, resources=resources, after=after, at=at, new_id=new_id)
    return changed


def _columns(encrypted: Encrypted) -> dict[str, object]:
    return {"key_name": encrypted.key_name, "nonce": encrypted.nonce, "ciphertext": encrypted.ciphertext}
