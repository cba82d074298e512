"""Who was recognised before is believed only by a statement that finds them as they were."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, text, update

from guildhall.auth import standing as module
from guildhall.auth.actor import Actor, JobClaims, system_actor
from guildhall.auth.policies import Policies
from guildhall.auth.standing import Recognised, Standing, hold_standing
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import RoleBinding, ServiceAccount, Token, User
from guildhall.auth.tokens import authenticate, identify_again
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.kept_statements import KeptStatements
from guildhall.db.transaction import Database, DatabaseUnavailable, StatementTimeout
from guildhall.organisation.tokens import issue_token
from tests.conftest import MONDAY_MORNING
from tests.people import REQUEST, make_service_account, make_team, make_user
from tests.waiting import ALONE, PATIENCE_SECONDS, until_one_waits, until_so_many_wait

AT = MONDAY_MORNING
SOON = AT + timedelta(seconds=10)
CLOCK = SimulatedClock(SOON)
PROCESS = text("SELECT pg_backend_pid()")
VERSION = text("SELECT CAST(current_setting('server_version_num') AS int)")
VERSION_WITH_LIMIT = 170_000


@pytest.fixture
async def kept(database: Database) -> AsyncIterator[KeptStatements]:
    opened = KeptStatements(database.url, connections_max=1, statement_seconds=30)
    yield opened
    await opened.close()


async def issue(database: Database, kind: ActorKind, subject_id: UUID) -> str:
    async with database.transaction() as session:
        issued = await issue_token(
            session, system_actor("tests"), subject_kind=kind, subject_id=subject_id, label="tests",
            expires_at=AT + timedelta(days=1), at=AT, new_id=new_id,
        )  # fmt: skip
    return issued.text


async def known(database: Database, text: str, recognised: Recognised) -> Actor:
    actor = await authenticate(database, Policies(database), text, at=AT, request=REQUEST)
    recognised.keep(text, actor, AT)
    return actor


async def reads(kept: KeptStatements, standing: Standing | None, at: datetime = SOON) -> bool:
    """Whether a statement is run for them; one that is not run gives nothing at all."""
    assert standing is not None
    row = await kept.fetch(*standing.guard("SELECT 'read ' || $1::text", ["this"], at))
    assert row is not None
    assert tuple(row) in {(True, "read this"), (False, None)}
    return bool(row[0])


async def change(database: Database, statement: Any) -> None:
    async with database.transaction() as session:
        await session.execute(statement)


class TestStanding:
    async def test_users_service_accounts_and_jobs_stand(self, database: Database, kept: KeptStatements) -> None:
        recognised = Recognised()
        async with database.transaction() as session:
            team = await make_team(session, f"team-{new_id().hex[-8:]}")
            user = await make_user(session, "zoe", roles={"maintainer": [team]})
            program = await make_service_account(session, f"bot-{new_id().hex[-8:]}", team)
        for kind, key in ((ActorKind.USER, user), (ActorKind.SERVICE_ACCOUNT, program)):
            text = await issue(database, kind, key)
            actor = await known(database, text, recognised)
            standing = recognised.standing(text, SOON, REQUEST)
            assert await reads(kept, standing)
            assert standing is not None
            assert (standing.actor.kind, standing.actor.id, standing.actor.name) == (kind, key, actor.name)

    async def test_a_job_has_no_name_of_its_own(self, database: Database) -> None:
        async with database.transaction() as session:
            user = await make_user(session, f"user-{new_id().hex[-8:]}")
        actor = await known(database, await issue(database, ActorKind.USER, user), Recognised())
        job = Actor(
            kind=ActorKind.JOB, id=new_id(), name="job 1", policy=actor.policy, team_id=new_id(),
            job=JobClaims(new_id(), new_id(), new_id(), user),
        )  # fmt: skip
        assert Standing(job, b"").expected == ()

    @pytest.mark.parametrize(
        "end",
        [
            lambda _user, token: update(Token).where(Token.id == token).values(revoked_at=SOON),
            lambda _user, token: update(Token).where(Token.id == token).values(expires_at=SOON),
            lambda user, _token: update(User).where(User.id == user).values(deactivated_at=SOON),
            lambda user, _token: update(User).where(User.id == user).values(name="Somebody Else"),
            lambda user, _token: update(RoleBinding).where(RoleBinding.user_id == user).values(role="viewer"),
        ],
        ids=["revoked", "expired", "deactivated", "renamed", "given another role"],
    )
    async def test_what_has_ended_ends_at_once(
        self, database: Database, kept: KeptStatements, end: Callable[[UUID, UUID], Any]
    ) -> None:
        recognised = Recognised()
        async with database.transaction() as session:
            team = await make_team(session, f"team-{new_id().hex[-8:]}")
            user = await make_user(session, f"user-{new_id().hex[-8:]}", roles={"maintainer": [team]})
        text = await issue(database, ActorKind.USER, user)
        actor = await known(database, text, recognised)
        assert actor.token is not None
        standing = recognised.standing(text, SOON, REQUEST)
        assert await reads(kept, standing)
        await change(database, end(user, actor.token.id))
        assert not await reads(kept, standing)

    async def test_a_deactivated_program_no_longer_stands(self, database: Database, kept: KeptStatements) -> None:
        recognised = Recognised()
        async with database.transaction() as session:
            team = await make_team(session, f"team-{new_id().hex[-8:]}")
            program = await make_service_account(session, f"bot-{new_id().hex[-8:]}", team)
        text = await issue(database, ActorKind.SERVICE_ACCOUNT, program)
        await known(database, text, recognised)
        standing = recognised.standing(text, SOON, REQUEST)
        assert await reads(kept, standing)
        await change(database, update(ServiceAccount).where(ServiceAccount.id == program).values(deactivated_at=SOON))
        assert not await reads(kept, standing)

    async def test_an_unknown_token_never_stands(self, database: Database, kept: KeptStatements) -> None:
        async with database.transaction() as session:
            user = await make_user(session, f"user-{new_id().hex[-8:]}")
        actor = await known(database, await issue(database, ActorKind.USER, user), Recognised())
        assert not await reads(kept, Standing(actor, b"x" * 32))


async def stands(database: Database, actor: Actor) -> bool:
    """Whether a read of theirs, announced now, goes on."""
    async with database.transaction() as session:
        return await hold_standing(session, actor, clock=CLOCK) is not None


withdrawals = pytest.mark.parametrize(
    "end",
    [
        lambda actor: update(Token).where(Token.id == actor.token.id).values(revoked_at=SOON),
        lambda actor: update(User).where(User.id == actor.id).values(deactivated_at=SOON),
        lambda actor: delete(RoleBinding).where(RoleBinding.user_id == actor.id),
    ],
    ids=["revoked", "deactivated", "without a role"],
)
End = Callable[[Actor], Any]


class TestHoldStanding:
    @pytest.fixture
    async def paula(self, database: Database) -> Actor:
        async with database.transaction() as session:
            team = await make_team(session, f"team-{new_id().hex[-8:]}")
            user = await make_user(session, f"user-{new_id().hex[-8:]}", roles={"maintainer": [team]})
        return await known(database, await issue(database, ActorKind.USER, user), Recognised())

    @pytest.fixture
    def patient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However slow the machine is, a read outlasts what a test has happen meanwhile."""
        monkeypatch.setattr(module, "STILL_SECONDS_MAX", PATIENCE_SECONDS)
        monkeypatch.setattr(module, "HELD_SECONDS_MAX", PATIENCE_SECONDS)

    async def test_who_stands_as_they_were_found(self, database: Database, paula: Actor) -> None:
        assert await stands(database, paula)
        assert await stands(database, replace(paula, token=None))

    @withdrawals
    @pytest.mark.usefixtures("patient")
    async def test_what_was_withdrawn_before_is_seen_and_after_it_waits(
        self, database: Database, paula: Actor, end: End
    ) -> None:
        async with database.transaction() as session:
            assert await hold_standing(session, paula, clock=CLOCK)
            withdrawing = asyncio.create_task(change(database, end(paula)))
            await until_one_waits(database)
            assert not withdrawing.done()
        await withdrawing
        assert not await stands(database, paula)

    @withdrawals
    @pytest.mark.usefixtures("patient")
    async def test_a_read_that_comes_later_waits_for_a_withdrawal_that_waits(
        self, database: Database, paula: Actor, end: End
    ) -> None:
        async with database.transaction() as session:
            assert await hold_standing(session, paula, clock=CLOCK)
            withdrawing = asyncio.create_task(change(database, end(paula)))
            await until_one_waits(database)
            later = asyncio.create_task(stands(database, paula))
            await until_so_many_wait(database, 2)
            assert not later.done()
        await withdrawing
        assert not await later

    async def test_its_limits_end_with_the_transaction(self, database: Database, paula: Actor) -> None:
        names = ["idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout"]
        shown = text("SELECT current_setting(name) FROM unnest(CAST(:names AS text[])) AS name")
        async with database.transaction() as session:
            before = (await session.scalars(shown, {"names": names})).all()
            await hold_standing(session, paula, clock=CLOCK)
            assert (await session.scalars(shown, {"names": names})).all() == ["5s", "5s", "8s"]
            connection = (await session.execute(PROCESS)).scalar_one()
        async with database.transaction() as session:
            assert (await session.execute(PROCESS)).scalar_one() == connection
            assert (await session.scalars(shown, {"names": names})).all() == before

    @pytest.mark.parametrize(
        ("theirs", "held"), [("0", "2min"), ("1h", "2min"), ("90s", "90s"), ("119999", "119999ms")]
    )
    async def test_a_statement_gets_no_more_time_than_an_operator_gave_it(
        self, database: Database, paula: Actor, monkeypatch: pytest.MonkeyPatch, theirs: str, held: str
    ) -> None:
        monkeypatch.setattr(module, "HELD_SECONDS_MAX", 120)
        async with database.transaction() as session:
            await session.execute(text("SELECT set_config('statement_timeout', :theirs, true)"), {"theirs": theirs})
            await hold_standing(session, paula, clock=CLOCK)
            assert await session.scalar(text("SELECT current_setting('statement_timeout')")) == held

    @withdrawals
    async def test_one_that_stands_still_is_ended_and_holds_nobody_up(
        self, database: Database, paula: Actor, monkeypatch: pytest.MonkeyPatch, end: End
    ) -> None:
        async def stopped() -> None:
            async with database.transaction() as session:
                await hold_standing(session, paula, clock=CLOCK)
                await change(database, end(paula))
                await session.execute(text("SELECT 'it goes on'"))

        with monkeypatch.context() as soon:
            soon.setattr(module, "STILL_SECONDS_MAX", 2)
            with pytest.raises(DatabaseUnavailable):
                await stopped()
        await change(database, end(paula))
        assert not await stands(database, paula)

    @pytest.mark.parametrize("theirs", ["0", "1h"])
    async def test_one_that_takes_too_long_is_ended_whatever_an_operator_allows(
        self, database: Database, paula: Actor, monkeypatch: pytest.MonkeyPatch, theirs: str
    ) -> None:
        async with database.read() as session:
            if (await session.execute(VERSION)).scalar_one() < VERSION_WITH_LIMIT:
                pytest.skip("PostgreSQL limits whole transactions from 17 on")
        monkeypatch.setattr(module, "HELD_SECONDS_MAX", 1)

        async def busy() -> None:
            async with database.transaction() as session:
                armed = text("SELECT set_config('transaction_timeout', :theirs, true)")
                await session.execute(armed, {"theirs": theirs})
                await hold_standing(session, paula, clock=CLOCK)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while True:
                        await session.execute(text("SELECT 'something'"))

        with pytest.raises((DatabaseUnavailable, StatementTimeout)):  # a statement that stood still meets its own limit
            await busy()

    async def test_a_role_that_has_ended_by_itself(self, database: Database, paula: Actor) -> None:
        values = {"ends_at": SOON + timedelta(minutes=1)}
        await change(database, update(RoleBinding).where(RoleBinding.user_id == paula.id).values(values))
        actor = await identify_again(database, Policies(database), paula, at=SOON)
        async with database.transaction() as session:
            assert await hold_standing(session, actor, clock=CLOCK) == SOON
            assert await hold_standing(session, actor, clock=SimulatedClock(values["ends_at"])) is None

    @pytest.mark.usefixtures("patient")
    async def test_a_role_that_ends_by_itself_while_the_read_waits(self, database: Database, paula: Actor) -> None:
        ends_at = SOON + timedelta(minutes=1)
        await change(database, update(RoleBinding).where(RoleBinding.user_id == paula.id).values(ends_at=ends_at))
        actor = await identify_again(database, Policies(database), paula, at=SOON)
        clock = SimulatedClock(SOON)

        async def held() -> datetime | None:
            async with database.transaction() as session:
                return await hold_standing(session, actor, clock=clock)

        async with database.transaction() as withdrawing:
            await withdrawing.execute(ALONE)
            waiting = asyncio.create_task(held())
            await until_one_waits(database)
            clock.advance(timedelta(minutes=1))
        assert await waiting is None

    @withdrawals
    async def test_a_long_change_holds_nobody_up(self, database: Database, paula: Actor, end: End) -> None:
        async with database.transaction() as changing:
            await changing.execute(end(paula))
            assert await stands(database, paula)


