"""Nobody gives more than they hold, nor anything to themself, whatever the way: the same rule answers everywhere."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.actor import Actor, TokenUse
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.narrowing import narrowed
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import GroupMapping, Role, RoleBinding, RolePermission, Team, Token, UserIdentity
from guildhall.clock import SimulatedClock, new_id
from guildhall.organisation.bindings import give_role, set_roles, take_role_away
from guildhall.organisation.giving import MoreThanHeld
from guildhall.organisation.groups import remove_group_mapping, set_group_mapping
from guildhall.organisation.roles import Effect, set_line
from guildhall.organisation.teams import move_team
from guildhall.organisation.tokens import issue_token, rotate_token
from tests.people import actor_of, bind, make_service_account, make_team, make_user

BIND = "guildhall:role:bind"
PUBLISH, READ = "registry:model:publish", "registry:model:read"


class Guild:
    """The team `over` with `below` under it, another one, and the role `lead`, which may bind roles and make tokens."""

    def __init__(self, session: AsyncSession, clock: SimulatedClock, over: UUID, below: UUID, other: UUID) -> None:
        self.session, self.clock = session, clock
        self.over, self.below, self.other = over, below, other
        self.when: dict[str, Any] = {"at": clock.now(), "new_id": new_id}

    async def role(self, name: str, allow: Sequence[str] = (), deny: Sequence[str] = ()) -> None:
        self.session.add(Role(name=name, sentence="For a test.", custom=True))
        await self.session.flush()
        lines = [{"role": name, "permission": each, "effect": "allow"} for each in allow]
        lines += [{"role": name, "permission": each, "effect": "deny"} for each in deny]
        if lines:
            await self.session.execute(insert(RolePermission), lines)

    async def person(self, name: str, roles: dict[str, Sequence[UUID | None]]) -> Actor:
        return await actor_of(self.session, await make_user(self.session, name, roles=roles))

    async def held(self, subject: UUID) -> set[tuple[str, UUID | None]]:
        rows = await self.session.execute(
            select(RoleBinding.role, RoleBinding.team_id).where(RoleBinding.subject_id == subject)
        )
        return {(row.role, row.team_id) for row in rows}

    async def lines(self, role: str) -> dict[str, str]:
        rows = await self.session.execute(
            select(RolePermission.permission, RolePermission.effect).where(RolePermission.role == role)
        )
        return {row.permission: row.effect for row in rows}

    async def give(self, actor: Actor, subject: Subject, role: str, team: UUID | None) -> None:
        await give_role(
            self.session, actor, subject, role=role, team_id=team, starts_at=None, ends_at=None, **self.when
        )


@pytest.fixture
async def guild(session: AsyncSession, clock: SimulatedClock) -> Guild:
    over, below, other = [await make_team(session, name) for name in ("over", "below", "other")]
    (await session.get_one(Team, below)).parent_id = over
    await session.flush()
    await make_user(session, "top", roles={"administrator": [None]})
    guild = Guild(session, clock, over, below, other)
    await guild.role("lead", allow=[BIND, "guildhall:token:issue"])
    return guild


async def nora(guild: Guild) -> Subject:
    return Subject(ActorKind.USER, await make_user(guild.session, "nora"))


class TestByHand:
    async def test_what_one_holds_oneself(self, guild: Guild) -> None:
        lea = await guild.person("lea", {"lead": [guild.over], "contributor": [guild.over]})
        friend = await nora(guild)
        await guild.give(lea, friend, "contributor", guild.over)
        await guild.give(lea, friend, "viewer", guild.below)
        assert await guild.held(friend.id) == {("contributor", guild.over), ("viewer", guild.below)}

    @pytest.mark.parametrize("role", ["maintainer", "administrator", "steward"])
    async def test_no_more(self, guild: Guild, role: str) -> None:
        lea = await guild.person("lea", {"lead": [guild.over], "contributor": [guild.over]})
        friend = await nora(guild)
        with pytest.raises(MoreThanHeld, match="You would give more there than you may yourself: ") as refusal:
            await guild.give(lea, friend, role, guild.over)
        missing = (refusal.value.details or {})["missing"]
        assert isinstance(missing, list)
        assert refusal.value.permission.name == BIND
        with pytest.raises(MoreThanHeld):
            await set_roles(guild.session, lea, friend, team_id=guild.over, roles=[role], **guild.when)
        assert await guild.held(friend.id) == set()

    async def test_the_refusal_names_a_few_and_counts_the_others(self, guild: Guild) -> None:
        lea = await guild.person("lea", {"lead": [guild.over]})
        with pytest.raises(MoreThanHeld, match=r"yourself: guildhall:\S+, .* and \d+ more\. Give a role"):
            await guild.give(lea, await nora(guild), "administrator", guild.over)

    async def test_not_where_a_team_below_denies_it(self, guild: Guild) -> None:
        await guild.role("muzzle", deny=[READ])
        lea = await guild.person("lea", {"lead": [guild.over], "viewer": [guild.over], "muzzle": [guild.below]})
        with pytest.raises(MoreThanHeld, match=READ):
            await guild.give(lea, await nora(guild), "viewer", guild.over)

    async def test_organisation_wide_only_what_one_holds_so(self, guild: Guild) -> None:
        lea = await guild.person("lea", {"lead": [None], "viewer": [guild.over]})
        friend = await nora(guild)
        with pytest.raises(MoreThanHeld, match=READ):
            await guild.give(lea, friend, "viewer", None)
        lou = await guild.person("lou", {"lead": [None], "viewer": [None]})
        await guild.give(lou, friend, "viewer", None)
        assert await guild.held(friend.id) == {("viewer", None)}

    async def test_nothing_to_oneself(self, guild: Guild) -> None:
        """Not even what one holds for a time, nor a team's administrator what they lack."""
        lea = await guild.person("lea", {"lead": [guild.over], "viewer": [guild.over]})
        chief = await guild.person("chief", {"administrator": [guild.over]})
        for actor, role in ((lea, "viewer"), (chief, "maintainer")):
            before = await guild.held(actor.id)
            with pytest.raises(MoreThanHeld, match="Nobody gives themself a role"):
                await guild.give(actor, actor.subject, role, guild.over)
            with pytest.raises(MoreThanHeld, match="Nobody gives themself a role"):
                await set_roles(guild.session, actor, actor.subject, team_id=guild.below, roles=[role], **guild.when)
            assert await guild.held(actor.id) == before

    async def test_who_may_escalate_gives_more_to_others(self, guild: Guild) -> None:
        chief = await guild.person("chief", {"administrator": [guild.over]})
        friend = await nora(guild)
        await guild.give(chief, friend, "maintainer", guild.below)
        assert await guild.held(friend.id) == {("maintainer", guild.below)}
        with pytest.raises(PermissionRefused):
            await guild.give(chief, friend, "viewer", guild.other)

    async def test_who_governs_the_whole_house_may_also_for_themself(self, guild: Guild) -> None:
        """The first administrator of a laptop is everything."""
        root = await guild.person("root", {"administrator": [None]})
        await guild.give(root, root.subject, "maintainer", guild.over)
        assert await guild.held(root.id) == {("administrator", None), ("maintainer", guild.over)}

    async def test_taking_a_denial_away_gives(self, guild: Guild) -> None:
        await guild.role("muzzle", deny=[PUBLISH])
        lea = await guild.person("lea", {"lead": [guild.over], "contributor": [guild.over], "muzzle": [guild.over]})
        friend = await nora(guild)
        await bind(guild.session, ActorKind.USER, friend.id, {"muzzle": [guild.over]})
        for holder in (friend.id, lea.id):
            key = (await guild.session.scalars(
                select(RoleBinding.id).where(RoleBinding.subject_id == holder, RoleBinding.role == "muzzle")
            )).one()  # fmt: skip
            with pytest.raises(MoreThanHeld):
                await take_role_away(guild.session, lea, binding_id=key, **guild.when)
        with pytest.raises(MoreThanHeld, match=PUBLISH):
            await set_roles(guild.session, lea, friend, team_id=guild.over, roles=[], **guild.when)
        assert await guild.held(friend.id) == {("muzzle", guild.over)}

    async def test_a_limited_token_gives_what_it_shows(self, guild: Guild) -> None:
        lea = await guild.person("lea", {"lead": [guild.over], "contributor": [guild.over]})
        token = TokenUse(id=new_id(), last_used_at=None, roles=("lead",))
        limited = replace(lea, token=token, policy=narrowed(lea.policy, lea.subject, ["lead"]))
        with pytest.raises(MoreThanHeld):
            await guild.give(limited, await nora(guild), "contributor", guild.over)


