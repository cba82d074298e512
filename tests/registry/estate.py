"""Data sets, files and access for the registry's tests, made by the domain functions themselves.

Mia, who is in no team, is the steward unless told otherwise; so whoever decides is nobody who asks.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import select

from guildhall.auth.actor import Actor, system_actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database, WriteSession
from registry.access.deciding import DecisionKind, decide_access
from registry.access.narrowing import Narrowing
from registry.access.requests import Beneficiary, request_access
from registry.artifacts.completing import Completion, complete_uploads, verify_uploads
from registry.artifacts.files import FileSpec
from registry.artifacts.growing import Growths
from registry.artifacts.owners import OwnerRef
from registry.artifacts.receiving import ReceivedPart, find_upload, receive_part
from registry.artifacts.tables import Artifact, OwnerKind
from registry.datasets.legal import LegalRecord
from registry.datasets.registration import register_dataset
from registry.datasets.tables import Classification, DatasetVersion
from registry.datasets.versions import ColumnSpec, create_dataset_version
from registry.owners import UPLOAD_OWNERS
from registry.purposes.configuration import PurposeSpec, apply_purposes
from registry.storage import ArtifactStore
from tests.registry.house import House

PURPOSES = ("marketing", "quality", "research")
LEGAL = LegalRecord(
    licence="CC-BY-4.0",
    legal_basis="contract",
    permitted_purposes=("quality", "research"),
    regions=("eu",),
    retention_ends_on=None,
)
DAY = 24 * 60 * 60
PART_BYTES = 1_000


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def spec(path: str, content: bytes, **given: Any) -> FileSpec:
    return FileSpec(path=path, size_bytes=len(content), sha256=digest(content), **given)


async def chunked(content: bytes, size: int = 300) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def list_purposes(session: WriteSession, at: datetime) -> None:
    items = [PurposeSpec(name=name, description=name.title()) for name in PURPOSES]
    await apply_purposes(session, system_actor("test"), items, at=at, new_id=new_id)


async def registered(
    house: House,
    name: str = "gauge-digits",
    *,
    by: str = "anna",
    classification: Classification = Classification.CONFIDENTIAL,
    stewards: Sequence[str] = ("mia",),
    legal: Mapping[str, Any] | None = None,
    **given: Any,
) -> UUID:
    """A data set of Maintenance, through `register_dataset`."""
    await list_purposes(house.session, house.at)
    values: dict[str, Any] = {"team": "maintenance", "description": "Dials, photographed.", **given}
    return await register_dataset(
        house.session,
        house.actor(by),
        name=name,
        classification=classification,
        legal=replace(LEGAL, **(legal or {})),
        stewards=[f"{person}@example.org" for person in stewards],
        at=house.at,
        new_id=new_id,
        **values,
    )


async def versioned(house: House, dataset_id: UUID, *, columns: Sequence[str] = ("image", "digit")) -> UUID:
    """A version whose one file needs no bytes for the test: READY as far as the record goes."""
    version_id = await create_dataset_version(
        house.session,
        house.actor("anna"),
        dataset_id=dataset_id,
        files=[spec("data.csv", b"abc")],
        columns=[ColumnSpec(name=name, type="float") for name in columns],
        rows=1797,
        at=house.at,
        new_id=new_id,
    )
    await house.change(DatasetVersion, version_id, state="READY", ready_at=house.at)
    return version_id


def dataset_ref(key: UUID) -> ResourceRef:
    return ResourceRef("Dataset", key)


def version_ref(key: UUID) -> ResourceRef:
    return ResourceRef("DatasetVersion", key)


def model_ref(key: UUID) -> ResourceRef:
    return ResourceRef("ModelVersion", key)


async def asked(
    house: House,
    resources: Sequence[ResourceRef],
    *,
    by: str = "quinn",
    team: str | None = "quality",
    email: str | None = None,
    purpose: str = "quality",
    seconds: int = DAY,
    at: datetime | None = None,
) -> UUID:
    """A request for access of Quality, through `request_access`."""
    return await request_access(
        house.session,
        house.actor(by),
        resources=resources,
        beneficiary=Beneficiary(team=None if email else team, email=email),
        purpose=purpose,
        justification="We compare gauges.",
        duration_seconds=seconds,
        at=at or house.at,
        new_id=new_id,
    )


async def approved(
    house: House, request_id: UUID, *, by: str = "mia", narrow: Narrowing | None = None, at: datetime | None = None
) -> UUID:
    """The grant of a request that the steward approves."""
    decided = await decide_access(
        house.session,
        house.actor(by),
        access_request_id=request_id,
        decision=DecisionKind.APPROVE,
        reason=None,
        narrow=narrow,
        at=at or house.at,
        new_id=new_id,
    )
    assert decided.access_grant_id is not None
    return decided.access_grant_id


async def granted(house: House, resources: Sequence[ResourceRef], **given: Any) -> UUID:
    """A grant to Quality for a day, asked for by Quinn and approved by Mia."""
    return await approved(house, await asked(house, resources, **given))


class Estate:
    """A committed house with an artifact store, for tests in which transactions, bytes and rivals are real."""

    def __init__(self, database: Database, store: ArtifactStore, clock: SimulatedClock, house: House) -> None:
        self.database = database
        self.store = store
        self.growths = Growths(store)
        self.clock = clock
        self.house = house

    @classmethod
    async def build(cls, database: Database, store: ArtifactStore, clock: SimulatedClock) -> "Estate":
        async with database.transaction() as session:
            house = await House(session, clock.now()).build()
            await list_purposes(session, clock.now())
        return cls(database, store, clock, house)

    def actor(self, name: str) -> Actor:
        return self.house.actor(name)

    async def dataset(self, name: str = "gauge-digits", **given: Any) -> UUID:
        async with self.database.transaction() as session:
            self.house.session = session
            return await registered(self.house, name, **given)

    async def announce(self, dataset_id: UUID, files: Sequence[FileSpec], **given: Any) -> UUID:
        """A version whose files are not there yet."""
        async with self.database.transaction() as session:
            return await create_dataset_version(
                session,
                self.actor("anna"),
                dataset_id=dataset_id,
                files=files,
                at=self.clock.now(),
                new_id=new_id,
                **given,
            )

    async def artifact(self, owner_id: UUID, path: str) -> Artifact:
        async with self.database.read() as session:
            statement = select(Artifact).where(Artifact.owner_id == owner_id, Artifact.path == path)
            return (await session.scalars(statement)).one()

    async def send(
        self, owner_id: UUID, path: str, content: bytes, *, part: int = 1, chunks: AsyncIterator[bytes] | None = None
    ) -> ReceivedPart:
        """One part of one file."""
        artifact = await self.artifact(owner_id, path)
        async with self.database.read() as session:
            file = await find_upload(session, artifact.id)
        return await receive_part(
            self.database,
            self.store,
            self.growths,
            file=file,
            number=part,
            chunks=chunked(content) if chunks is None else chunks,
            part_bytes_max=PART_BYTES,
            clock=self.clock,
            new_id=new_id,
        )

    async def complete(
        self, owner_id: UUID, *, by: str = "anna", kind: OwnerKind = OwnerKind.DATASET_VERSION
    ) -> Completion:
        """Both steps, as the mutation does them."""
        owner = OwnerRef(kind, owner_id)
        verification = await verify_uploads(
            self.database, self.store, self.actor(by), owner=owner, owners=UPLOAD_OWNERS
        )
        async with self.database.transaction() as session:
            return await complete_uploads(
                session,
                self.actor(by),
                verification=verification,
                owners=UPLOAD_OWNERS,
                at=self.clock.now(),
                new_id=new_id,
            )

    async def stored(self, dataset_id: UUID, files: Mapping[str, bytes], **given: Any) -> UUID:
        """A READY version with these files."""
        version_id = await self.announce(
            dataset_id, [spec(path, content, rows=3) for path, content in files.items()], **given
        )
        for path, content in files.items():
            for number, start in enumerate(range(0, max(len(content), 1), PART_BYTES), start=1):
                await self.send(version_id, path, content[start : start + PART_BYTES], part=number)
        assert (await self.complete(version_id)).missing == ()
        return version_id

    async def rows(self, table: type[Any]) -> list[Any]:
        """All rows of a table, as committed."""
        async with self.database.read() as session:
            return list((await session.scalars(select(table))).all())

    async def keys(self, prefix: str = "") -> list[str]:
        """Everything in the artifact store below a prefix."""
        found: list[str] = []
        async for page in self.store.keys_before(prefix or "/", datetime.max.replace(tzinfo=self.clock.now().tzinfo)):
            found += page
        return sorted(found)


RETENTION = date(2026, 3, 10)
"""Eight days after the Monday on which tests begin."""
