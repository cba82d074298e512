"""Rounds of dispatchers: many receivers at once, paused ones, and what goes wrong in the house itself."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from guildhall.clock import new_id
from guildhall.inbox import dispatching
from guildhall.inbox.deliveries import WEBHOOK_AT_ONCE_MAX, WEBHOOK_LEASE_SECONDS
from guildhall.inbox.webhooks import delete_webhook, pause_webhook, resume_webhook
from guildhall.outbox.outbox import claim
from tests.guildhall.inbox.office import Office, settled
from tests.guildhall.inbox.receivers import HANGS, receiving


class TestManyReceivers:
    async def test_a_dead_one_keeps_nobody_else_waiting(self, office: Office) -> None:
        async with receiving(HANGS) as dead, receiving() as alive:
            await office.register(dead.url)
            await office.register(alive.url)
            for _ in range(10):
                await office.tell()
            async with office.dispatcher() as dispatcher, asyncio.timeout(180):
                while len(alive.taken) < 10:
                    await dispatcher.begin_round()
                    await asyncio.sleep(0.01)
            assert len(dead.taken) == dead.at_once_most == WEBHOOK_AT_ONCE_MAX

    async def test_many_dead_ones_leave_room_for_who_is_alive(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dispatching, "AT_ONCE_MAX", 8)
        async with AsyncExitStack() as opened:
            dead = [await opened.enter_async_context(receiving(HANGS)) for _ in range(4)]
            for each in dead:
                await office.register(each.url)
            for _ in range(3):
                await office.tell()
            dispatcher = await opened.enter_async_context(office.dispatcher())
            await opened.enter_async_context(asyncio.timeout(180))
            while sum(len(each.taken) for each in dead) < 4:
                await dispatcher.begin_round()
                await asyncio.sleep(0.01)
            alive = [await opened.enter_async_context(receiving()) for _ in range(2)]
            for each in alive:
                await office.register(each.url)
            office.clock.advance(seconds=1)
            for _ in range(3):
                await office.tell()
            while [len(each.taken) for each in alive] != [3, 3]:
                await dispatcher.begin_round()
                await asyncio.sleep(0.01)
            assert [len(each.taken) for each in dead] == [1, 1, 1, 1], "half is kept for who has nothing under way"

    async def test_one_is_asked_no_more_at_once_by_two_workers(self, office: Office) -> None:
        async with receiving(HANGS) as receiver:
            await office.register(receiver.url)
            for _ in range(10):
                await office.tell()
            async with office.dispatcher(owner="one") as one, office.dispatcher(owner="two") as two:
                for _ in range(3):
                    await asyncio.gather(one.begin_round(), two.begin_round())
                leased = [each for each in await office.deliveries() if each.lease_owner is not None]
                assert len(leased) == WEBHOOK_AT_ONCE_MAX

    async def test_one_worker_has_no_more_under_way(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dispatching, "AT_ONCE_MAX", 3)
        async with receiving(HANGS) as one, receiving(HANGS) as other:
            await office.register(one.url)
            await office.register(other.url)
            for _ in range(4):
                await office.tell()
            async with office.dispatcher() as dispatcher:
                assert [await dispatcher.begin_round() for _ in range(2)] == [4 + 2, 0]
                assert len(dispatcher._posting) == 2, "the third is for who has nothing under way"


class TestPausing:
    async def test_what_comes_up_waits_and_goes_out_afterwards(self, office: Office) -> None:
        async with receiving() as receiver:
            made = await office.register(receiver.url)
            actor = await office.actor("mia")
            at = office.clock.now()
            async with office.database.transaction() as session:
                await pause_webhook(session, actor, webhook_id=made.id, at=at, new_id=new_id)
            await office.tell()
            await office.send()
            assert (receiver.taken, (await office.delivery()).attempts) == ([], 0)
            async with office.database.transaction() as session:
                await resume_webhook(session, actor, webhook_id=made.id, at=at, new_id=new_id)
            await office.send()
            assert len(receiver.taken) == 1

    async def test_one_that_is_deleted_while_something_is_under_way(
        self, office: Office, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with receiving(HANGS) as receiver:
            made = await office.register(receiver.url)
            actor = await office.actor("mia")
            await office.tell()
            async with office.dispatcher() as dispatcher:
                await dispatcher.begin_round()
                async with office.database.transaction() as session:
                    await delete_webhook(session, actor, webhook_id=made.id, at=office.clock.now(), new_id=new_id)
                receiver.hangs_up.set()
                await settled(dispatcher)
        assert await office.deliveries() == []
        assert "sent by two" not in caplog.text


class TestRun:
    async def test_goes_on_after_a_failure_and_ends_with_the_worker(
        self, office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(dispatching, "LOOKS_EVERY_SECONDS", 0.01)
        failing = iter([True])

        async def claimed(*given: object, **more: object) -> object:
            if next(failing, False):
                raise ConnectionError
            return await claim(*given, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(dispatching, "claim", claimed)
        async with receiving() as receiver:
            await office.register(receiver.url)
            await office.tell()
            arrived = asyncio.Event()
            receiver.on_request = arrived.set
            async with (
                asyncio.timeout(180),
                dispatching.dispatching(
                    database=office.database, settings=office.settings, clock=office.clock, new_id=new_id, owner="w"
                ),
            ):
                await arrived.wait()
        assert "Sending what is to leave the house failed" in caplog.text

    async def test_waits_for_room_where_it_has_none(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dispatching, "AT_ONCE_MAX", 1)
        monkeypatch.setattr(dispatching, "LOOKS_EVERY_SECONDS", 0.01)
        async with receiving() as receiver:
            await office.register(receiver.url)
            for _ in range(3):
                await office.tell()
            async with office.dispatcher() as dispatcher, asyncio.timeout(180):
                running = asyncio.create_task(dispatcher.run())
                while len(receiver.taken) < 3:
                    await asyncio.sleep(0.01)
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            assert receiver.at_once_most == 1

    async def test_what_cannot_be_concluded_is_logged_and_follows_again(
        self, office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def fail(*_given: object, **_more: object) -> bool:
            raise ConnectionError

        async with receiving() as receiver:
            await office.register(receiver.url)
            await office.tell()
            with monkeypatch.context() as patch:
                patch.setattr(dispatching, "conclude", fail)
                await office.send()
            assert "was not concluded; it follows again" in caplog.text
            office.clock.advance(seconds=WEBHOOK_LEASE_SECONDS)
            await office.send()
            assert len(receiver.taken) == 2
