"""A token opens exactly what its holder may, for as long as it counts, and a typing mistake costs no query."""

import logging
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, update

from guildhall.auth.actor import Actor, JobClaims, TokenUse, system_actor
from guildhall.auth.policies import Policies
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import RoleBinding, ServiceAccount, Token, User
from guildhall.auth.tokens import (
    TokenRefused,
    authenticate,
    hash_token,
    identify_again,
    is_well_formed,
    known_digests,
    make_session_token,
    make_token,
    may_be_known,
    note_use,
)
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database, DatabaseUnavailable
from tests.people import REQUEST, make_service_account, make_team, make_user


async def store(database: Database, text: str, kind: ActorKind, subject_id: UUID, at: datetime, **more: object) -> UUID:
    """The token as a row, without the checks of issuing it."""
    values: dict[str, object] = {
        "id": new_id(), "subject_kind": kind.value, "subject_id": subject_id, "prefix": text[:12],
        "hash": hash_token(text), "label": "test", "claims": {}, "created_at": at - timedelta(days=1),
        "expires_at": at + timedelta(days=1),
    }  # fmt: skip
    async with database.transaction() as session:
        token = Token(**{**values, **more})
        session.add(token)
    return token.id


async def a_user(database: Database) -> UUID:
    async with database.transaction() as session:
        return await make_user(session, f"user-{new_id().hex}")


async def last_used(database: Database, token_id: UUID) -> datetime | None:
    async with database.read() as session:
        return (await session.scalars(select(Token.last_used_at).where(Token.id == token_id))).one()


async def refusal(database: Database, text: str, at: datetime) -> str:
    with pytest.raises(TokenRefused) as refused:
        await authenticate(database, Policies(database), text, at=at, request=REQUEST)
    assert refused.value.code == "TOKEN_REFUSED"
    return refused.value.message


class TestMakeToken:
    @pytest.mark.parametrize(
        ("kind", "prefix"),
        [(ActorKind.USER, "ghu_"), (ActorKind.SERVICE_ACCOUNT, "ghs_"), (ActorKind.JOB, "ghj_")],
    )
    def test_says_what_it_is_for(self, kind: ActorKind, prefix: str) -> None:
        assert make_token(kind).startswith(prefix)

    def test_is_drawn_by_chance(self) -> None:
        tokens = {make_token(ActorKind.USER) for _ in range(100)}
        assert len(tokens) == 100
        assert {len(token) for token in tokens} == {42}

    def test_has_a_checksum_that_others_can_compute(self) -> None:
        assert make_token(ActorKind.USER, lambda alphabet: alphabet[0]) == "ghu_" + "0" * 32 + "3UFrxb"


class TestIsWellFormed:
    def test_what_we_make(self) -> None:
        assert is_well_formed(make_token(ActorKind.JOB))

    @pytest.mark.parametrize("position", range(42))
    def test_not_with_any_letter_changed(self, position: int) -> None:
        text = make_token(ActorKind.USER, lambda alphabet: alphabet[7])
        other = "y" if text[position] == "x" else "x"
        assert not is_well_formed(text[:position] + other + text[position + 1 :])

    @pytest.mark.parametrize("text", ["", "ghu_", "ghx_" + "0" * 38, "ü" * 42, "ghu_" + "0" * 37, " " * 42])
    def test_not_something_else(self, text: str) -> None:
        assert not is_well_formed(text)


class TestMayBeKnown:
    def test_what_a_look_up_could_find(self) -> None:
        texts = [make_token(ActorKind.USER), make_session_token(), "of.the.issuer"]
        assert [may_be_known(text) for text in texts] == [True] * 3

    @pytest.mark.parametrize("text", ["", "nonsense", "ghu_" + "a" * 38, "ghb_" + "a" * 38, "two.parts"])
    def test_nothing_else(self, text: str) -> None:
        assert not may_be_known(text)


class TestKnownDigests:
    async def test_those_that_nobody_has_withdrawn(self, database: Database, clock: SimulatedClock) -> None:
        user, texts = await a_user(database), [make_token(ActorKind.USER) for _ in range(4)]
        for text, more in zip(texts, ({}, {"expires_at": clock.now()}, {"revoked_at": clock.now()}), strict=False):
            await store(database, text, ActorKind.USER, user, clock.now(), **more)
        digests = [hash_token(text) for text in texts]
        async with database.read() as session:
            assert await known_digests(session, digests) == {digests[0], digests[1]}


