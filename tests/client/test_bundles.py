"""Small files many to a request, by both clients, against a server made up here that cuts, mangles and refuses."""

import asyncio
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from guildhall_client import bundles, steps
from guildhall_client.async_client import AsyncClient
from guildhall_client.bundles import Wanted
from guildhall_client.client import Client
from guildhall_client.errors import DownloadFailed, UploadFailed

URL = "http://guildhall.test"
LONG = "m/ä" + "n" * 150 + ".txt"
FILES = {"a.bin": b"a" * 700, "b/c.bin": b"", LONG: b"long", "z.bin": b"z" * 512}
Call = Callable[..., Any]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "BACKOFF_SECONDS_FIRST", 0.0)


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Call a method of either client against a handler."""

    def run(handler: Any, method: str, *arguments: Any) -> Any:
        transport = httpx.MockTransport(handler)
        if request.param == "sync":
            with Client(URL, "ghu_token", transport=transport) as client:
                return getattr(client, method)(*arguments)

        async def run_async() -> Any:
            async with AsyncClient(URL, "ghu_token", transport=transport) as client:
                return await getattr(client, method)(*arguments)

        with asyncio.Runner() as runner:
            return runner.run(run_async())

    return run


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def packed(entries: dict[str, bytes], **given: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in entries.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            for name, value in given.items():
                setattr(member, name, value)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _negative() -> bytes:
    member = tarfile.TarInfo("a.bin")
    member.type, member.size = tarfile.XHDTYPE, -512
    return member.tobuf(tarfile.GNU_FORMAT)


NEGATIVE = _negative()


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Comes in pieces, and breaks off after the last of them if it is told to."""

    def __init__(self, content: bytes, breaks_after: int | None) -> None:
        self._content = content
        self._breaks_after = breaks_after

    def __iter__(self) -> Iterator[bytes]:
        content = self._content[: self._breaks_after]
        for start in range(0, len(content), 333):
            yield content[start : start + 333]
        if self._breaks_after is not None:
            raise httpx.ReadError("cut")

    async def __aiter__(self) -> Any:
        for chunk in self:
            yield chunk


class Server:
    """Serves files by number; `breaks` says after how many bytes the next answers end."""

    def __init__(self, files: dict[str, bytes], *, breaks: list[int] | None = None) -> None:
        self.files = files
        self.paths = {str(UUID(int=number)): path for number, path in enumerate(files, start=1)}
        self.breaks = breaks or []
        self.bundles: list[list[str]] = []
        self.single: list[str] = []

    def wanted(self, folder: Path) -> list[Wanted]:
        return [
            Wanted(path, f"{URL}/artifacts/{key}", folder / path, len(self.files[path]), sha256(self.files[path]))
            for key, path in self.paths.items()
        ]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "Bearer ghu_token"
        if request.method == "GET":
            self.single.append(self.paths[request.url.path.rpartition("/")[2]])
            return httpx.Response(200, content=self.files[self.single[-1]])
        assert request.url.path == "/artifacts/bundle"
        asked = [self.paths[key] for key in json.loads(request.content)["files"]]
        self.bundles.append(asked)
        content = packed({path: self.files[path] for path in asked})
        return httpx.Response(200, stream=Body(content, self.breaks.pop(0) if self.breaks else None))