class TestByLine:
    async def test_a_line_takes_what_it_gives(self, guild: Guild) -> None:
        await guild.role("writer", allow=["guildhall:role:change"])
        wim = await guild.person("wim", {"writer": [None], "lead": [None], "viewer": [None]})
        line: dict[str, Any] = {"effect": Effect.ALLOW, **guild.when}
        await set_line(guild.session, wim, role="on-call", permission=READ, **line)
        with pytest.raises(MoreThanHeld, match="guildhall:role:escalate"):
            await set_line(guild.session, wim, role="on-call", permission="guildhall:role:escalate", **line)
        for own in ("viewer", "member"):
            with pytest.raises(MoreThanHeld, match="Nobody gives themself"):
                await set_line(guild.session, wim, role=own, permission="registry:model:alias", **line)

    async def test_nothing_by_a_role_that_the_token_does_not_show(self, guild: Guild) -> None:
        await guild.role("writer", allow=["guildhall:role:change", BIND, READ])
        await guild.role("night-shift")
        wim = await guild.person("wim", {"writer": [None], "night-shift": [guild.over]})
        token = TokenUse(id=new_id(), last_used_at=None, roles=("writer",))
        limited = replace(wim, token=token, policy=narrowed(wim.policy, wim.subject, ["writer"]))
        for actor in (wim, limited):
            with pytest.raises(MoreThanHeld, match="Nobody gives themself"):
                await set_line(
                    guild.session, actor, role="night-shift", permission=READ, effect=Effect.ALLOW, **guild.when
                )
        assert await guild.lines("night-shift") == {}

    @pytest.mark.parametrize(
        ("days", "lines"),
        [((1, 2), {}), ((-1, 1), {}), ((-2, 0), {READ: "allow"})],
        ids=["not begun", "under way", "ended"],
    )
    async def test_nothing_by_a_role_for_a_time_that_is_not_over(
        self, guild: Guild, days: tuple[int, int], lines: dict[str, str]
    ) -> None:
        await guild.role("writer", allow=["guildhall:role:change", BIND, READ])
        await guild.role("night-shift")
        wim = await guild.person("wim", {"writer": [None], "night-shift": [guild.over]})
        starts, ends = (guild.clock.now() + timedelta(days=each) for each in days)
        shift = (RoleBinding.subject_id == wim.id) & (RoleBinding.role == "night-shift")
        await guild.session.execute(update(RoleBinding).where(shift).values(starts_at=starts, ends_at=ends))
        wim = await actor_of(guild.session, wim.id)
        line: dict[str, Any] = {"role": "night-shift", "permission": READ, "effect": Effect.ALLOW, **guild.when}
        with nullcontext() if lines else pytest.raises(MoreThanHeld, match="Nobody gives themself"):
            await set_line(guild.session, wim, **line)
        assert await guild.lines("night-shift") == lines

    async def test_and_so_does_taking_a_denying_one_away(self, guild: Guild) -> None:
        await guild.role("writer", allow=["guildhall:role:change"])
        await guild.role("muzzle", deny=[PUBLISH])
        wim = await guild.person("wim", {"writer": [None], "lead": [None]})
        with pytest.raises(MoreThanHeld, match=PUBLISH):
            await set_line(guild.session, wim, role="muzzle", permission=PUBLISH, effect=None, **guild.when)
        await set_line(guild.session, wim, role="viewer", permission=READ, effect=Effect.DENY, **guild.when)


