"""Short ways to store a file, to read it over HTTP, and to see what the record says of that."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import delete, update

from guildhall.audit.tables import AuditEvent
from guildhall.auth.tables import RoleBinding
from guildhall.clock import new_id
from registry.access.withdrawal import withdraw_access
from registry.artifacts.packages import create_package
from registry.artifacts.tables import OwnerKind
from registry.datasets.tables import Dataset
from tests.registry.estate import dataset_ref, digest, granted
from tests.registry.http.conftest import Site

CONTENT = bytes(range(250)) * 10
ASK = "Ask the steward mia@example.org with requestAccess, for one of the purposes quality, research."


async def reads_now(site: Site) -> list[AuditEvent]:
    """What the record says of reading data at this moment, oldest first."""
    actions = {"registry:dataset:read", "registry:model:read", "registry:package:read"}
    found = [event for event in await site.estate.rows(AuditEvent) if event.action in actions]
    return sorted(found, key=lambda event: event.id)


async def reads(site: Site) -> list[AuditEvent]:
    """The same once every announced read was concluded, which the client with its last byte does not wait for."""
    async with asyncio.timeout(60):
        while True:
            events = await reads_now(site)
            concluded = {event.concludes_id for event in events}
            if all(event.id in concluded for event in events if event.outcome == "STARTED"):
                return events
            await asyncio.sleep(0.01)


async def address(site: Site, owner_id: UUID, path: str = "a.bin") -> str:
    return f"/artifacts/{(await site.estate.artifact(owner_id, path)).id}"


async def get(site: Site, url: str, *, by: str | None = "carl", method: str = "GET", **headers: str) -> httpx.Response:
    async with site.client(by, **headers) as client:
        return await client.request(method, url)


async def stored(site: Site, content: bytes = CONTENT, **given: Any) -> tuple[UUID, UUID]:
    """A data set with one version of one file."""
    dataset_id = await site.estate.dataset(**given)
    return dataset_id, await site.estate.stored(dataset_id, {"a.bin": content})


async def packed(site: Site, archive: bytes) -> UUID:
    """A package of Quality."""
    paul = site.estate.actor("paul")
    about: Any = {
        "size_bytes": len(archive),
        "sha256": digest(archive),
        "at": site.estate.clock.now(),
        "new_id": new_id,
    }
    async with site.estate.database.transaction() as session:
        package_id = await create_package(session, paul, team="quality", **about)
    await site.estate.send(package_id, "package.tar.gz", archive)
    assert (await site.estate.complete(package_id, by="paul", kind=OwnerKind.PACKAGE)).missing == ()
    return package_id


async def withdraw_role(site: Site, name: str) -> None:
    """Take all roles away from one of the people."""
    person = site.estate.house.people[name]
    async with site.estate.database.transaction() as session:
        await session.execute(delete(RoleBinding).where(RoleBinding.subject_id == person))


async def close(site: Site, dataset_id: UUID) -> None:
    """From now on the data goes by grant."""
    async with site.estate.database.transaction() as session:
        await session.execute(update(Dataset).filter_by(id=dataset_id).values(classification="CONFIDENTIAL"))


async def withdraw_grant(site: Site, grant_id: UUID) -> None:
    async with site.estate.database.transaction() as session:
        mia, at = site.estate.actor("mia"), site.estate.clock.now()
        await withdraw_access(session, mia, access_grant_id=grant_id, reason="A leak.", at=at, new_id=new_id)


async def grant_to_quality(site: Site, dataset_id: UUID, **given: Any) -> UUID:
    async with site.estate.database.transaction() as session:
        site.estate.house.session = session
        return await granted(site.estate.house, [dataset_ref(dataset_id)], **given)
