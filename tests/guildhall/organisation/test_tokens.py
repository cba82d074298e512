"""Tokens are made for those who may have them, once, on the record, and end at once."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import Actor, JobClaims, system_actor
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.policies import Policies
from guildhall.auth.policy import PolicySnapshot
from guildhall.auth.policy_reading import load_rules
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import ServiceAccount, Token, User
from guildhall.auth.tokens import TokenRefused, authenticate, hash_token, is_well_formed
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database
from guildhall.errors import NotFound
from guildhall.organisation.tokens import (
    InvalidTokenRequest,
    IssuedToken,
    JobTokenRequest,
    issue_job_tokens,
    issue_token,
    revoke_token,
    revoke_tokens_of,
)
from tests.people import REQUEST, actor_of, make_service_account, make_team, make_user

USER, SERVICE_ACCOUNT, JOB = ActorKind.USER, ActorKind.SERVICE_ACCOUNT, ActorKind.JOB
SYSTEM = system_actor("worker")
WEEK = timedelta(days=7)


async def issue(
    session: AsyncSession, actor: Actor, kind: ActorKind, subject: UUID, at: datetime, **more: Any
) -> IssuedToken:
    values = {"label": " laptop ", "expires_at": at + WEEK, **more}
    return await issue_token(session, actor, subject_kind=kind, subject_id=subject, at=at, new_id=new_id, **values)


async def issue_for(session: AsyncSession, actor: Actor, claims: JobClaims, at: datetime, **more: Any) -> IssuedToken:
    request = JobTokenRequest(claims=claims, label="attempt", expires_at=more.get("expires_at", at + WEEK))
    (issued,) = await issue_job_tokens(session, actor, [request], at=at, new_id=new_id)
    return issued


async def tokens(session: AsyncSession) -> list[Token]:
    return list(await session.scalars(select(Token).execution_options(populate_existing=True)))


async def recorded(session: AsyncSession, action: str) -> list[AuditEvent]:
    return list(await session.scalars(select(AuditEvent).where(AuditEvent.action == action).order_by(AuditEvent.id)))


async def account_actor(session: AsyncSession, account: UUID, team: UUID) -> Actor:
    policy = PolicySnapshot(await load_rules(session))
    return Actor(kind=SERVICE_ACCOUNT, id=account, name="robot", policy=policy, team_id=team)


class TestIssueToken:
    async def test_people_make_their_own(self, session: AsyncSession, clock: SimulatedClock) -> None:
        ada = await actor_of(session, await make_user(session, "ada"))
        issued = await issue(session, ada, USER, ada.id, clock.now())
        assert is_well_formed(issued.text)
        (token,) = await tokens(session)
        assert (token.id, token.prefix, token.hash) == (issued.id, issued.text[:12], hash_token(issued.text))
        assert (token.label, token.expires_at, token.claims) == ("laptop", clock.now() + WEEK, {})
        (event,) = await recorded(session, "guildhall:token:issue")
        assert (event.resource_types, event.resource_ids) == (["Token", "User"], [issued.id, ada.id])
        assert event.after == {
            "label": "laptop", "prefix": issued.text[:12], "expires_at": (clock.now() + WEEK).isoformat(),
        }  # fmt: skip

    async def test_an_administrator_makes_them_for_others(self, session: AsyncSession, clock: SimulatedClock) -> None:
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        ada = await make_user(session, "ada")
        await issue(session, admin, USER, ada, clock.now())
        assert [token.subject_id for token in await tokens(session)] == [ada]

    async def test_others_make_none_for_others(self, session: AsyncSession, clock: SimulatedClock) -> None:
        team = await make_team(session, "quality")
        bea = await actor_of(session, await make_user(session, "bea", roles={"maintainer": [None]}))
        local = await actor_of(session, await make_user(session, "local", roles={"administrator": [team]}))
        ada = await make_user(session, "ada", roles={"viewer": [team]})
        account = await make_service_account(session, "robot", team)
        for actor, kind, subject in ((bea, USER, ada), (bea, SERVICE_ACCOUNT, account), (local, USER, ada)):
            with pytest.raises(PermissionRefused):
                await issue(session, actor, kind, subject, clock.now())
        assert await tokens(session) == []
        assert await recorded(session, "guildhall:token:issue") == []

    async def test_an_administrator_of_the_team_makes_them_for_its_programs(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        team = await make_team(session, "quality")
        local = await actor_of(session, await make_user(session, "local", roles={"administrator": [team]}))
        account = await make_service_account(session, "robot", team)
        issued = await issue(session, local, SERVICE_ACCOUNT, account, clock.now())
        assert issued.text.startswith("ghs_")
        assert [event.team_id for event in await recorded(session, "guildhall:token:issue")] == [team]

    async def test_a_program_renews_its_own(self, session: AsyncSession, clock: SimulatedClock) -> None:
        team = await make_team(session, "quality")
        account = await make_service_account(session, "robot", team)
        await issue(session, await account_actor(session, account, team), SERVICE_ACCOUNT, account, clock.now())
        assert len(await tokens(session)) == 1

    async def test_a_job_makes_none(self, session: AsyncSession, clock: SimulatedClock) -> None:
        team, ada = await make_team(session, "quality"), await make_user(session, "ada")
        policy = PolicySnapshot(await load_rules(session))
        job = Actor(kind=JOB, id=new_id(), name="job", policy=policy, on_behalf_of=ada, team_id=team)
        with pytest.raises(PermissionRefused):
            await issue(session, job, USER, ada, clock.now())
        assert await tokens(session) == []

    async def test_the_platform_makes_them_for_jobs(self, session: AsyncSession, clock: SimulatedClock) -> None:
        claims = JobClaims(job_id=new_id(), attempt_id=new_id(), team_id=new_id(), submitted_by=new_id())
        issued = await issue_for(session, SYSTEM, claims, clock.now())
        assert issued.text.startswith("ghj_")
        (token,) = await tokens(session)
        assert token.claims == {
            "attempt_id": str(claims.attempt_id), "team_id": str(claims.team_id),
            "submitted_by": str(claims.submitted_by),
        }  # fmt: skip

    async def test_only_the_platform_makes_them_and_only_so(self, session: AsyncSession, clock: SimulatedClock) -> None:
        claims = JobClaims(job_id=new_id(), attempt_id=new_id(), team_id=new_id(), submitted_by=new_id())
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        with pytest.raises(AssertionError):
            await issue_for(session, admin, claims, clock.now())
        with pytest.raises(AssertionError):
            await issue(session, SYSTEM, JOB, claims.job_id, clock.now())
        assert await tokens(session) == []

    async def test_many_at_once_come_in_their_order_and_are_recorded_each(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        all_claims = [
            JobClaims(job_id=new_id(), attempt_id=new_id(), team_id=new_id(), submitted_by=new_id()) for _ in range(3)
        ]
        requests = [
            JobTokenRequest(claims=claims, label=f"attempt {number}", expires_at=clock.now() + WEEK)
            for number, claims in enumerate(all_claims)
        ]
        issued = await issue_job_tokens(session, SYSTEM, requests, at=clock.now(), new_id=new_id)
        stored = {token.id: token for token in await tokens(session)}
        assert [stored[each.id].subject_id for each in issued] == [claims.job_id for claims in all_claims]
        events = await recorded(session, "guildhall:token:issue")
        assert {event.resource_ids[0] for event in events} == set(stored)
        assert [event.team_id for event in events] == [claims.team_id for claims in all_claims]
        assert await issue_job_tokens(session, SYSTEM, [], at=clock.now(), new_id=new_id) == []

    async def test_not_for_who_is_not_there(self, session: AsyncSession, clock: SimulatedClock) -> None:
        team = await make_team(session, "quality")
        gone, retired = await make_user(session, "gone"), await make_service_account(session, "retired", team)
        await session.execute(update(User).where(User.id == gone).values(deactivated_at=clock.now()))
        await session.execute(
            update(ServiceAccount).where(ServiceAccount.id == retired).values(deactivated_at=clock.now())
        )
        for kind, subject in ((USER, gone), (USER, new_id()), (SERVICE_ACCOUNT, retired), (SERVICE_ACCOUNT, gone)):
            with pytest.raises(NotFound):
                await issue(session, SYSTEM, kind, subject, clock.now())
        assert await tokens(session) == []

    @pytest.mark.parametrize(
        ("more", "field"),
        [
            ({"label": " "}, "label"),
            ({"label": "x" * 201}, "label"),
            ({"label": "a\0b"}, "label"),
            ({"lasts": timedelta()}, "expiresAt"),
            ({"lasts": timedelta(days=366, microseconds=1)}, "expiresAt"),
        ],
    )
    async def test_it_has_a_label_and_an_end(
        self, session: AsyncSession, clock: SimulatedClock, more: dict[str, Any], field: str
    ) -> None:
        ada = await actor_of(session, await make_user(session, "ada"))
        given = {name: value for name, value in more.items() if name != "lasts"}
        if "lasts" in more:
            given["expires_at"] = clock.now() + more["lasts"]
        with pytest.raises(InvalidTokenRequest) as refusal:
            await issue(session, ada, USER, ada.id, clock.now(), **given)
        assert refusal.value.field == field
        assert await tokens(session) == []


class TestRevokeToken:
    async def test_it_ends_at_once_and_for_good(self, fresh_database: Database, clock: SimulatedClock) -> None:
        async with fresh_database.transaction() as session:
            ada = await actor_of(session, await make_user(session, "revoked-ada"))
            issued = await issue(session, ada, USER, ada.id, clock.now())
        policies = Policies(fresh_database)
        known = await authenticate(fresh_database, policies, issued.text, at=clock.now(), request=REQUEST)
        assert known.id == ada.id
        async with fresh_database.transaction() as session:
            await revoke_token(session, ada, issued.id, at=clock.now(), new_id=new_id)
        with pytest.raises(TokenRefused, match="withdrawn"):
            await authenticate(fresh_database, policies, issued.text, at=clock.now(), request=REQUEST)
        first = clock.now()
        async with fresh_database.transaction() as session:
            await revoke_token(session, ada, issued.id, at=clock.advance(seconds=5), new_id=new_id)
            assert (await session.get_one(Token, issued.id)).revoked_at == first
            events = [e for e in await recorded(session, "guildhall:token:revoke") if issued.id in e.resource_ids]
        assert [event.before for event in events] == [{"label": "laptop", "prefix": issued.text[:12]}]

    async def test_an_administrator_ends_those_of_others(self, session: AsyncSession, clock: SimulatedClock) -> None:
        team = await make_team(session, "quality")
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        local = await actor_of(session, await make_user(session, "local", roles={"administrator": [team]}))
        ada = await make_user(session, "ada")
        account = await make_service_account(session, "robot", team)
        of_user = await issue(session, admin, USER, ada, clock.now())
        of_account = await issue(session, admin, SERVICE_ACCOUNT, account, clock.now())
        await revoke_token(session, admin, of_user.id, at=clock.now(), new_id=new_id)
        await revoke_token(session, local, of_account.id, at=clock.now(), new_id=new_id)
        assert {token.revoked_at for token in await tokens(session)} == {clock.now()}

    async def test_what_is_not_theirs_is_not_there(self, session: AsyncSession, clock: SimulatedClock) -> None:
        ada = await actor_of(session, await make_user(session, "ada"))
        bea = await actor_of(session, await make_user(session, "bea", roles={"maintainer": [None]}))
        issued = await issue(session, ada, USER, ada.id, clock.now())
        sentences = set()
        for token in (issued.id, new_id()):
            with pytest.raises(NotFound) as refusal:
                await revoke_token(session, bea, token, at=clock.now(), new_id=new_id, field="tokenId")
            sentences.add((refusal.value.message, refusal.value.field))
        assert sentences == {("There is no such token.", "tokenId")}
        assert [token.revoked_at for token in await tokens(session)] == [None]
        assert await recorded(session, "guildhall:token:revoke") == []


class TestRevokeTokensOf:
    async def test_a_job_that_ended_keeps_no_token(self, session: AsyncSession, clock: SimulatedClock) -> None:
        claims = JobClaims(job_id=new_id(), attempt_id=new_id(), team_id=new_id(), submitted_by=new_id())
        counting = await issue_for(session, SYSTEM, claims, clock.now())
        await issue_for(session, SYSTEM, claims, clock.now(), expires_at=clock.now() + timedelta(1))
        clock.advance(timedelta(days=2))
        for want in (1, 0):
            ended = await revoke_tokens_of(
                session, SYSTEM, subject_kind=JOB, subject_ids=[claims.job_id], at=clock.now(), new_id=new_id
            )
            assert ended == want
        assert {token.id: token.revoked_at for token in await tokens(session)}[counting.id] == clock.now()
        (event,) = await recorded(session, "guildhall:token:revoke")
        assert (event.resource_types, event.team_id) == (["Token", "Job"], claims.team_id)

    async def test_others_may_not(self, session: AsyncSession, clock: SimulatedClock) -> None:
        ada = await actor_of(session, await make_user(session, "ada"))
        bea = await actor_of(session, await make_user(session, "bea"))
        await issue(session, ada, USER, ada.id, clock.now())
        savepoint = await session.begin_nested()
        with pytest.raises(PermissionRefused):
            await revoke_tokens_of(session, bea, subject_kind=USER, subject_ids=[ada.id], at=clock.now(), new_id=new_id)
        await savepoint.rollback()
        assert [token.revoked_at for token in await tokens(session)] == [None]
