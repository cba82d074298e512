"""Failures count in whichever process they were made, and a database that is away stops nobody from counting."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from joserfc.jwk import RSAKey
from sqlalchemy import select, update

from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import RequestContext
from guildhall.auth.attempts import WINDOW, Attempts, TooManyAttempts
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import FailedSignIn, Token
from guildhall.auth.tokens import TokenUnknown, hash_token, make_token
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database, ReadSession, WriteSession
from guildhall.errors import Unavailable
from guildhall.http import attempts as module
from guildhall.http import known_tokens
from guildhall.http.attempts import SharedAttempts
from tests.conftest import MONDAY_MORNING
from tests.fake_issuer import SECOND
from tests.house import OWN, VIEWER, House, ask, bearer
from tests.waiting import PATIENCE_SECONDS

WHY = TokenUnknown("This token is not known here.")
HERE = RequestContext(address="192.0.2.1")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, tokens are looked up to the end."""
    monkeypatch.setattr(known_tokens, "ANSWER_SECONDS_MAX", PATIENCE_SECONDS)


class Away(Database):
    """One that does not answer, until it is back."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.engine, audit_key=database.session_info["audit_key"])
        self.is_away = True
        self.asked = asyncio.Event()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[ReadSession]:
        self._refuse()
        async with super().read() as session:
            yield session

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[WriteSession]:
        self._refuse()
        async with super().transaction() as session:
            yield session

    def _refuse(self) -> None:
        self.asked.set()
        if self.is_away:
            raise Unavailable("The database is away.")


def process(database: Database, clock: SimulatedClock, *, per_minute: int = 3) -> SharedAttempts:
    return SharedAttempts(remembered=Attempts(per_minute), database=database, clock=clock, new_id=new_id)


async def refused_events(database: Database) -> Sequence[AuditEvent]:
    async with database.read() as session:
        statement = select(AuditEvent).where(AuditEvent.outcome == "REFUSED").order_by(AuditEvent.id)
        return (await session.scalars(statement)).all()


class TestTwoProcesses:
    async def test_they_count_together_and_a_new_one_counts_on(self, fresh_database: Database, tmp_path: Path) -> None:
        first, second = [House(fresh_database, tmp_path, failed_sign_ins_per_minute=4) for _ in range(2)]
        good, unseen = await first.token_of("bob"), await first.token_of("eve")
        async with first.browser() as one, second.browser() as two, second.browser("192.0.2.2") as other:
            assert (await ask(two, **bearer(good)))[0] == 200
            for browser, wrong in ((one, "nonsense"), (two, first.issuer.token(key=SECOND)), (one, "ghu_" + "a" * 38)):
                assert (await ask(browser, **bearer(wrong)))[0] == 401
            assert (await two.get("/auth/callback")).status_code == 401
            for browser in (two, one):
                refused = await browser.post("/graphql", json={"query": VIEWER}, headers=bearer("nonsense"))
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "61")
                assert (await browser.get("/auth/login")).status_code == 429
            third = House(fresh_database, tmp_path, failed_sign_ins_per_minute=4)
            async with third.browser() as restarted:
                assert await ask(restarted, **bearer(make_token(ActorKind.USER))) == (429, "TOO_MANY_ATTEMPTS")
                assert (await ask(restarted, **bearer(unseen)))[0] == 200, "it is known here"
            assert (await ask(two, **bearer(good)))[0] == 200, "it counted a moment ago"
            assert (await ask(other, **bearer(unseen)))[0] == 200
            for house in (first, second):
                house.later(seconds=61)
            assert (await ask(one, **bearer(unseen)))[0] == 200
        events = await refused_events(fresh_database)
        assert [(event.action, event.reason_code) for event in events] == [
            ("guildhall:token:issue", "TOKEN_REFUSED")
        ] * 3

    async def test_beginning_to_sign_in_counts_too(self, fresh_database: Database, tmp_path: Path) -> None:
        first, second = [House(fresh_database, tmp_path, failed_sign_ins_per_minute=2) for _ in range(2)]
        async with first.browser() as one, second.browser() as two:
            statuses = [(await browser.get("/auth/login")).status_code for browser in (one, two, one, two)]
        assert statuses == [303, 303, 429, 429]
        assert await refused_events(fresh_database) == []

    async def test_pictures_in_other_sites_pages_begin_nothing(self, fresh_database: Database, tmp_path: Path) -> None:
        house = House(fresh_database, tmp_path, failed_sign_ins_per_minute=2)
        picture = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "image"}
        link = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}
        async with house.browser() as browser:
            refused = [await browser.get("/auth/login", headers=picture) for _ in range(5)]
            assert {answer.status_code for answer in refused} == {401}
            assert all("Signing in begins in a page of its own" in answer.text for answer in refused)
            assert (await browser.get("/auth/login", headers=link)).status_code == 303

    async def test_many_at_once_are_told_one_after_the_other_and_no_more_than_the_limit(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        made = process(fresh_database, clock, per_minute=4)
        await asyncio.gather(*(made.count(HERE, clock.now(), WHY) for _ in range(50)))
        async with fresh_database.read() as session:
            counted = (await session.scalars(select(FailedSignIn.failures))).one()
        assert counted == 4


class TestNeighbours:
    """Of a network that has to wait because of somebody's guesses."""

    async def test_whose_token_counts_are_served_and_others_wait(
        self, fresh_database: Database, tmp_path: Path
    ) -> None:
        house = House(fresh_database, tmp_path, failed_sign_ins_per_minute=1)
        person, program = await house.token_of("bob"), await house.token_of_program("bot")
        withdrawn = await house.token_of("eve")
        async with fresh_database.transaction() as session:
            await session.execute(
                update(Token).where(Token.hash == hash_token(withdrawn)).values(revoked_at=MONDAY_MORNING)
            )
        async with house.browser() as browser:
            assert (await ask(browser, **bearer("nonsense")))[0] == 401
            for token in (person, program):
                assert (await ask(browser, "{ viewer { memberships { roles } } }", **bearer(token)))[0] == 200
            for wrong in (make_token(ActorKind.USER), withdrawn, "nonsense", house.issuer.token("dan", key=SECOND)):
                assert await ask(browser, **bearer(wrong)) == (429, "TOO_MANY_ATTEMPTS")
        assert len(await refused_events(fresh_database)) == 1

    async def test_sessions_and_tokens_of_the_issuer_that_were_seen_are_served(
        self, fresh_database: Database, tmp_path: Path
    ) -> None:
        first = House(fresh_database, tmp_path)
        token = first.issuer.token("dan")
        async with first.browser() as dan, first.browser() as ada:
            assert (await ask(dan, **bearer(token)))[0] == 200
            assert (await first.sign_in(ada)).status_code == 303
            second = House(fresh_database, tmp_path, failed_sign_ins_per_minute=2)
            async with second.browser() as elsewhere:
                assert (await ask(elsewhere, **bearer("nonsense")))[0] == 401, "beside the sign-in that was begun"
                elsewhere.cookies.update(ada.cookies)
                assert (await ask(elsewhere, **OWN))[0] == 200
                assert (await ask(elsewhere, **bearer(token)))[0] == 200
                assert await ask(elsewhere, **bearer(second.issuer.token("eve"))) == (429, "TOO_MANY_ATTEMPTS")

    async def test_who_brings_a_token_that_the_issuer_vouches_for_is_served_at_once(
        self, fresh_database: Database, tmp_path: Path
    ) -> None:
        house = House(fresh_database, tmp_path, failed_sign_ins_per_minute=1)
        forged = house.issuer.token("dan", key=RSAKey.import_key(SECOND.as_pem(private=True), {"kid": "first"}))
        async with house.browser("192.0.2.2") as elsewhere, house.browser() as browser:
            assert (await ask(elsewhere, **bearer(house.issuer.token("ada"))))[0] == 200, "the keys are known now"
            assert (await ask(browser, **bearer("nonsense")))[0] == 401
            assert await ask(browser, **bearer(forged)) == (429, "TOO_MANY_ATTEMPTS")
            assert (await ask(browser, **bearer(house.issuer.token("dan"))))[0] == 200
            cookie = f"__Host-guildhall={house.issuer.token('eve')}"
            assert await ask(browser, cookie=cookie, **OWN) == (429, "TOO_MANY_ATTEMPTS")