def found(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestDownload:
    def test_small_files_come_together_and_large_ones_alone(self, call: Call, tmp_path: Path) -> None:
        server = Server({**FILES, "large": bytes(bundles.FILE_BYTES_MAX + 1)})
        seen: list[tuple[int, int]] = []
        call(server, "download_all", server.wanted(tmp_path), lambda *pair: seen.append(pair))
        assert found(tmp_path) == server.files
        assert (server.bundles, server.single) == ([list(FILES)], ["large"])
        total = 1216 + bundles.FILE_BYTES_MAX + 1
        assert seen[:4] == [(700, total), (700, total), (704, total), (1216, total)]
        assert seen[-1] == (total, total)

    def test_one_small_file_comes_alone(self, call: Call, tmp_path: Path) -> None:
        server = Server({"a": b"a"})
        call(server, "download_all", server.wanted(tmp_path))
        assert (found(tmp_path), server.bundles) == ({"a": b"a"}, [])

    def test_what_has_begun_to_arrive_goes_on(self, call: Call, tmp_path: Path) -> None:
        (tmp_path / "a.bin.part").write_bytes(FILES["a.bin"])
        server = Server(FILES)
        call(server, "download_all", server.wanted(tmp_path))
        assert found(tmp_path) == FILES
        assert (server.bundles, server.single) == ([["b/c.bin", LONG, "z.bin"]], [])

    @pytest.mark.parametrize("sizes", [(bundles.FILE_BYTES_MAX + 1, 5), (5, bundles.FILE_BYTES_MAX + 1), (5, 6)])
    def test_files_that_are_named_as_half_ones(self, call: Call, tmp_path: Path, sizes: tuple[int, int]) -> None:
        named = {"m/model.bin.part": b"p" * sizes[1], "m/model.bin": b"m" * sizes[0]}
        server = Server({**FILES, **named})
        for _ in range(2):
            call(server, "download_all", server.wanted(tmp_path))
            assert found(tmp_path) == server.files
        assert server.bundles == [list(FILES)] * 2
        assert set(server.single) == set(named)

    def test_what_lies_elsewhere_comes_alone(self, call: Call, tmp_path: Path) -> None:
        def store(request: httpx.Request) -> httpx.Response:
            assert (request.method, "Authorization" in request.headers) == ("GET", False)
            return httpx.Response(200, content=FILES[request.url.path[1:]])

        wanted = [
            Wanted(path, f"http://store.test/{path}", tmp_path / path, len(FILES[path]), sha256(FILES[path]))
            for path in ("a.bin", "z.bin")
        ]
        call(store, "download_all", wanted)
        assert set(found(tmp_path)) == {"a.bin", "z.bin"}

    def test_no_request_is_larger_than_every_server_takes(
        self, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bundles, "FILES_MAX", 2)
        server = Server(FILES)
        call(server, "download_all", server.wanted(tmp_path))
        assert [len(asked) for asked in server.bundles] == [2, 2]
        monkeypatch.setattr(bundles, "FILES_MAX", 9)
        monkeypatch.setattr(bundles, "BYTES_MAX", 704)
        server = Server(FILES)
        call(server, "download_all", server.wanted(tmp_path / "again"))
        assert [len(asked) for asked in server.bundles] == [3, 1]

    def test_a_bundle_that_breaks_off_is_asked_for_without_what_arrived(self, call: Call, tmp_path: Path) -> None:
        server = Server(FILES, breaks=[0, 2600])
        call(server, "download_all", server.wanted(tmp_path))
        assert found(tmp_path) == FILES
        assert server.bundles == [list(FILES), list(FILES), [LONG, "z.bin"]]

    def test_gives_up_after_tries_that_bring_nothing(self, call: Call, tmp_path: Path) -> None:
        server = Server(FILES, breaks=[2600] + [0] * steps.TRIES_MAX)
        with pytest.raises(DownloadFailed, match=r"the server does not answer: cut \(UNREACHABLE\)"):
            call(server, "download_all", server.wanted(tmp_path))
        assert set(found(tmp_path)) == {"a.bin", "b/c.bin"}
        assert len(server.bundles) == steps.TRIES_MAX

    def test_a_refusal_leaves_nothing(self, call: Call, tmp_path: Path) -> None:
        server = Server(FILES)
        refusal = httpx.Response(403, json={"error": {"code": "ACCESS_REFUSED", "message": "ask"}})
        with pytest.raises(DownloadFailed, match=r"ask \(ACCESS_REFUSED\)"):
            call(lambda _request: refusal, "download_all", server.wanted(tmp_path))
        assert found(tmp_path) == {}

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (packed({"a.bin": b"b" * 700}), r"a.bin: 700 bytes arrived that are not the 700 bytes registered"),
            (packed({"a.bin": b"b"}), r"a.bin: 1 bytes arrived that are not the 700 bytes registered"),
            (packed({"z.bin": b"z" * 700}), r"z.bin: 700 bytes come, 512 were expected \(BUNDLE_DAMAGED\)"),
            (packed({"../up": b"x"}), r"'../up' came, which was not asked for \(BUNDLE_DAMAGED\)"),
            (packed({"/etc/up": b"x"}), r"'/etc/up' came, which was not asked for"),
            (packed({"a.bin": b""}, type=tarfile.SYMTYPE, linkname="/etc"), "'a.bin' came, which was not asked for"),
            (packed({"b/c.bin": b""}) + b"x" * 512, None),
            (b"x" * 512, r"what the server sent is no tar: .* \(BUNDLE_DAMAGED\)"),
            (packed({LONG: b"long"}).replace(b"path=", b"past="), r"came, which was not asked for"),
            (
                packed({LONG: b"long"}).replace(b"168 path", b"000 path"),
                r"a header of the bundle cannot be read \(BUND",
            ),
            (packed({LONG: b"long"}).replace(b"168 path", b"999 path"), "a header of the bundle cannot be read"),
            (packed({LONG: b"long"}).replace(b"168 path", b"xxx path"), "a header of the bundle cannot be read"),
            (packed({LONG: b"long"}).replace(b"path=m", b"path=\xff"), "a header of the bundle cannot be read"),
            (NEGATIVE, r"a\.bin: -512 bytes come, 65536 were expected \(BUNDLE_DAMAGED\)"),
            (packed({"a.bin": FILES["a.bin"]}), r"b/c.bin was asked for, and did not come \(BUNDLE_DAMAGED\)"),
        ],
    )
    def test_what_was_not_asked_for_is_not_written(
        self, call: Call, tmp_path: Path, content: bytes, message: str | None
    ) -> None:
        server = Server(FILES)
        with pytest.raises(DownloadFailed, match=message):
            call(lambda _request: httpx.Response(200, content=content), "download_all", server.wanted(tmp_path / "in"))
        assert [path.name for path in tmp_path.iterdir()] in ([], ["in"])
        assert all(FILES[path] == content for path, content in found(tmp_path / "in").items())

    def test_a_disk_that_cannot_be_written_is_named(self, call: Call, tmp_path: Path) -> None:
        server = Server(FILES)
        (tmp_path / "a.bin").mkdir()
        with pytest.raises(OSError, match="directory") as caught:
            call(server, "download_all", server.wanted(tmp_path))
        assert caught.value.filename == str(tmp_path / "a.bin.part")
        assert not (tmp_path / "a.bin.part").exists()


