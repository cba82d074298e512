"""Every sealed event arrives, in order, whatever happens between the sending and the cursor."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from guildhall.audit import streaming
from guildhall.audit.checkpoints import Signer
from guildhall.audit.record import record
from guildhall.audit.sealing import seal_once
from guildhall.audit.stream_cursor import Batch, Progress, move_cursor, read_progress
from guildhall.audit.stream_sinks import Authentication, Body, FileSink, HttpSink, Sink, SinkUnavailable
from guildhall.audit.streaming import Streamer, open_streamer
from guildhall.auth.actor import system_actor
from guildhall.clock import Clock, SimulatedClock, SystemClock, new_id
from guildhall.db.transaction import Database
from guildhall.settings import Settings
from tests.guildhall.audit.ocsf_schema import problems
from tests.guildhall.audit.receiver import Receiver, receiving

SIGNERS = [Signer("guildhall.example/audit", b"s" * 32)]
WORKER = system_actor("worker")
WAIT_SECONDS_MAX = 60


async def write(database: Database, clock: Clock, number: int = 1) -> None:
    async with database.transaction() as session:
        for _ in range(number):
            await record(session, WORKER, action="registry:dataset:read", at=clock.now(), new_id=new_id)
    await seal_once(database, SIGNERS, at=clock.now())


def streamer(database: Database, sink: Sink, clock: Clock, owner: str = "one") -> Streamer:
    return Streamer(
        database, sink, clock, owner=owner, origin="guildhall.example/audit", new_id=new_id, chance=lambda: 1.0
    )


def over_http(receiver: Receiver, clock: Clock) -> HttpSink:
    return HttpSink(receiver.url, clock, body=Body.NDJSON, secret_file=None, authentication=Authentication.BEARER)


async def progress(database: Database) -> Progress:
    async with database.read() as session:
        found = await read_progress(session)
    assert found is not None
    return found


class Dropping:
    """A sink that takes a batch and then has the process killed before the cursor moves."""

    def __init__(self, inner: Sink) -> None:
        self._inner = inner

    async def send(self, batch: Batch) -> None:
        await self._inner.send(batch)
        raise asyncio.CancelledError

    async def close(self) -> None:
        await self._inner.close()


class TestAttempt:
    async def test_batch_after_batch_and_then_it_waits(self, fresh_database: Database, clock: SimulatedClock) -> None:
        await write(fresh_database, clock, 1_200)
        async with receiving() as receiver:
            mine = streamer(fresh_database, over_http(receiver, clock), clock)
            pauses = [await mine.attempt() for _ in range(4)]
            await write(fresh_database, clock)
            pauses.append(await mine.attempt())
            await mine.close()
        assert pauses == [0, 0, 0, streaming.IDLE_SECONDS, 0]
        assert receiver.leaves() == list(range(1_201))
        assert len({event["metadata"]["uid"] for event in receiver.taken}) == 1_201
        assert [problems(event) for event in receiver.taken[:2]] == [[], []]
        assert await progress(fresh_database) == Progress(1_201, 1_201, clock.now(), None)

    async def test_a_crash_between_sending_and_the_cursor_brings_the_same_events_again(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        await write(fresh_database, clock, 3)
        async with receiving() as receiver:
            dying = Dropping(over_http(receiver, clock))
            with pytest.raises(asyncio.CancelledError):
                await streamer(fresh_database, dying, clock).attempt()
            await dying.close()
            first = [event["metadata"]["uid"] for event in receiver.taken]
            assert (await progress(fresh_database)).next_leaf == 0
            other = streamer(fresh_database, over_http(receiver, clock), clock, "two")
            assert await other.attempt() == streaming.OTHERS_SECONDS  # the dead one's lease goes on for a minute
            clock.advance(seconds=60)
            assert await other.attempt() == 0
            await other.close()
        assert receiver.leaves() == [0, 1, 2, 0, 1, 2]
        assert [event["metadata"]["uid"] for event in receiver.taken[3:]] == first
        assert [headers["webhook-id"] for headers, _ in receiver.requests] == ["0-2", "0-2"]

    async def test_two_processes_never_send_at_the_same_time(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        await write(fresh_database, clock, 700)
        async with receiving() as receiver:
            both = [streamer(fresh_database, over_http(receiver, clock), clock, name) for name in ("one", "two")]
            pauses = [await each.attempt() for each in both]
            assert pauses == [0, streaming.OTHERS_SECONDS]
            await both[0].close()
            assert await both[1].attempt() == 0
            await both[1].close()
        assert receiver.leaves() == list(range(700))

    async def test_a_lease_is_renewed_and_one_that_was_lost_moves_nothing(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        async with receiving() as receiver:
            first = streamer(fresh_database, over_http(receiver, clock), clock)
            assert await first.attempt() == streaming.IDLE_SECONDS
            for _ in range(5):
                clock.advance(seconds=30)
                assert await first.attempt() == streaming.IDLE_SECONDS
            second = streamer(fresh_database, over_http(receiver, clock), clock, "two")
            assert await second.attempt() == streaming.OTHERS_SECONDS
            clock.advance(seconds=61)
            assert await second.attempt() == streaming.IDLE_SECONDS
            assert await first.attempt() == streaming.OTHERS_SECONDS
            await write(fresh_database, clock)
            assert await second.attempt() == 0
            await first.close()
            await second.close()
        assert receiver.leaves() == [0]

    async def test_who_lost_the_lease_unaware_keeps_the_next_holder_from_no_file(
        self, fresh_database: Database, clock: SimulatedClock, tmp_path: Path
    ) -> None:
        path = tmp_path / "audit.jsonl"
        await write(fresh_database, clock)
        first = streamer(fresh_database, FileSink(path, bytes_max=10**6), clock)
        second = streamer(fresh_database, FileSink(path, bytes_max=10**6), clock, "two")
        assert await first.attempt() == 0
        async with fresh_database.transaction() as session:
            await move_cursor(session, WORKER, 0, at=clock.now(), new_id=new_id)
        assert [await second.attempt(), await first.attempt(), await second.attempt()] == [
            0, streaming.IDLE_SECONDS, streaming.IDLE_SECONDS
        ]  # fmt: skip
        await first.close()
        await second.close()
        assert [json.loads(line)["metadata"]["sequence"] for line in path.read_bytes().splitlines()] == [0, 0]

    async def test_a_receiver_that_is_away_is_asked_again_and_more_seldom(
        self, fresh_database: Database, clock: SimulatedClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        await write(fresh_database, clock, 2)
        async with receiving() as receiver:
            receiver.answers = [503] * 8
            mine = streamer(fresh_database, over_http(receiver, clock), clock)
            pauses = [await mine.attempt() for _ in range(8)]
            assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
            assert (await progress(fresh_database)).trouble == "The receiver of the audit stream answered 503."
            assert (await progress(fresh_database)).waiting == 2
            assert receiver.taken == []
            assert [await mine.attempt() for _ in range(2)] == [0, streaming.IDLE_SECONDS]
            await mine.close()
        assert receiver.leaves() == [0, 1]
        assert (await progress(fresh_database)).trouble is None
        assert "The audit record is not streamed: The receiver of the audit stream answered 503." in caplog.text

    async def test_one_that_takes_less_at_once_gets_less(self, fresh_database: Database, clock: SimulatedClock) -> None:
        await write(fresh_database, clock, 500)
        async with receiving() as receiver:
            receiver.answers = [413, 413]
            mine = streamer(fresh_database, over_http(receiver, clock), clock)
            for _ in range(6):
                await mine.attempt()
            await mine.close()
        assert [len(batch) for batch in _batches(receiver)] == [125, 125, 125, 125]
        assert receiver.leaves() == list(range(500))

    async def test_one_that_took_all_for_a_while_is_offered_more_again(
        self, fresh_database: Database, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streaming, "EVENTS_MAX", 4)
        monkeypatch.setattr(streaming, "GROW_AFTER_BATCHES", 2)
        await write(fresh_database, clock, 19)
        async with receiving() as receiver:
            receiver.answers = [413, 413, 200, 200, 200, 413]
            mine = streamer(fresh_database, over_http(receiver, clock), clock)
            pauses = [await mine.attempt() for _ in range(14)]
            await mine.close()
        spans = [headers["webhook-id"].split("-") for headers, _ in receiver.requests]
        sizes = [int(last) - int(first) + 1 for first, last in spans]
        assert sizes == [4, 2, 1, 1, 2, 2, 1, 1, 2, 2, 4, 4, 1]
        assert pauses == [1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, streaming.IDLE_SECONDS]
        assert receiver.leaves() == list(range(19))

    async def test_leaves_without_an_event_are_told_and_passed(
        self, fresh_database: Database, clock: SimulatedClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with fresh_database.transaction() as session:
            gone = "INSERT INTO audit_leaves SELECT n, gen_random_uuid(), :at, sha256('x') FROM generate_series(0, 2) n"
            await session.execute(text(gone), {"at": clock.now()})
        async with receiving() as receiver:
            mine = streamer(fresh_database, over_http(receiver, clock), clock)
            assert [await mine.attempt(), await mine.attempt()] == [0, streaming.IDLE_SECONDS]
            await mine.close()
        assert receiver.requests == []
        assert "Of the leaves from 0 to 2, 3 have left with their months for archives" in caplog.text

    async def test_a_database_that_is_away_is_not_the_end(
        self, fresh_database: Database, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await write(fresh_database, clock)
        async with receiving() as receiver:
            mine = streamer(fresh_database, over_http(receiver, clock), clock)

            async def lost(*_: Any, **__: Any) -> None:
                raise ConnectionResetError("lost")

            monkeypatch.setattr(streaming, "take_lease", lost)
            assert await mine.attempt() == 1
            monkeypatch.undo()
            monkeypatch.setattr(streaming, "move_on", lost)
            assert await mine.attempt() == 2
            monkeypatch.undo()
            assert await mine.attempt() == 0
            monkeypatch.setattr(streaming, "end_lease", lost)
            await mine.close()
        assert receiver.leaves() == [0, 0]

    async def test_trouble_that_cannot_be_noted_is_only_told(
        self, fresh_database: Database, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await write(fresh_database, clock)

        async def lost(*_: Any, **__: Any) -> None:
            raise ConnectionResetError("lost")

        class Away:
            async def send(self, _: Batch) -> None:
                raise SinkUnavailable("away")

            async def close(self) -> None: ...

        monkeypatch.setattr(streaming, "note_trouble", lost)
        mine = streamer(fresh_database, Away(), clock)
        assert [await mine.attempt(), await mine.attempt()] == [1, 2]
        assert (await progress(fresh_database)).trouble is None
        await mine.close()


def _batches(receiver: Receiver) -> list[list[int]]:
    """The leaves of each request that was taken, by the batch's own id."""
    spans = [headers["webhook-id"].split("-") for headers, _ in receiver.requests[2:]]
    return [list(range(int(first), int(last) + 1)) for first, last in spans]