class TestIdentifyAgain:
    async def test_the_same_where_nothing_was_said_anew(self, database: Database, clock: SimulatedClock) -> None:
        _, actor, policies = await self.one(database, clock)
        later = clock.now() + timedelta(days=2)
        assert await identify_again(database, policies, actor, at=later) is actor, "though the token has expired"

    async def test_with_the_roles_of_now(self, database: Database, clock: SimulatedClock) -> None:
        user, actor, policies = await self.one(database, clock)
        async with database.transaction() as session:
            team = await make_team(session, f"team-{new_id().hex[-8:]}")
            ends_at = clock.now() + timedelta(hours=1)
            session.add(
                RoleBinding(
                    id=new_id(), subject_kind="USER", subject_id=user, team_id=team, role="viewer", ends_at=ends_at,
                    created_at=clock.now(),
                )
            )  # fmt: skip
        given = await identify_again(database, policies, actor, at=clock.now())
        assert given.may("registry:model:read", team)
        assert (given.id, given.request, given.token) == (actor.id, REQUEST, actor.token)
        ended = await identify_again(database, policies, given, at=ends_at)
        assert not ended.may("registry:model:read", team)

    @pytest.mark.parametrize(
        ("table", "column", "message"),
        [
            (Token, "revoked_at", "This token was withdrawn; ask for a new one."),
            (User, "deactivated_at", "The account that this token belongs to is no longer active."),
        ],
    )
    async def test_nobody_whose_token_or_account_has_ended(
        self, database: Database, clock: SimulatedClock, table: type[Token | User], column: str, message: str
    ) -> None:
        user, actor, policies = await self.one(database, clock)
        assert actor.token is not None
        key = actor.token.id if table is Token else user
        async with database.transaction() as session:
            await session.execute(update(table).where(table.id == key).values({column: clock.now()}))
        with pytest.raises(TokenRefused) as refused:
            await identify_again(database, policies, actor, at=clock.now())
        assert refused.value.message == message

    async def one(self, database: Database, clock: SimulatedClock) -> tuple[UUID, Actor, Policies]:
        policies, user, text = Policies(database), await a_user(database), make_token(ActorKind.USER)
        await store(database, text, ActorKind.USER, user, clock.now())
        return user, await authenticate(database, policies, text, at=clock.now(), request=REQUEST), policies


class TestAuthenticate:
    async def test_a_user(self, database: Database, clock: SimulatedClock) -> None:
        async with database.transaction() as session:
            team = await make_team(session, "authenticate-user")
            user = await make_user(session, "authenticate-user", roles={"viewer": [team]})
        text = make_token(ActorKind.USER)
        token = await store(database, text, ActorKind.USER, user, clock.now())
        actor = await authenticate(database, Policies(database), text, at=clock.now(), request=REQUEST)
        assert (actor.kind, actor.id, actor.name) == (ActorKind.USER, user, "Authenticate-user")
        assert actor.request == REQUEST
        assert actor.token == TokenUse(token, None, clock.now() + timedelta(days=1))
        assert (actor.team_id, actor.job, actor.on_behalf_of) == (None, None, None)
        assert actor.team_ids == {team}
        assert actor.may("registry:model:read", team)

    async def test_a_service_account(self, database: Database, clock: SimulatedClock) -> None:
        async with database.transaction() as session:
            team = await make_team(session, "authenticate-service")
            account = await make_service_account(session, "robot", team, roles=["contributor"])
        text = make_token(ActorKind.SERVICE_ACCOUNT)
        await store(database, text, ActorKind.SERVICE_ACCOUNT, account, clock.now(), expires_at=None)
        actor = await authenticate(database, Policies(database), text, at=clock.now(), request=REQUEST)
        assert (actor.kind, actor.id, actor.name, actor.team_id) == (
            ActorKind.SERVICE_ACCOUNT, account, "robot", team,
        )  # fmt: skip
        assert actor.may("scheduler:job:submit", team)

    async def test_a_job(self, database: Database, clock: SimulatedClock) -> None:
        claims = JobClaims(job_id=new_id(), attempt_id=new_id(), team_id=new_id(), submitted_by=new_id())
        text = make_token(ActorKind.JOB)
        stored = {name: str(getattr(claims, name)) for name in ("attempt_id", "team_id", "submitted_by")}
        await store(database, text, ActorKind.JOB, claims.job_id, clock.now(), claims=stored)
        actor = await authenticate(database, Policies(database), text, at=clock.now(), request=REQUEST)
        assert (actor.kind, actor.id, actor.job) == (ActorKind.JOB, claims.job_id, claims)
        assert actor.name == f"job {claims.job_id}"
        assert (actor.on_behalf_of, actor.team_id) == (claims.submitted_by, claims.team_id)
        assert actor.may("scheduler:job:report", claims.team_id)
        assert not actor.may("registry:model:discover", None)

    async def test_nothing_that_is_no_token_reaches_the_database(
        self, database: Database, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database, "read", None)
        assert await refusal(database, "ghu_typo", clock.now()) == (
            "This is not a token of Guildhall, or a part of it is missing: copy it whole."
        )

    async def test_an_unknown_token(self, database: Database, clock: SimulatedClock) -> None:
        assert await refusal(database, make_token(ActorKind.USER), clock.now()) == "This token is not known here."

    async def test_a_token_that_expired_at_this_moment(self, database: Database, clock: SimulatedClock) -> None:
        text = make_token(ActorKind.USER)
        await store(database, text, ActorKind.USER, await a_user(database), clock.now(), expires_at=clock.now())
        assert await refusal(database, text, clock.now()) == "This token has expired; ask for a new one."
        just_before = clock.now() - timedelta(microseconds=1)
        actor = await authenticate(database, Policies(database), text, at=just_before, request=REQUEST)
        assert actor.kind is ActorKind.USER

    async def test_a_token_that_was_withdrawn(self, database: Database, clock: SimulatedClock) -> None:
        text = make_token(ActorKind.USER)
        await store(database, text, ActorKind.USER, await a_user(database), clock.now(), revoked_at=clock.now())
        assert await refusal(database, text, clock.now()) == "This token was withdrawn; ask for a new one."

    @pytest.mark.parametrize("kind", [ActorKind.USER, ActorKind.SERVICE_ACCOUNT])
    async def test_a_holder_who_left(self, database: Database, clock: SimulatedClock, kind: ActorKind) -> None:
        async with database.transaction() as session:
            team = await make_team(session, f"left-{kind.value.lower().replace('_', '-')}")
            user = await make_user(session, f"left-{kind.value.lower()}")
            account = await make_service_account(session, "left", team)
            holder: type[User | ServiceAccount] = User if kind is ActorKind.USER else ServiceAccount
            subject = user if kind is ActorKind.USER else account
            await session.execute(update(holder).where(holder.id == subject).values(deactivated_at=clock.now()))
        text = make_token(kind)
        await store(database, text, kind, subject, clock.now())
        assert await refusal(database, text, clock.now()) == (
            "The account that this token belongs to is no longer active."
        )

    async def test_the_policy_is_never_older_than_the_database_without_any_notice(
        self, database: Database, clock: SimulatedClock
    ) -> None:
        policies = Policies(database)
        user = await a_user(database)
        text = make_token(ActorKind.USER)
        await store(database, text, ActorKind.USER, user, clock.now())
        before = await authenticate(database, policies, text, at=clock.now(), request=REQUEST)
        async with database.transaction() as session:
            team = await make_team(session, "later-team")
        after = await authenticate(database, policies, text, at=clock.now(), request=REQUEST)
        assert team not in before.policy.rules.teams
        assert team in after.policy.rules.teams


