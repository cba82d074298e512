"""A sink has what it was given, or says that it has not."""

import asyncio
import base64
import fcntl
import gzip
import hashlib
import hmac
import os
from pathlib import Path

import httpx
import pytest

from guildhall.audit import stream_sinks
from guildhall.audit.stream_cursor import Batch
from guildhall.audit.stream_sinks import (
    Authentication,
    BatchTooLarge,
    Body,
    FileSink,
    HttpSink,
    SinkUnavailable,
)
from guildhall.clock import SimulatedClock
from tests.guildhall.audit.receiver import Receiver, receiving

LINES = [b'{"metadata":{"sequence":0}}', b'{"metadata":{"sequence":1}}']
BATCH = Batch(LINES, 0, 2, 0)
WHOLE = b"".join(line + b"\n" for line in LINES)


def batch(first: int) -> Batch:
    return Batch([b"{}"], first, first + 1, 0)


class TestFileSink:
    async def test_lines_are_added(self, tmp_path: Path) -> None:
        path = tmp_path / "siem" / "audit.jsonl"
        sink = FileSink(path, bytes_max=10**6)
        await sink.send(BATCH)
        await sink.send(BATCH)
        assert path.read_bytes() == WHOLE * 2
        assert path.stat().st_mode & 0o777 == 0o600
        await sink.close()
        await sink.close()

    async def test_a_large_one_is_moved_aside_and_none_is_ever_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "audit.jsonl"
        sink = FileSink(path, bytes_max=3)
        for first in (0, 1, 1, 1):  # the last two as after a replay
            await sink.send(batch(first))
        await sink.close()
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
            "audit.jsonl": b"{}\n",
            "audit.jsonl.00000000000000000001": b"{}\n",
            "audit.jsonl.00000000000000000001.1": b"{}\n",
            "audit.jsonl.00000000000000000001.2": b"{}\n",
        }

    async def test_somebody_else_may_move_it_aside(self, tmp_path: Path) -> None:
        path = tmp_path / "audit.jsonl"
        sink = FileSink(path, bytes_max=10**6)
        await sink.send(batch(0))
        path.rename(tmp_path / "elsewhere")
        await sink.send(batch(1))
        path.rename(tmp_path / "elsewhere-too")
        path.write_bytes(b"{}\n")
        await sink.send(batch(2))
        await sink.close()
        assert (tmp_path / "elsewhere").read_bytes() == (tmp_path / "elsewhere-too").read_bytes() == b"{}\n"
        assert path.read_bytes() == b"{}\n{}\n"

    async def test_what_a_crash_left_of_a_line_is_a_line_of_its_own(self, tmp_path: Path) -> None:
        path = tmp_path / "audit.jsonl"
        path.write_bytes(b'{}\n{"half')
        sink = FileSink(path, bytes_max=10**6)
        await sink.send(batch(1))
        await sink.close()
        assert path.read_bytes() == b'{}\n{"half\n{}\n'

    async def test_two_processes_never_write_to_one_file(self, tmp_path: Path) -> None:
        path = tmp_path / "audit.jsonl"
        mine, other = FileSink(path, bytes_max=10**6), FileSink(path, bytes_max=10**6)
        await mine.send(batch(0))
        with path.open("ab") as writing:
            fcntl.flock(writing.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)  # the first one has let go of it
            with pytest.raises(SinkUnavailable, match="cannot be written to: another process writes to it"):
                await other.send(batch(1))
        assert path.read_bytes() == b"{}\n"
        await other.send(batch(1))  # though the first one has not closed
        await mine.close()
        await other.close()
        assert path.read_bytes() == b"{}\n{}\n"

    async def test_what_another_moved_aside_between_opening_and_locking_does_not_grow(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "audit.jsonl"
        sink = FileSink(path, bytes_max=10**6)
        await sink.send(batch(0))

        def moved_first(_descriptor: int, _how: int) -> None:
            path.rename(tmp_path / "aside")

        monkeypatch.setattr(fcntl, "flock", moved_first)
        with pytest.raises(SinkUnavailable, match="another process has just moved it aside"):
            await sink.send(batch(1))
        monkeypatch.undo()
        await sink.send(batch(1))
        assert (tmp_path / "aside").read_bytes() == path.read_bytes() == b"{}\n"

    async def test_a_full_disk_leaves_no_half_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "audit.jsonl"
        sink = FileSink(path, bytes_max=10**6)
        await sink.send(batch(0))
        write_all = stream_sinks._write_all

        def full(file: object, content: bytes) -> None:
            write_all(file, content[:1])  # type: ignore[arg-type]  # whatever file it is
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(stream_sinks, "_write_all", full)
        with pytest.raises(SinkUnavailable, match="cannot be written to: No space left on device"):
            await sink.send(batch(1))
        assert path.read_bytes() == b"{}\n"
        monkeypatch.undo()
        await sink.send(batch(1))
        await sink.close()
        assert path.read_bytes() == b"{}\n{}\n"

    async def test_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(SinkUnavailable, match=r"Not a directory|File exists"):
            await FileSink(tmp_path / "file" / "audit.jsonl", bytes_max=1).send(batch(0))


def to(
    receiver: Receiver, clock: SimulatedClock, *, body: Body = Body.NDJSON, secret_file: Path | None = None,
    authentication: Authentication = Authentication.BEARER,
) -> HttpSink:  # fmt: skip
    return HttpSink(receiver.url, clock, body=body, secret_file=secret_file, authentication=authentication)


class TestHttpSink:
    @pytest.mark.parametrize(
        ("body", "kind", "want"),
        [
            (Body.NDJSON, "application/x-ndjson", WHOLE),
            (Body.ARRAY, "application/json", b"[" + b",".join(LINES) + b"]"),
        ],
    )
    async def test_both_forms(self, clock: SimulatedClock, body: Body, kind: str, want: bytes) -> None:
        async with receiving() as receiver:
            sink = to(receiver, clock, body=body)
            await sink.send(BATCH)
            await sink.close()
        ((headers, content),) = receiver.requests
        assert gzip.decompress(content) == want
        assert (headers["content-type"], headers["content-encoding"], headers["webhook-id"]) == (kind, "gzip", "0-1")
        assert receiver.leaves() == [0, 1]
        assert "authorization" not in headers

    @pytest.mark.parametrize(("secret", "want"), [("abc\n", "Bearer abc"), ("Splunk abc", "Splunk abc")])
    async def test_a_token(self, clock: SimulatedClock, tmp_path: Path, secret: str, want: str) -> None:
        (tmp_path / "secret").write_text(secret)
        async with receiving() as receiver:
            sink = to(receiver, clock, secret_file=tmp_path / "secret")
            await sink.send(BATCH)
            (tmp_path / "secret").write_text("next")
            await sink.send(BATCH)
            await sink.close()
        assert [headers["authorization"] for headers, _ in receiver.requests] == [want, "Bearer next"]

    async def test_a_signature_over_what_is_sent(self, clock: SimulatedClock, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("abc")
        async with receiving() as receiver:
            sink = to(receiver, clock, secret_file=tmp_path / "secret", authentication=Authentication.HMAC)
            await sink.send(BATCH)
            await sink.close()
        ((headers, content),) = receiver.requests
        moment = str(int(clock.now().timestamp()))
        code = hmac.new(b"abc", f"0-1.{moment}.".encode() + content, hashlib.sha256).digest()
        assert headers["webhook-timestamp"] == moment
        assert headers["webhook-signature"] == f"v1,{base64.b64encode(code).decode()}"
        assert "authorization" not in headers

    @pytest.mark.parametrize(
        ("status", "error", "want"),
        [
            (413, BatchTooLarge, "does not take 2 events at once"),
            (500, SinkUnavailable, "answered 500"),
            (302, SinkUnavailable, "answered 302"),
            (401, SinkUnavailable, "answered 401"),
        ],
    )
    async def test_only_2xx_is_a_yes(
        self, clock: SimulatedClock, status: int, error: type[SinkUnavailable], want: str
    ) -> None:
        async with receiving() as receiver:
            receiver.answers = [status]
            sink = to(receiver, clock)
            with pytest.raises(error, match=want):
                await sink.send(BATCH)
            await sink.close()
        assert receiver.taken == []

    async def test_one_that_is_away(self, clock: SimulatedClock, tmp_path: Path) -> None:
        async with receiving() as receiver:
            pass
        sink = to(receiver, clock)
        with pytest.raises(SinkUnavailable, match="cannot be reached: ConnectError"):
            await sink.send(BATCH)
        await sink.close()
        sink = to(receiver, clock, secret_file=tmp_path / "none")
        with pytest.raises(SinkUnavailable, match="No such file"):
            await sink.send(BATCH)
        await sink.close()

    @pytest.mark.parametrize("authentication", list(Authentication))
    @pytest.mark.parametrize("secret", [b"s3cr3t\nmore", b"s3cr3t\x00", b"s3cr3t\xff", b"\n"])
    async def test_a_secret_that_cannot_be_sent_is_not_told(
        self, clock: SimulatedClock, tmp_path: Path, secret: bytes, authentication: Authentication
    ) -> None:
        file = tmp_path / "secret"
        file.write_bytes(secret)
        async with receiving() as receiver:
            sink = to(receiver, clock, secret_file=file, authentication=authentication)
            with pytest.raises(SinkUnavailable) as caught:
                await sink.send(BATCH)
            await sink.close()
        kind = "ASCII" if authentication is Authentication.BEARER else "UTF-8"
        assert caught.value.message == f"The secret in {file} is not one line of printable {kind} characters."
        assert receiver.requests == []

    async def test_only_a_signature_may_have_a_key_beyond_ascii(self, clock: SimulatedClock, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("schlüssel", encoding="utf-8")
        async with receiving() as receiver:
            sink = to(receiver, clock, secret_file=tmp_path / "secret")
            with pytest.raises(SinkUnavailable, match="not one line of printable ASCII characters"):
                await sink.send(BATCH)
            await sink.close()
            sink = to(receiver, clock, secret_file=tmp_path / "secret", authentication=Authentication.HMAC)
            await sink.send(BATCH)
            await sink.close()
        assert receiver.leaves() == [0, 1]

    async def test_what_a_refused_header_holds_is_not_told(self, clock: SimulatedClock) -> None:
        def refuse(_: httpx.Request) -> httpx.Response:
            raise httpx.LocalProtocolError("Illegal header value b'Bearer s3cr3t'")

        sink = HttpSink(
            "http://siem.example/", clock, body=Body.NDJSON, secret_file=None, authentication=Authentication.BEARER,
            transport=httpx.MockTransport(refuse),
        )  # fmt: skip
        with pytest.raises(SinkUnavailable) as caught:
            await sink.send(BATCH)
        await sink.close()
        assert caught.value.message == "The receiver of the audit stream cannot be reached: LocalProtocolError."

    async def test_one_that_hangs(self, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stream_sinks, "SEND_SECONDS_MAX", 0)

        async def hang(_: httpx.Request) -> httpx.Response:
            await asyncio.sleep(3_600)
            raise AssertionError("nobody waits for so long")

        sink = HttpSink(
            "http://siem.example/", clock, body=Body.NDJSON, secret_file=None, authentication=Authentication.BEARER,
            transport=httpx.MockTransport(hang),
        )  # fmt: skip
        with pytest.raises(SinkUnavailable, match="cannot be reached: TimeoutError"):
            await sink.send(BATCH)
        await sink.close()
