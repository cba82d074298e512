"""An organisation for the marketplace's tests, inside a session that is rolled back.

Maintenance: Anna (maintainer), Vera (viewer). Quality: Quinn (maintainer). Organisation-wide: Alma (allocator), Audrey
(auditor), Adam (administrator). Mia is in no team.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select

from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import Actor
from guildhall.auth.bindings import Binding
from guildhall.auth.policy import PolicyRules, PolicySnapshot, RoleRules
from guildhall.auth.roles import ROLES
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import Team
from guildhall.clock import new_id
from guildhall.db.transaction import WriteSession
from marketplace import ledger
from marketplace.tables import Programme
from tests.marketplace.bank import CREDIT, DAY, START, settle_hold

PEOPLE: dict[str, tuple[str | None, str] | None] = {
    "anna": ("maintenance", "maintainer"),
    "vera": ("maintenance", "viewer"),
    "quinn": ("quality", "maintainer"),
    "alma": (None, "allocator"),
    "audrey": (None, "auditor"),
    "adam": (None, "administrator"),
    "mia": None,
}


class Market:
    """The organisation of one test, in its session."""

    def __init__(self, session: WriteSession, at: datetime) -> None:
        self.session = session
        self.at = at
        self.teams = {"maintenance": new_id(), "quality": new_id()}
        self.programme = new_id()
        self.people = {name: new_id() for name in PEOPLE}
        self.policy = PolicySnapshot(
            PolicyRules(
                version=1,
                roles={name: RoleRules(frozenset(permissions), frozenset()) for name, permissions in ROLES.items()},
                bindings={Subject(ActorKind.USER, self.people[name]): self._bindings(name) for name in PEOPLE},
                teams={key: name for name, key in self.teams.items()},
            )
        )

    def _bindings(self, name: str) -> tuple[Binding, ...]:
        bound = PEOPLE[name]
        if bound is None:
            return ()
        team, role = bound
        return (Binding(role, None if team is None else self.teams[team]),)

    async def build(self) -> "Market":
        await self.session.execute(
            insert(Team),
            [{"id": key, "name": name, "title": name.title(), "created_at": START} for name, key in self.teams.items()],
        )
        await self.session.execute(
            insert(Programme).values(
                id=self.programme, name="zero-defects", title="Zero defects", strategic_class="A", created_at=START
            )
        )
        return self

    def actor(self, name: str) -> Actor:
        return Actor(kind=ActorKind.USER, id=self.people[name], name=name.title(), policy=self.policy)

    @property
    def now(self) -> dict[str, Any]:
        return {"at": self.at, "new_id": new_id}

    async def give(self, team: str, credits: int = 10 * CREDIT, *, days: int = 10) -> UUID:
        allocation_id = new_id()
        return await ledger.allocate(
            self.session,
            allocation_id=allocation_id,
            team_id=self.teams[team],
            programme_id=self.programme,
            credits=credits,
            valid_from=START,
            valid_to=START + days * DAY,
            reason="a test",
            at=START,
            key=f"give {allocation_id}",
        )

    async def hold(self, team: str, credits: int, *, job_id: UUID | None = None) -> UUID:
        hold_id = new_id()
        await ledger.place_hold(
            self.session,
            hold_id=hold_id,
            team_id=self.teams[team],
            programme_id=self.programme,
            credits=credits,
            job_id=job_id,
            at=START,
            expires_at=START + DAY,
            key=f"hold {hold_id}",
        )
        return hold_id

    async def charge(self, team: str, credits: int) -> UUID:
        """A job that was charged; its id."""
        job_id = new_id()
        hold_id = await self.hold(team, credits, job_id=job_id)
        await settle_hold(self.session, hold_id=hold_id, captured=credits, at=START + DAY, key=f"settle {hold_id}")
        return job_id

    async def audited(self) -> list[AuditEvent]:
        return list(await self.session.scalars(select(AuditEvent).order_by(AuditEvent.id)))