async def identify(database: Database, policies: Policies, text: str, at: datetime) -> None:
    """As the edges of the API do."""
    await note_use(database, await authenticate(database, policies, text, at=at, request=REQUEST), at=at)


class TestIdentify:
    async def test_it_notes_the_use_once_a_minute(self, database: Database, clock: SimulatedClock) -> None:
        policies = Policies(database)
        text = make_token(ActorKind.USER)
        token = await store(database, text, ActorKind.USER, await a_user(database), clock.now())
        first = clock.now()
        await identify(database, policies, text, first)
        assert await last_used(database, token) == first
        await identify(database, policies, text, clock.advance(seconds=59))
        assert await last_used(database, token) == first
        await identify(database, policies, text, clock.advance(seconds=1))
        assert await last_used(database, token) == clock.now()

    async def test_a_refused_token_is_not_noted(self, database: Database, clock: SimulatedClock) -> None:
        text = make_token(ActorKind.USER)
        token = await store(database, text, ActorKind.USER, await a_user(database), clock.now(), revoked_at=clock.now())
        with pytest.raises(TokenRefused):
            await identify(database, Policies(database), text, clock.now())
        assert await last_used(database, token) is None


class TestNoteUse:
    async def test_the_platforms_own_parts_have_no_token(self, database: Database, clock: SimulatedClock) -> None:
        await note_use(database, system_actor("worker"), at=clock.now())

    async def test_a_rival_who_noted_it_meanwhile_is_left_alone(
        self, database: Database, clock: SimulatedClock
    ) -> None:
        rival = clock.now() - timedelta(seconds=1)
        user = await a_user(database)
        token = await store(database, make_token(ActorKind.USER), ActorKind.USER, user, clock.now(), last_used_at=rival)
        await note_use(database, self.with_token(TokenUse(token, None)), at=clock.now())
        assert await last_used(database, token) == rival

    async def test_a_database_that_is_away_does_not_fail_the_request(
        self,
        database: Database,
        clock: SimulatedClock,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def away() -> None:
            raise DatabaseUnavailable("gone")

        monkeypatch.setattr(database, "transaction", away)
        with caplog.at_level(logging.WARNING):
            await note_use(database, self.with_token(TokenUse(UUID(int=5), None)), at=clock.now())
        assert "could not be noted" in caplog.text

    def with_token(self, use: TokenUse) -> Actor:
        system = system_actor("worker")
        return Actor(kind=ActorKind.USER, id=system.id, name="ada", policy=system.policy, token=use)
