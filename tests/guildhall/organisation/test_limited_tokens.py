"""Tokens of programs: limited to roles and networks, rotated so that two count at once, ended at once."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, update

from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import Actor, JobClaims, system_actor
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.networks import InvalidNetwork
from guildhall.auth.policies import Policies
from guildhall.auth.standing import Recognised, hold_standing
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import Token
from guildhall.auth.tokens import TokenExpired, TokenRefused, authenticate
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database
from guildhall.errors import GuildhallError, NotFound
from guildhall.organisation.tokens import (
    InvalidTokenRequest,
    IssuedToken,
    JobTokenRequest,
    PeopleSignIn,
    issue_job_tokens,
    issue_token,
    revoke_token,
    rotate_token,
)
from tests.people import REQUEST, actor_of, make_service_account, make_team, make_user

INSIDE, OUTSIDE = replace(REQUEST, address="10.1.2.3"), replace(REQUEST, address="192.0.2.1")
SYSTEM = system_actor("tests")
READ, SUBMIT = "registry:model:read", "registry:model:publish"


class Yard:
    """A team with a program that maintains in it."""

    def __init__(self, database: Database, clock: SimulatedClock, team: UUID, robot: UUID, root: UUID) -> None:
        self.database, self.clock, self.team, self.robot, self.root = database, clock, team, robot, root
        self.policies = Policies(database)

    async def issue(
        self,
        actor: Actor = SYSTEM,
        roles: Sequence[str] | None = None,
        networks: Sequence[str] | None = None,
        issuer: str | None = None,
        kind: ActorKind = ActorKind.SERVICE_ACCOUNT,
    ) -> IssuedToken:
        at = self.clock.now()
        async with self.database.transaction() as session:
            return await issue_token(
                session, actor, subject_kind=kind, subject_id=self.root if kind is ActorKind.USER else self.robot,
                label="nightly", expires_at=at + timedelta(days=1), at=at, new_id=new_id, roles=roles,
                networks=networks, issuer=issuer,
            )  # fmt: skip

    async def rotate(
        self, actor: Actor, key: UUID, *, overlap: timedelta = timedelta(hours=1), days: int = 30
    ) -> IssuedToken:
        at = self.clock.now()
        async with self.database.transaction() as session:
            return await rotate_token(
                session, actor, key, expires_at=at + timedelta(days=days), overlap=overlap, at=at, new_id=new_id,
                field="tokenId",
            )  # fmt: skip

    async def caller(self, issued: IssuedToken, inside: bool = True) -> Actor:
        request = INSIDE if inside else OUTSIDE
        return await authenticate(self.database, self.policies, issued.text, at=self.clock.now(), request=request)

    async def expiry(self, key: UUID) -> datetime | None:
        async with self.database.read() as session:
            return (await session.scalars(select(Token.expires_at).where(Token.id == key))).one()


@pytest.fixture
async def yard(fresh_database: Database, clock: SimulatedClock) -> Yard:
    async with fresh_database.transaction() as session:
        team = await make_team(session, "press")
        robot = await make_service_account(session, "robot", team, roles=["maintainer", "viewer"])
        root = await make_user(session, "root", roles={"administrator": [None]})
    return Yard(fresh_database, clock, team, robot, root)


async def root_of(yard: Yard) -> Actor:
    async with yard.database.transaction() as session:
        return await actor_of(session, yard.root)


class TestLimits:
    async def test_some_of_the_roles(self, yard: Yard) -> None:
        whole = await yard.caller(await yard.issue())
        assert (whole.may(READ, yard.team), whole.may(SUBMIT, yard.team)) == (True, True)
        small = await yard.caller(await yard.issue(roles=["viewer"]))
        assert (small.may(READ, yard.team), small.may(SUBMIT, yard.team)) == (True, False)
        assert small.token is not None
        assert small.token.roles == ("viewer",)

    async def test_some_networks(self, yard: Yard) -> None:
        issued = await yard.issue(networks=["10.0.0.0/8"])
        actor = await yard.caller(issued)
        assert actor.token is not None
        assert actor.token.networks == ("10.0.0.0/8",)
        with pytest.raises(TokenRefused, match="does not count from your network"):
            await yard.caller(issued, inside=False)

    async def test_who_is_recognised_is_still_asked_from_where(self, yard: Yard) -> None:
        issued, recognised = await yard.issue(networks=["10.0.0.0/8"]), Recognised()
        recognised.keep(issued.text, await yard.caller(issued), yard.clock.now())
        assert recognised.standing(issued.text, yard.clock.now(), INSIDE) is not None
        assert recognised.standing(issued.text, yard.clock.now(), OUTSIDE) is None

    @pytest.mark.parametrize(
        ("roles", "networks", "refusal"),
        [
            (["king"], None, InvalidTokenRequest),
            (["member"], None, InvalidTokenRequest),
            ([], None, InvalidTokenRequest),
            (None, ["here"], InvalidNetwork),
            (None, [], InvalidNetwork),
        ],
    )
    async def test_what_is_none_is_refused(
        self, yard: Yard, roles: list[str] | None, networks: list[str] | None, refusal: type[GuildhallError]
    ) -> None:
        with pytest.raises(refusal):
            await yard.issue(roles=roles, networks=networks)
        async with yard.database.read() as session:
            assert (await session.scalars(select(Token))).all() == []

    async def test_a_limited_token_makes_no_other(self, yard: Yard) -> None:
        actor = await yard.caller(await yard.issue(networks=["10.0.0.0/8"]))
        with pytest.raises(PermissionRefused, match="A limited token makes no others"):
            await yard.issue(actor)

    async def test_people_sign_in_at_the_issuer(self, yard: Yard) -> None:
        with pytest.raises(PeopleSignIn, match="People sign in at https"):
            await yard.issue(kind=ActorKind.USER, issuer="https://issuer.test")
        await yard.issue(issuer="https://issuer.test")


class TestRotate:
    async def test_both_count_until_the_overlap_is_over(self, yard: Yard) -> None:
        old = await yard.issue(roles=["viewer"], networks=["10.0.0.0/8"])
        new = await yard.rotate(await yard.caller(old), old.id)
        assert new.text != old.text
        caller = await yard.caller(new)
        assert caller.token is not None
        assert (caller.token.roles, caller.token.networks) == (("viewer",), ("10.0.0.0/8",))
        yard.clock.advance(seconds=3_599)
        await yard.caller(old)
        yard.clock.advance(seconds=1)
        with pytest.raises(TokenExpired):
            await yard.caller(old)
        await yard.caller(new)
        async with yard.database.read() as session:
            issued = select(AuditEvent).where(AuditEvent.action == "guildhall:token:issue").order_by(AuditEvent.id)
            event = (await session.scalars(issued)).all()[-1]
        assert event.before is not None
        assert event.before["token"] == str(old.id)

    async def test_without_an_overlap_the_old_one_is_withdrawn_with_all_that_is_read_by_it(self, yard: Yard) -> None:
        old = await yard.issue()
        caller = await yard.caller(old)
        other = await yard.issue()
        yard.clock.advance(seconds=1)

        async def stands() -> bool:
            async with yard.database.transaction() as session:
                return await hold_standing(session, caller, clock=yard.clock) is not None

        await yard.rotate(caller, other.id, overlap=timedelta(0))
        assert await stands()
        new = await yard.rotate(caller, old.id, overlap=timedelta(0))
        assert not await stands()
        assert await yard.expiry(old.id) == yard.clock.now()
        with pytest.raises(TokenRefused, match="withdrawn"):
            await yard.caller(old)
        await yard.caller(new)

    async def test_an_overlap_lengthens_nothing(self, yard: Yard) -> None:
        old = await yard.issue()
        await yard.rotate(await root_of(yard), old.id, overlap=timedelta(days=9))
        assert await yard.expiry(old.id) == yard.clock.now() + timedelta(days=1)

    async def test_one_without_an_end_gets_one(self, yard: Yard) -> None:
        old = await yard.issue()
        async with yard.database.transaction() as session:
            await session.execute(update(Token).values(expires_at=None))
        await yard.rotate(await yard.caller(old), old.id)
        assert await yard.expiry(old.id) == yard.clock.now() + timedelta(hours=1)

    async def test_nobody_elses(self, yard: Yard) -> None:
        old = await yard.issue()
        async with yard.database.transaction() as session:
            nora = await actor_of(session, await make_user(session, "nora"))
        for key in (old.id, new_id()):
            with pytest.raises(NotFound) as refusal:
                await yard.rotate(nora, key)
            assert refusal.value.field == "tokenId"
        assert await yard.expiry(old.id) == yard.clock.now() + timedelta(days=1)

    @pytest.mark.parametrize(("roles", "networks"), [(["viewer"], None), (None, ["10.0.0.0/8"])])
    async def test_a_limited_one_gets_nobody_one_without_limits(
        self, yard: Yard, roles: list[str] | None, networks: list[str] | None
    ) -> None:
        whole, other = await yard.issue(), await yard.issue(roles=roles, networks=networks)
        with pytest.raises(PermissionRefused, match="rotates itself alone"):
            await yard.rotate(await yard.caller(other), whole.id)
        assert await yard.expiry(whole.id) == yard.clock.now() + timedelta(days=1)
        async with yard.database.read() as session:
            assert len((await session.scalars(select(Token.id))).all()) == 2

    @pytest.mark.parametrize("how", ["withdrawn", "expired", "a long overlap", "a negative one", "too long"])
    async def test_what_cannot_be(self, yard: Yard, how: str) -> None:
        old, root = await yard.issue(), await root_of(yard)
        if how == "withdrawn":
            async with yard.database.transaction() as session:
                await revoke_token(session, root, old.id, at=yard.clock.now(), new_id=new_id)
        if how == "expired":
            yard.clock.advance(timedelta(days=1))
        overlap = {"a long overlap": timedelta(days=31), "a negative one": timedelta(seconds=-1)}.get(how, timedelta(0))
        with pytest.raises(InvalidTokenRequest):
            await yard.rotate(root, old.id, overlap=overlap, days=999 if how == "too long" else 1)

    async def test_a_jobs_token_is_the_platforms(self, yard: Yard) -> None:
        claims = JobClaims(job_id=new_id(), attempt_id=new_id(), team_id=yard.team, submitted_by=yard.root)
        at = yard.clock.now()
        request = JobTokenRequest(claims=claims, label="attempt", expires_at=at + timedelta(days=1))
        async with yard.database.transaction() as session:
            (issued,) = await issue_job_tokens(session, SYSTEM, [request], at=at, new_id=new_id)
        with pytest.raises(InvalidTokenRequest, match="the platform's to make"):
            await yard.rotate(await root_of(yard), issued.id)
