"""Both clients against answers made up here; `tests/e2e` runs them against the real server."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from guildhall_client import documents, steps
from guildhall_client.async_client import AsyncClient
from guildhall_client.client import Client
from guildhall_client.errors import DownloadFailed, MutationRefused, Problem, Refused, Unreachable, UploadFailed

URL = "http://guildhall.test"
Handler = Callable[[httpx.Request], httpx.Response]
Call = Callable[..., Any]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "BACKOFF_SECONDS_FIRST", 0.0)


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Call a method of either client against a handler."""

    def run(handler: Handler, method: str, *arguments: Any, **named: Any) -> Any:
        transport = httpx.MockTransport(handler)
        if request.param == "sync":
            with Client(URL, "ghu_token", transport=transport) as client:
                return getattr(client, method)(*arguments, **named)

        async def run_async() -> Any:
            async with AsyncClient(URL, "ghu_token", transport=transport) as client:
                return await getattr(client, method)(*arguments, **named)

        with asyncio.Runner() as runner:
            return runner.run(run_async())

    return run


def answers(*responses: httpx.Response | Exception, seen: list[httpx.Request] | None = None) -> Handler:
    left = list(responses)

    def handle(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handle


def data(content: dict[str, Any]) -> httpx.Response:
    return httpx.Response(200, json={"data": content})


class TestExecute:
    def test_sends_document_variables_and_token(self, call: Call) -> None:
        seen: list[httpx.Request] = []
        found = call(answers(data({"x": 1}), seen=seen), "execute", "query Q { x }", {"a": 2})
        assert found == {"x": 1}
        assert str(seen[0].url) == f"{URL}/graphql"
        assert seen[0].headers["Authorization"] == "Bearer ghu_token"
        assert json.loads(seen[0].content) == {"query": "query Q { x }", "variables": {"a": 2}}

    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_a_token_is_asked_for_before_each_request(self, kind: str) -> None:
        seen: list[httpx.Request] = []
        transport = httpx.MockTransport(answers(data({}), data({}), seen=seen))
        tokens = iter(["ghu_first", "ghu_second"])
        if kind == "sync":
            with Client(URL, lambda: next(tokens), transport=transport) as client:
                client.execute("{ x }")
                client.execute("{ x }")
        else:

            async def next_token() -> str:
                return next(tokens)

            async def run_async() -> None:
                async with AsyncClient(URL, next_token, transport=transport) as client:
                    await client.execute("{ x }")
                    await client.execute("{ x }")

            with asyncio.Runner() as runner:
                runner.run(run_async())
        assert [request.headers["Authorization"] for request in seen] == ["Bearer ghu_first", "Bearer ghu_second"]

    def test_a_document_of_its_own_is_named_by_its_hash(self, call: Call) -> None:
        seen: list[httpx.Request] = []
        assert call(answers(data({"node": None}), seen=seen), "execute", documents.JOB, {"id": "x"}) == {"node": None}
        digest = hashlib.sha256(documents.JOB.encode()).hexdigest()
        assert json.loads(seen[0].content) == {"documentId": f"sha256:{digest}", "variables": {"id": "x"}}

    @pytest.mark.parametrize("code", ["PERSISTED_QUERY_NOT_FOUND", "BAD_REQUEST"])
    def test_a_server_that_does_not_know_it_is_sent_the_text(self, call: Call, code: str) -> None:
        seen: list[httpx.Request] = []
        unknown = httpx.Response(400, json={"errors": [{"message": "no", "extensions": {"code": code}}]})
        found = call(answers(unknown, data({"node": None}), seen=seen), "execute", documents.JOB, {"id": "x"})
        assert found == {"node": None}
        assert json.loads(seen[1].content) == {"query": documents.JOB, "variables": {"id": "x"}}

    def test_graphql_error(self, call: Call) -> None:
        error = {"message": "no", "path": ["team", "wallet"], "extensions": {"code": "FORBIDDEN"}}
        with pytest.raises(Refused, match=r"no \(at team.wallet\) \(FORBIDDEN\)") as refused:
            call(answers(httpx.Response(200, json={"data": None, "errors": [error]})), "execute", "{ x }")
        assert refused.value.code == "FORBIDDEN"

    def test_asks_again_while_the_server_is_away(self, call: Call) -> None:
        handler = answers(httpx.ConnectError("refused"), httpx.Response(503), data({"x": 1}))
        assert call(handler, "execute", "{ x }") == {"x": 1}

    def test_gives_up(self, call: Call) -> None:
        handler = answers(*[httpx.ConnectError("refused")] * steps.TRIES_MAX)
        with pytest.raises(Unreachable, match="the server does not answer: refused"):
            call(handler, "execute", "{ x }")

    @pytest.mark.parametrize(("status", "body"), [(404, b"nginx"), (200, b"[1]")])
    def test_another_server(self, call: Call, status: int, body: bytes) -> None:
        response = httpx.Response(status, content=body)
        with pytest.raises(Unreachable, match="not as Guildhall does; is the address right"):
            call(answers(response), "execute", "{ x }")


class TestMutate:
    def test_a_retry_carries_the_same_key(self, call: Call) -> None:
        seen: list[httpx.Request] = []
        handler = answers(httpx.ReadError("cut"), data({"do": {"errors": [], "thing": 1}}), seen=seen)
        assert call(handler, "mutate", "mutation M", {"a": 1}) == {"errors": [], "thing": 1}
        keys = [json.loads(request.content)["variables"]["input"]["idempotencyKey"] for request in seen]
        assert keys[0] == keys[1] != ""

    def test_problems(self, call: Call) -> None:
        errors = [{"code": "TAKEN", "field": "name", "message": "is taken"}, {"code": "X", "message": "and x"}]
        with pytest.raises(MutationRefused, match=r"do: is taken \(TAKEN at name\); and x \(X\)") as refused:
            call(answers(data({"do": {"errors": errors}})), "mutate", "mutation M", {})
        assert refused.value.codes == ["TAKEN", "X"]
        assert refused.value.problems[0] == Problem("TAKEN", "name", "is taken")


class FakeUploads:
    """A server that takes packages in parts of four bytes and loses the first try of one part."""

    def __init__(self, *, received: dict[int, bytes] | None = None, missing: bool = False) -> None:
        self.parts: dict[str, dict[int, bytes]] = {}
        self.received = received or {}
        self.missing = missing
        self.lose = True
        self.files: list[dict[str, Any]] = []
        self.requests: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(f"{request.method} {request.url.path}")
        if request.url.path == "/graphql":
            return self._graphql(json.loads(request.content))
        name = request.url.path.removeprefix("/put/")
        if request.method == "GET":
            return httpx.Response(
                200,
                json={
                    "parts": [{"part": part, "sizeBytes": len(self.received[part])} for part in sorted(self.received)]
                },
            )
        assert request.headers["X-Ticket"] == "signed"
        part = int(request.url.params["part"])
        if part == 2 and self.lose:
            self.lose = False
            return httpx.Response(503)
        self.parts.setdefault(name, dict(self.received))[part] = request.content
        return httpx.Response(200)

    def _graphql(self, request: dict[str, Any]) -> httpx.Response:
        sent = request["variables"]["input"]
        if "ownerId" in sent:
            missing = [{"path": "a", "code": "NOT_UPLOADED", "message": "is missing"}] if self.missing else []
            return data({"completeUploads": {"owner": {}, "missing": missing, "errors": []}})
        self.files = sent.get("files", [{"path": "package", "sha256": sent.get("sha256")}])
        field, noun = ("createPackage", "package") if "sha256" in sent else ("createDatasetVersion", "datasetVersion")
        uploads = [
            {
                "path": file["path"],
                "url": f"{URL}/put/{file['path']}",
                "method": "PUT",
                "partSizeBytes": 4,
                "headers": [{"name": "X-Ticket", "value": "signed"}],
            }
            for file in self.files
        ]
        made = {"id": "made", "number": 1, "sha256": sent.get("sha256")}
        return data({field: {noun: made, "uploads": uploads, "errors": []}})

    def bytes_of(self, name: str) -> bytes:
        return b"".join(content for _, content in sorted(self.parts[name].items()))


class TestUpload:
    def test_a_folder_in_parts(self, call: Call, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        (tmp_path / "a").write_bytes(b"0123456789")
        (tmp_path / "sub" / "empty").write_bytes(b"")
        fake, seen = FakeUploads(), list[tuple[int, int]]()
        version = call(fake, "upload_dataset_version", "set", tmp_path, {"rows": "1"}, lambda *pair: seen.append(pair))
        assert version["id"] == "made"
        assert (fake.bytes_of("a"), fake.bytes_of("sub/empty")) == (b"0123456789", b"")
        assert fake.files[0] == {"path": "a", "sizeBytes": "10", "sha256": hashlib.sha256(b"0123456789").hexdigest()}
        assert seen[:3] == [(4, 10), (8, 10), (10, 10)]

    def test_parts_that_are_there_are_not_sent_again(self, call: Call, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"0123456789")
        fake = FakeUploads(received={1: b"0123", 2: b"4567"})
        call(fake, "upload_dataset_version", "set", tmp_path, {})
        assert fake.bytes_of("a") == b"0123456789"
        assert fake.requests.count("PUT /put/a") == 1

    @pytest.mark.parametrize(("received", "sent"), [({1: b"012", 2: b"345"}, 2), ({1: b""}, 4), ({3: b"89"}, 3)])
    def test_a_server_that_wants_other_parts_by_now(
        self, call: Call, tmp_path: Path, received: dict[int, bytes], sent: int
    ) -> None:
        (tmp_path / "a").write_bytes(b"0123456789")
        fake = FakeUploads(received=received)
        call(fake, "upload_dataset_version", "set", tmp_path, {})
        assert fake.bytes_of("a") == b"0123456789"
        assert fake.requests.count("PUT /put/a") == sent

    def test_what_the_server_misses(self, call: Call, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"0")
        with pytest.raises(UploadFailed, match="a: is missing"):
            call(FakeUploads(missing=True), "upload_dataset_version", "set", tmp_path, {})

    def test_a_package_has_one_digest(self, call: Call, tmp_path: Path) -> None:
        folders = []
        for name in ("one", "two"):
            folder = tmp_path / name
            (folder / "__pycache__").mkdir(parents=True)
            (folder / "train.py").write_text("print(1)")
            (folder / "__pycache__" / "x.pyc").write_text(name)
            folders.append(folder)
        packages = [call(FakeUploads(), "upload_package", "team", folder) for folder in folders]
        assert packages[0]["sha256"] == packages[1]["sha256"]

    def test_an_empty_folder_is_no_package(self, call: Call, tmp_path: Path) -> None:
        with pytest.raises(UploadFailed, match="holds no file to pack"):
            call(FakeUploads(), "upload_package", "team", tmp_path)


class TestDownload:
    CONTENT = b"0123456789"
    SHA256 = hashlib.sha256(CONTENT).hexdigest()

    def test_goes_on_where_it_broke(self, call: Call, tmp_path: Path) -> None:
        def handle(request: httpx.Request) -> httpx.Response:
            offset = int(request.headers.get("Range", "bytes=0-")[6:-1])
            assert request.headers["Authorization"] == "Bearer ghu_token"
            return httpx.Response(206 if offset else 200, stream=_Broken(self.CONTENT[offset:], breaks=not offset))

        call(handle, "download", "/artifacts/1", tmp_path / "a", size_bytes=10, sha256=self.SHA256)
        assert (tmp_path / "a").read_bytes() == self.CONTENT

    def test_wrong_bytes_are_not_left_behind(self, call: Call, tmp_path: Path) -> None:
        with pytest.raises(DownloadFailed, match="DIGEST_MISMATCH"):
            call(
                answers(httpx.Response(200, content=b"other")),
                "download",
                "/artifacts/1",
                tmp_path / "a",
                size_bytes=10,
                sha256=self.SHA256,
            )
        assert list(tmp_path.iterdir()) == []

    def test_refused(self, call: Call, tmp_path: Path) -> None:
        refusal = httpx.Response(403, json={"error": {"code": "ACCESS_GRANT_REQUIRED", "message": "ask"}})
        with pytest.raises(DownloadFailed, match=r"ask \(ACCESS_GRANT_REQUIRED\)"):
            call(answers(refusal), "download", "/artifacts/1", tmp_path / "a", size_bytes=10, sha256=self.SHA256)
        assert list(tmp_path.iterdir()) == []

    def test_another_host_does_not_get_the_token(self, call: Call, tmp_path: Path) -> None:
        def handle(request: httpx.Request) -> httpx.Response:
            assert "Authorization" not in request.headers
            return httpx.Response(200, content=self.CONTENT)

        address = "http://store.test/blob"
        call(handle, "download", address, tmp_path / "a", size_bytes=10, sha256=self.SHA256)


class TestPreview:
    def test_asks_again_while_it_is_being_made(self, call: Call) -> None:
        shown = {"columns": [{"name": "id", "type": "text"}], "rows": [["1"]], "hasMoreRows": False}
        seen: list[httpx.Request] = []
        made = [httpx.Response(503, json={"error": {"code": "BEING_FILTERED", "message": "soon"}})]
        handler = answers(*made, httpx.Response(200, json=shown), seen=seen)
        assert call(handler, "preview", f"{URL}/artifacts/1", 5) == shown
        assert [str(request.url) for request in seen] == [f"{URL}/artifacts/1/preview?rows=5"] * 2

    def test_refused(self, call: Call) -> None:
        refusal = httpx.Response(400, json={"error": {"code": "NO_PREVIEW", "message": "no table"}})
        with pytest.raises(DownloadFailed, match=r"no table \(NO_PREVIEW\)"):
            call(answers(refusal), "preview", "/artifacts/1", 5)


class TestWaitForJob:
    def test_waits_for_the_end(self, call: Call) -> None:
        seen: list[str] = []
        handler = answers(*(data({"node": {"id": "j", "state": state}}) for state in ("QUEUED", "RUNNING", "FAILED")))
        found = call(handler, "wait_for_job", "j", lambda job: seen.append(job["state"]), poll_seconds=0.0)
        assert found["state"] == "FAILED"
        assert seen == ["QUEUED", "RUNNING", "FAILED"]

    def test_unknown_job(self, call: Call) -> None:
        with pytest.raises(Refused, match="there is no job j that you may see"):
            call(answers(data({"node": None})), "wait_for_job", "j")


class _Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that breaks off in the middle."""

    def __init__(self, content: bytes, *, breaks: bool) -> None:
        self._content = content
        self._breaks = breaks

    def __iter__(self) -> Any:
        yield self._content[:4]
        if self._breaks:
            raise httpx.ReadError("cut")
        yield self._content[4:]

    async def __aiter__(self) -> Any:
        for chunk in self:
            yield chunk