class TestByGroup:
    async def mapping(self, guild: Guild, actor: Actor, role: str, group: str = "gilders") -> UUID:
        return await set_group_mapping(guild.session, actor, group=group, team="over", role=role, **guild.when)

    async def test_a_group_is_mapped_to_no_more_than_one_holds(self, guild: Guild) -> None:
        await guild.role("mapper", allow=["guildhall:group:map", "guildhall:group:read"])
        mia = await guild.person("mia", {"mapper": [None], "lead": [guild.over], "viewer": [guild.over]})
        await self.mapping(guild, mia, "viewer")
        with pytest.raises(MoreThanHeld):
            await self.mapping(guild, mia, "maintainer")
        guild.session.add(
            UserIdentity(
                id=new_id(), user_id=mia.id, issuer="https://issuer.test", subject="mia", groups=["ours"],
                groups_as_of=guild.clock.now(), created_at=guild.clock.now(),
            )
        )  # fmt: skip
        await guild.session.flush()
        with pytest.raises(MoreThanHeld, match="Nobody gives themself"):
            await self.mapping(guild, mia, "viewer", group="ours")

    async def test_nor_freed_of_what_denies(self, guild: Guild) -> None:
        await guild.role("mapper", allow=["guildhall:group:map", "guildhall:group:read"])
        await guild.role("muzzle", deny=[PUBLISH])
        mia = await guild.person("mia", {"mapper": [None], "lead": [guild.over]})
        key = await self.mapping(guild, mia, "muzzle")
        with pytest.raises(MoreThanHeld, match=PUBLISH):
            await remove_group_mapping(guild.session, mia, key, **guild.when)
        assert (await guild.session.scalars(select(GroupMapping.role))).all() == ["muzzle"]


