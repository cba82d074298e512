"""Who may what: teams in a tree, roles of one's own and for a time, emergencies, groups, tokens, sessions, acts."""

from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

from sqlalchemy import select, update

from guildhall.audit.personal import erase_person
from guildhall.audit.record import record
from guildhall.audit.tables import Outcome
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import (
    EmergencyRole,
    GroupMapping,
    Role,
    RoleBinding,
    RolePermission,
    Session,
    Team,
    Token,
    User,
    UserIdentity,
)
from guildhall.clock import new_id
from guildhall.errors import NotFound
from registry.datasets.tables import Dataset
from tests.guildhall.graphql.oracle.strewing import Strewing
from tests.people import LONG_AGO, actor_of

People = Mapping[str, tuple[ActorKind, UUID]]
ISSUER = "https://issuer.example"
GROUPS = ("welders", "“quoted” group", "nobody")
OWN_ROLE = "scattered-role"


class Rights(Strewing):
    """Rows about the people who look, by name."""

    async def strew(self, viewers: People) -> None:
        """All of it; the caller commits."""
        await self._meet()
        await self._tree()
        await self._roles()
        await self._emergencies()
        await self._groups()
        for number, (kind, key) in enumerate(viewers.values()):
            await self._tokens(number, kind, key)
            if kind is ActorKind.USER:
                await self._session_of(number, key)
        await self._acts()

    async def _tree(self) -> None:
        """Three teams, each below the one before."""
        for below, above in (("scattered-1", "scattered-0"), ("scattered-2", "scattered-1")):
            parent = select(Team.id).where(Team.name == above).scalar_subquery()
            await self._session.execute(update(Team).where(Team.name == below).values(parent_id=parent))

    async def _roles(self) -> None:
        await self._add(Role(name=OWN_ROLE, sentence=self._text(), custom=True))
        lines = {"registry:model:discover": "allow", "scheduler:job:read": "allow", "registry:dataset:discover": "deny"}
        await self._add(
            *(RolePermission(role=OWN_ROLE, permission=name, effect=effect) for name, effect in lines.items())
        )
        hour = timedelta(hours=1)
        for source, starts_at, ends_at in (
            ("HAND", None, self._at + hour),
            ("GROUP", self._at - 2 * hour, self._at - hour),
            ("EMERGENCY", self._at + hour, None),
        ):
            binding = RoleBinding(
                id=new_id(),
                subject_kind=ActorKind.USER.value,
                subject_id=self._random.choice(self._people),
                team_id=self._random.choice(self._teams),
                role=OWN_ROLE,
                source=source,
                starts_at=starts_at,
                ends_at=ends_at,
                created_at=LONG_AGO,
            )
            await self._add(binding)

    async def _emergencies(self) -> None:
        for number in range(5):
            person, reviewer = self._random.sample(self._people, 2)
            reviewed, begun = number % 2 == 0, self._moment()
            emergency = EmergencyRole(
                id=new_id(),
                user_id=person,
                role=self._random.choice((OWN_ROLE, "on-call")),
                team_id=self._random.choice((None, *self._teams)),
                reason=self._text(),
                starts_at=begun,
                ends_at=begun + timedelta(hours=1),
                reviewed_at=self._at if reviewed else None,
                reviewed_by=reviewer if reviewed else None,
                review=self._text() if reviewed else None,
            )
            await self._add(emergency)

    async def _groups(self) -> None:
        for number, group in enumerate(GROUPS):
            mapping = GroupMapping(
                id=new_id(),
                group_name=group,
                team_id=None if number == 0 else self._random.choice(self._teams),
                role="viewer",
                created_at=self._moment(),
            )
            await self._add(mapping)
        for number, person in enumerate(self._random.sample(self._people, 4)):
            identity = UserIdentity(
                id=new_id(),
                user_id=person,
                issuer=ISSUER,
                subject=f"subject-{number}",
                groups=list(GROUPS[: number % 3]),
                groups_as_of=self._at,
                created_at=self._moment(),
            )
            await self._add(identity)

    async def _tokens(self, number: int, kind: ActorKind, key: UUID) -> None:
        program = kind is not ActorKind.USER
        for other in range(1 + program):
            token = Token(
                id=new_id(),
                subject_kind=kind.value,
                subject_id=key,
                prefix=f"token-{number}-{other}",
                hash=sha256(f"{number} {other}".encode()).digest(),
                label=self._text(),
                claims={},
                roles=["contributor"] if program else None,
                networks=["10.0.0.0/8"] if program and other else None,
                created_at=LONG_AGO,
                expires_at=self._random.choice((None, self._at + timedelta(days=1))),
                revoked_at=self._random.choice((None, self._at)),
                last_used_at=self._random.choice((None, self._at)),
            )
            await self._add(token)

    async def _session_of(self, number: int, person: UUID) -> None:
        """A browser's; the token beside it is that of the cookie."""
        begun = self._at - timedelta(hours=self._random.randint(1, 9))
        token = Token(
            id=new_id(),
            subject_kind=ActorKind.USER.value,
            subject_id=person,
            prefix=f"cookie-{number}",
            hash=sha256(f"cookie {number}".encode()).digest(),
            label="",
            claims={},
            origin="BROWSER",
            created_at=begun,
            expires_at=self._at + timedelta(days=1),
            revoked_at=self._random.choice((None, self._at)),
            last_used_at=self._random.choice((None, self._at)),
        )
        session = Session(
            id=token.id,
            user_id=person,
            issuer=ISSUER,
            address=self._random.choice((None, "192.0.2.7")),
            client=self._random.choice((None, self._text())),
            created_at=begun,
            ends_at=self._at + timedelta(days=1),
            idle_seconds=3600,
            fresh_until=self._at,
        )
        await self._add(token)
        await self._add(session)

    async def _acts(self) -> None:
        """Reads without a grant, refused ones, by the owner of a row each; and one person's words are erased."""
        datasets = list(await self._session.scalars(select(Dataset.id).order_by(Dataset.id)))
        for number in range(6):
            actor = await actor_of(self._session, self._random.choice(self._people))
            refused = number % 3 == 0
            await record(
                self._session,
                actor,
                action="registry:dataset:read",
                resources=[ResourceRef("Dataset", self._random.choice(datasets))],
                outcome=Outcome.REFUSED if refused else Outcome.ALLOWED,
                reason=NotFound(self._text()) if refused else None,
                team_id=self._random.choice((None, *self._teams)),
                purpose=self._random.choice((None, "defect-detection")),
                justification=self._random.choice((None, self._text())),
                rows=None if refused else 2**40,
                bytes=None if refused else 2**33,
                at=self._at - timedelta(seconds=number),
                new_id=new_id,
            )
        alma = await self._session.scalar(select(User.id).where(User.email == "alma@example.org"))
        assert alma is not None, "the story has an allocator"
        assert await erase_person(self._session, alma, at=self._at) > 0