class Uploads:
    """A server that takes bundles; `lose` says how many answers get lost after they were taken."""

    def __init__(self, *, received: set[str] | None = None, lose: int = 0, refuse: int | None = None) -> None:
        self.received = received or set()
        self.lose = lose
        self.refuse = refuse
        self.files: list[str] = []
        self.requests: list[str] = []
        self.content: dict[str, bytes] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/graphql":
            return self._graphql(json.loads(request.content)["variables"]["input"])
        assert request.headers["X-Ticket"] == "signed"
        self.requests.append(f"{request.method} {request.url.path.removeprefix('/artifacts/uploads/')}")
        if request.method == "GET":
            return httpx.Response(200, json={"missing": [path for path in self.files if path not in self.received]})
        if not request.url.path.endswith("/bundle"):
            return httpx.Response(200)
        if self.refuse is not None:
            return httpx.Response(self.refuse, json={"error": {"code": "X", "message": "a.bin: wrong"}})
        with tarfile.open(fileobj=io.BytesIO(request.content)) as tar:
            for member in tar:
                opened = tar.extractfile(member)
                assert opened is not None
                self.content[member.name] = opened.read()
        if self.lose:
            self.lose -= 1
            raise httpx.ReadError("cut")
        return httpx.Response(200, json={"arrived": 1})

    def _graphql(self, sent: dict[str, Any]) -> httpx.Response:
        if "ownerId" in sent:
            return httpx.Response(200, json={"data": {"completeUploads": {"owner": {}, "missing": [], "errors": []}}})
        self.files = [file["path"] for file in sent["files"]]
        uploads = [
            {
                "path": path,
                "url": f"{URL}/artifacts/uploads/{UUID(int=number)}",
                "method": "PUT",
                "partSizeBytes": 8 << 20,
                "headers": [{"name": "X-Ticket", "value": "signed"}],
            }
            for number, path in enumerate(self.files)
        ]
        made = {"datasetVersion": {"id": "made", "number": 1}, "uploads": uploads, "errors": []}
        return httpx.Response(200, json={"data": {"createDatasetVersion": made}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path, content in FILES.items():
        target = tmp_path / path
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)
    return tmp_path


class TestUpload:
    def test_small_files_go_together_and_large_ones_alone(self, call: Call, folder: Path) -> None:
        (folder / "large").write_bytes(bytes(bundles.FILE_BYTES_MAX + 1))
        server, seen = Uploads(), list[tuple[int, int]]()
        call(server, "upload_dataset_version", "set", folder, {}, lambda *pair: seen.append(pair))
        assert server.content == FILES
        assert server.requests == ["GET bundle", "PUT bundle", f"PUT {UUID(int=2)}"]
        total = 1216 + bundles.FILE_BYTES_MAX + 1
        assert (seen[-2], seen[-1]) == ((1216, total), (total, total))

    def test_what_the_server_has_is_not_sent_again(self, call: Call, folder: Path) -> None:
        server, seen = Uploads(received={"a.bin", "z.bin"}), list[tuple[int, int]]()
        call(server, "upload_dataset_version", "set", folder, {}, lambda *pair: seen.append(pair))
        assert set(server.content) == {"b/c.bin", LONG}
        assert seen == [(1212, 1216), (1216, 1216)]

    def test_an_answer_that_was_lost(self, call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bundles, "FILES_MAX", 3)
        server = Uploads(lose=1)
        call(server, "upload_dataset_version", "set", folder, {})
        assert (server.content, server.requests) == (FILES, ["GET bundle", *["PUT bundle"] * 3])

    def test_a_refusal_names_the_file(self, call: Call, folder: Path) -> None:
        with pytest.raises(UploadFailed, match=r"a\.bin: wrong"):
            call(Uploads(refuse=400), "upload_dataset_version", "set", folder, {})

    def test_a_server_that_stays_away(self, call: Call, folder: Path) -> None:
        with pytest.raises(UploadFailed, match="the server does not answer: cut"):
            call(Uploads(lose=steps.TRIES_MAX), "upload_dataset_version", "set", folder, {})

    def test_a_file_that_changes_meanwhile(self, call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        server = Uploads()
        original = Uploads._graphql

        def change(self: Uploads, sent: dict[str, Any]) -> httpx.Response:
            (folder / "a.bin").write_bytes(b"shorter")
            return original(self, sent)

        monkeypatch.setattr(Uploads, "_graphql", change)
        with pytest.raises(UploadFailed, match=r"a\.bin has changed while it was uploaded; upload it again"):
            call(server, "upload_dataset_version", "set", folder, {})
        assert server.content == {}