class TestByMoving:
    async def test_a_team_is_moved_below_no_more_than_one_holds(self, guild: Guild) -> None:
        await guild.role("mover", allow=["guildhall:team:change"])
        await guild.role("muzzle", deny=[PUBLISH])
        await make_user(guild.session, "high", roles={"maintainer": [guild.over]})
        mo = await guild.person("mo", {"mover": [None], "lead": [None], "viewer": [None]})
        moving: dict[str, Any] = {"team_id": guild.other, "parent_id": guild.over, **guild.when}
        with pytest.raises(MoreThanHeld, match=r"and \d+ more"):
            await move_team(guild.session, mo, **moving)
        await guild.session.execute(text("DELETE FROM role_bindings WHERE role = 'maintainer'"))
        await bind(guild.session, ActorKind.USER, mo.id, {"viewer": [guild.over]})
        with pytest.raises(MoreThanHeld, match="Nobody gives themself"):
            await move_team(guild.session, mo, **moving)
        await guild.session.execute(text("DELETE FROM role_bindings WHERE role = 'viewer' AND team_id IS NOT NULL"))
        await move_team(guild.session, mo, **moving)
        assert (await guild.session.get_one(Team, guild.other)).parent_id == guild.over
        await bind(guild.session, ActorKind.USER, mo.id, {"muzzle": [guild.over]})
        with pytest.raises(MoreThanHeld, match="Nobody gives themself"):
            await move_team(guild.session, mo, team_id=guild.other, parent_id=None, **guild.when)


class TestByToken:
    async def issue(self, guild: Guild, actor: Actor, account: UUID, roles: Sequence[str] | None = None) -> UUID:
        issued = await issue_token(
            guild.session, actor, subject_kind=ActorKind.SERVICE_ACCOUNT, subject_id=account, label="nightly",
            expires_at=guild.clock.now().replace(year=2027), roles=roles, **guild.when,
        )  # fmt: skip
        return issued.id

    async def test_a_program_s_token_allows_no_more_than_its_maker_may(self, guild: Guild) -> None:
        robot = await make_service_account(guild.session, "robot", guild.over, roles=["viewer", "maintainer"])
        await bind(guild.session, ActorKind.SERVICE_ACCOUNT, robot, {"allocator": [None]})
        lea = await guild.person("lea", {"lead": [guild.over], "contributor": [guild.over]})
        for roles in (None, ["maintainer"], ["allocator", "viewer"]):
            with pytest.raises(MoreThanHeld, match="Limit it to roles that you hold") as refusal:
                await self.issue(guild, lea, robot, roles)
            assert refusal.value.permission.name == "guildhall:token:issue"
        assert (await guild.session.scalars(select(Token))).all() == []
        await self.issue(guild, lea, robot, ["viewer"])

    async def test_nor_in_another_one_s_place(self, guild: Guild) -> None:
        robot = await make_service_account(guild.session, "robot", guild.over, roles=["maintainer"])
        root = await guild.person("root", {"administrator": [None]})
        key = await self.issue(guild, root, robot)
        lea = await guild.person("lea", {"lead": [guild.over]})
        with pytest.raises(MoreThanHeld):
            await rotate_token(
                guild.session, lea, key, expires_at=guild.clock.now().replace(year=2027),
                overlap=guild.clock.now() - guild.clock.now(), **guild.when,
            )  # fmt: skip
        assert len((await guild.session.scalars(select(Token))).all()) == 1

    async def test_a_person_s_token_stands_for_the_whole_person(self, guild: Guild) -> None:
        lea = await guild.person("lea", {"lead": [None], "viewer": [None]})
        with pytest.raises(MoreThanHeld, match="guildhall:role:escalate"):
            await issue_token(
                guild.session, lea, subject_kind=ActorKind.USER, subject_id=(await nora(guild)).id, label="theirs",
                expires_at=guild.clock.now().replace(year=2027), **guild.when,
            )  # fmt: skip
        assert (await guild.session.scalars(select(Token))).all() == []