class TestRun:
    async def test_into_a_file_until_told_to_stop(
        self, fresh_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streaming, "IDLE_SECONDS", 0.01)
        clock, path = SystemClock(), tmp_path / "siem" / "audit.jsonl"
        settings = Settings(data_dir=tmp_path, database_url=fresh_database.url, audit_stream_url=path.as_uri())
        mine = open_streamer(settings, fresh_database, clock, owner="one", new_id=new_id)
        assert mine is not None
        await write(fresh_database, clock, 2)
        stop = asyncio.Event()
        running = asyncio.create_task(mine.run(stop))
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while not (path.exists() and path.read_bytes().count(b"\n") == 2):
                await asyncio.sleep(0.01)
            await write(fresh_database, clock)
            while path.read_bytes().count(b"\n") != 3 or (await progress(fresh_database)).waiting:
                await asyncio.sleep(0.01)
            stop.set()
            await running
        async with fresh_database.read() as session:
            assert await session.scalar(text("SELECT lease_token FROM audit_streams")) is None


class TestOpenStreamer:
    def test_none_without_a_receiver(self, settings: Settings, database: Database, clock: SimulatedClock) -> None:
        assert open_streamer(settings, database, clock, owner="one", new_id=new_id) is None

    async def test_over_http(self, settings: Settings, fresh_database: Database, tmp_path: Path) -> None:
        clock = SystemClock()
        (tmp_path / "secret").write_text("abc")
        async with receiving() as receiver:
            told = Settings(
                data_dir=settings.data_dir, audit_stream_url=receiver.url, audit_stream_body="array",
                audit_stream_secret_file=tmp_path / "secret", audit_stream_authentication="hmac",
                audit_stream_personal_values=False,
            )  # fmt: skip
            mine = open_streamer(told, fresh_database, clock, owner="one", new_id=new_id)
            assert mine is not None
            await write(fresh_database, clock)
            assert await mine.attempt() == 0
            await mine.close()
        ((headers, _),) = receiver.requests
        assert headers["content-type"] == "application/json"
        assert headers["webhook-signature"].startswith("v1,")
        assert receiver.leaves() == [0]


class TestTime:
    async def test_what_was_sent_says_when_it_happened(self, fresh_database: Database, clock: SimulatedClock) -> None:
        at = clock.now()
        await write(fresh_database, clock)
        clock.advance(timedelta(hours=1))
        async with receiving() as receiver:
            mine = streamer(fresh_database, over_http(receiver, clock), clock)
            await mine.attempt()
            await mine.close()
        assert receiver.taken[0]["time"] == int(at.timestamp() * 1000)
        assert (await progress(fresh_database)).delivered_at == clock.now()