class TestRecognised:
    @pytest.fixture
    async def held(self, database: Database) -> tuple[Recognised, str]:
        async with database.transaction() as session:
            user = await make_user(session, f"user-{new_id().hex[-8:]}")
        text = await issue(database, ActorKind.USER, user)
        recognised = Recognised()
        await known(database, text, recognised)
        return recognised, text

    def test_a_stranger_is_not(self) -> None:
        assert Recognised().standing("ghu_x", AT, REQUEST) is None

    @pytest.mark.parametrize(("seconds", "is_known"), [(0, True), (59, True), (60, False), (-1, False)])
    async def test_for_as_long_as_no_use_is_to_be_noted(
        self, held: tuple[Recognised, str], seconds: int, is_known: bool
    ) -> None:
        recognised, text = held
        assert (recognised.standing(text, AT + timedelta(seconds=seconds), REQUEST) is not None) is is_known

    async def test_who_has_no_token_is_not_kept(self) -> None:
        recognised = Recognised()
        recognised.keep("ghu_x", system_actor("tests"), AT)
        assert recognised.standing("ghu_x", AT, REQUEST) is None

    async def test_the_oldest_goes_first(
        self, held: tuple[Recognised, str], monkeypatch: pytest.MonkeyPatch, database: Database
    ) -> None:
        recognised, first = held
        monkeypatch.setattr(module, "CALLERS_MAX", 1)
        async with database.transaction() as session:
            user = await make_user(session, f"user-{new_id().hex[-8:]}")
        second = await issue(database, ActorKind.USER, user)
        await known(database, second, recognised)
        assert recognised.standing(first, AT, REQUEST) is None
        assert recognised.standing(second, AT, REQUEST) is not None

    async def test_when_a_temporary_role_has_begun_or_ended_they_are_looked_up_again(self, database: Database) -> None:
        recognised = Recognised()
        async with database.transaction() as session:
            user = await make_user(session, f"brief-{new_id().hex[-8:]}")
            session.add(
                RoleBinding(
                    id=new_id(), subject_kind="USER", subject_id=user, role="viewer", created_at=AT, ends_at=SOON
                )
            )  # fmt: skip
        text = await issue(database, ActorKind.USER, user)
        await known(database, text, recognised)
        assert recognised.standing(text, SOON - timedelta(microseconds=1), REQUEST) is not None
        assert recognised.standing(text, SOON, REQUEST) is None
