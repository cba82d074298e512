"""An organisation for the registry's tests: two teams with people in several roles, and short ways to make things.

Maintenance: Anna (maintainer), Carl (contributor), Vera (viewer). Quality: Quinn (maintainer), Paul (contributor).
Mia is in the organisation and in no team; Omar belongs to nobody.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, update

from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import Actor, JobClaims
from guildhall.auth.bindings import Binding
from guildhall.auth.policy import PolicyRules, PolicySnapshot, RoleRules
from guildhall.auth.roles import ROLES
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import Team, User
from guildhall.clock import new_id
from guildhall.db.base import Base
from guildhall.db.transaction import ReadSession, WriteSession
from registry.artifacts.files import FileSpec
from registry.artifacts.tables import Package
from registry.cards.sections import KNOWN_SECTIONS
from registry.cards.writing import DataNeeds, Feature, Section, update_card
from registry.datasets.tables import Classification, Dataset, DatasetVersion, Visibility
from registry.lineage.edges import Edge, LineageSource
from registry.lineage.tables import EdgeKind, NodeKind
from registry.models.declaring import create_model_version
from registry.models.publication import publish_model_version
from registry.models.registering import register_model
from registry.models.tables import ModelVersion, RiskTier
from registry.models.uploading import finish_version

PEOPLE = {
    "anna": ("maintenance", "maintainer"),
    "carl": ("maintenance", "contributor"),
    "vera": ("maintenance", "viewer"),
    "quinn": ("quality", "maintainer"),
    "paul": ("quality", "contributor"),
    "mia": (None, None),
}
FILE = FileSpec(path="model.bin", size_bytes=3, sha256=sha256(b"abc").hexdigest())


class House:
    """The organisation of one test, in its session."""

    def __init__(self, session: WriteSession, at: datetime) -> None:
        self.session = session
        self.at = at
        self.teams = {"maintenance": new_id(), "quality": new_id()}
        self.people = {name: new_id() for name in PEOPLE}
        bindings = {
            Subject(ActorKind.USER, self.people[name]): ()
            if team is None or role is None
            else (Binding(role, self.teams[team]),)
            for name, (team, role) in PEOPLE.items()
        }
        roles = {name: RoleRules(frozenset(permissions), frozenset()) for name, permissions in ROLES.items()}
        teams = {key: name for name, key in self.teams.items()}
        self.policy = PolicySnapshot(PolicyRules(version=1, roles=roles, bindings=bindings, teams=teams))

    async def build(self) -> "House":
        """Write teams and people."""
        await self._insert(Team, [{"id": key, "name": name, "title": name.title()} for name, key in self.teams.items()])
        people = [
            {"id": key, "name": name.title(), "email": f"{name}@example.org"} for name, key in self.people.items()
        ]
        await self._insert(User, people)
        return self

    def actor(self, name: str) -> Actor:
        """One of the people, or Omar, whom the policy does not know."""
        return Actor(
            kind=ActorKind.USER,
            id=self.people.get(name) or new_id(),
            name=name.title(),
            policy=self.policy,
        )

    def as_role(self, name: str, role: str, *, team: str) -> Actor:
        """One of the people with this role alone, in one team."""
        subject = Subject(ActorKind.USER, self.people[name])
        rules = self.policy.rules
        bindings = {**rules.bindings, subject: (Binding(role, self.teams[team]),)}
        policy = PolicySnapshot(PolicyRules(version=2, roles=rules.roles, bindings=bindings, teams=rules.teams))
        return replace(self.actor(name), policy=policy)

    def job(self, team: str, submitted_by: str, *, job_id: UUID | None = None) -> Actor:
        """An attempt of a job of the team; with the same `job_id` another attempt of the same job."""
        claims = JobClaims(
            job_id=job_id or new_id(),
            attempt_id=new_id(),
            team_id=self.teams[team],
            submitted_by=self.people[submitted_by],
        )
        return Actor(
            kind=ActorKind.JOB,
            id=claims.job_id,
            name="job",
            policy=self.policy,
            on_behalf_of=claims.submitted_by,
            team_id=claims.team_id,
            job=claims,
        )

    async def model(self, name: str = "gauge-reader", *, by: str = "anna", **given: Any) -> UUID:
        """A model of Maintenance, unless told otherwise."""
        values = {
            "team": "maintenance",
            "task": "image-classification",
            "description": "Reads the dials of gauges.",
            "risk_tier": RiskTier.LOW,
            **given,
        }
        return await register_model(self.session, self.actor(by), name=name, at=self.at, new_id=new_id, **values)

    async def version(
        self, model_id: UUID, *, by: str = "anna", ready: bool = True, sources: Sequence[Edge] = (), **given: Any
    ) -> UUID:
        """A declared version, its files complete unless told otherwise."""
        actor = self.actor(by)
        version_id = await create_model_version(
            self.session, actor, model_id=model_id, files=[FILE], sources=sources, at=self.at, new_id=new_id, **given
        )
        if ready:
            await finish_version(self.session, actor, version_id, at=self.at, new_id=new_id)
        return version_id

    async def complete_card(self, version_id: UUID, *, by: str = "anna") -> None:
        """Everything that any risk tier asks for."""
        await update_card(
            self.session,
            self.actor(by),
            model_version_id=version_id,
            sections=[Section(name, f"About {name.lower()}.") for name in KNOWN_SECTIONS],
            data_needs=DataNeeds(features=[Feature(name="image", type="uint8[8,8]")], rows_min=100),
            at=self.at,
            new_id=new_id,
        )

    async def published(self, model_id: UUID, *, by: str = "anna") -> UUID:
        """A published version."""
        version_id = await self.version(model_id, by=by)
        await self.complete_card(version_id, by=by)
        result = await publish_model_version(
            self.session, self.actor(by), model_version_id=version_id, at=self.at, new_id=new_id
        )
        assert result.problems == ()
        return version_id

    async def dataset(
        self,
        name: str = "gauge-digits",
        *,
        team: str = "maintenance",
        classification: Classification = Classification.CONFIDENTIAL,
        purposes: Sequence[str] = ("quality", "research"),
        regions: Sequence[str] = ("eu", "us"),
        retention_ends_on: date | None = None,
        visibility: Visibility = Visibility.ORGANISATION,
    ) -> UUID:
        """A data set with its legal record, written as it is stored."""
        key = new_id()
        row = {
            "id": key,
            "team_id": self.teams[team],
            "name": name,
            "description": "Dials, photographed.",
            "visibility": visibility,
            "classification": classification,
            "licence": "CC-BY-4.0",
            "legal_basis": "contract",
            "permitted_purposes": list(purposes),
            "regions": list(regions),
            "retention_ends_on": retention_ends_on,
            "created_by": self.people["anna"],
        }
        await self._insert(Dataset, [row])
        return key

    async def dataset_version(self, dataset_id: UUID, *, number: int = 1, ready: bool = True) -> UUID:
        """A version of 1,797 rows."""
        key = new_id()
        row = {
            "id": key,
            "dataset_id": dataset_id,
            "number": number,
            "state": "READY" if ready else "DRAFT",
            "columns": [],
            "rows": 1797,
            "created_by": self.people["anna"],
            "ready_at": self.at if ready else None,
        }
        await self._insert(DatasetVersion, [row])
        return key

    async def package(self, *, team: str = "maintenance") -> UUID:
        """A package whose archive is there."""
        key = new_id()
        row = {
            "id": key,
            "team_id": self.teams[team],
            "sha256": FILE.sha256,
            "size_bytes": 3,
            "state": "READY",
            "created_by": self.people["anna"],
            "ready_at": self.at,
        }
        await self._insert(Package, [row])
        return key

    async def change(self, table: type[Base], key: UUID, **values: Any) -> None:
        """Change one row behind everybody's back."""
        statement = update(table).where(table.__table__.c.id == key).values(**values)
        await self.session.execute(statement.execution_options(synchronize_session=False))

    async def facts(self, version_id: UUID) -> ModelVersion:
        """The version's row as the database has it now."""
        return await fresh_version(self.session, version_id)

    async def events(self, action: str) -> list[AuditEvent]:
        """What the audit record holds of an action, oldest first."""
        statement = select(AuditEvent).where(AuditEvent.action == action).order_by(AuditEvent.id)
        return list(await self.session.scalars(statement))

    async def count(self, table: type[Base]) -> int:
        """How many rows a table has."""
        return len((await self.session.execute(select(table.__table__.c.id))).all())

    def later(self, **span: int) -> datetime:
        """The moment of the house, later."""
        return self.at + timedelta(**span)

    async def _insert(self, table: type[Base], rows: list[dict[str, Any]]) -> None:
        await self.session.execute(insert(table), [{**row, "created_at": self.at} for row in rows])


async def fresh_version(session: ReadSession, version_id: UUID) -> ModelVersion:
    """One version, never from the session's memory."""
    statement = select(ModelVersion).where(ModelVersion.id == version_id)
    return (await session.scalars(statement.execution_options(populate_existing=True))).one()


def trained_on(dataset_version_id: UUID) -> Edge:
    """A source: this version of a data set."""
    return Edge(EdgeKind.TRAINED_ON, LineageSource(NodeKind.DATASET_VERSION, dataset_version_id))


def fine_tuned_from(model_version_id: UUID) -> Edge:
    """A source: this version of a model."""
    return Edge(EdgeKind.FINE_TUNED_FROM, LineageSource(NodeKind.MODEL_VERSION, model_version_id))