class TestAway:
    async def test_each_goes_by_what_it_counted_itself(self, fresh_database: Database, clock: SimulatedClock) -> None:
        made = process(Away(fresh_database), clock, per_minute=2)
        for _ in range(2):
            await made.admit(HERE.address, clock.now())
            await made.count(HERE, clock.now(), WHY)
        with pytest.raises(TooManyAttempts):
            await made.admit(HERE.address, clock.now())
        with pytest.raises(TooManyAttempts):
            await made.admit(HERE.address, clock.now(), token_hash=b"of anybody")
        assert await refused_events(fresh_database) == []


class TestTell:
    async def test_auditors_are_told_of_what_was_left_also_by_another_process(
        self, fresh_database: Database, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "TELL_SECONDS", 0.01)
        made = process(fresh_database, clock, per_minute=100)
        for _ in range(5):
            await made.count(HERE, clock.now(), WHY)
        telling = asyncio.create_task(process(fresh_database, SimulatedClock(MONDAY_MORNING), per_minute=1).tell())
        clock.advance(WINDOW)
        another = asyncio.create_task(process(fresh_database, clock, per_minute=1).tell())
        async with asyncio.timeout(120):
            while len(await refused_events(fresh_database)) < 4:
                await asyncio.sleep(0.01)
        for task in (telling, another):
            task.cancel()
        await asyncio.wait([telling, another])
        *_, last = await refused_events(fresh_database)
        assert last.after == {"failures": 2, "addresses": 1}
        async with fresh_database.read() as session:
            assert (await session.scalars(select(FailedSignIn))).all() == []

    async def test_it_goes_on_when_the_database_is_back(
        self, fresh_database: Database, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "TELL_SECONDS", 0.01)
        away = Away(fresh_database)
        telling = asyncio.create_task(process(away, clock).tell())
        async with asyncio.timeout(120):
            await away.asked.wait()
        async with fresh_database.transaction() as session:
            row = {"address": "a", "since": clock.now() - WINDOW, "failures": 7, "recorded": 0, "unrecorded": 7}
            session.add(FailedSignIn(**row))
        away.is_away = False
        async with asyncio.timeout(120):
            while not await refused_events(fresh_database):
                await asyncio.sleep(0.01)
        telling.cancel()
        await asyncio.wait([telling])
        (event,) = await refused_events(fresh_database)
        assert event.after == {"failures": 7, "addresses": 1}
