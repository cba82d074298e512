"""A small API of our own, so that faults can be put in at each request; `tests/e2e` runs the runner on the real one."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from guildhall.clock import SystemClock
from scheduler.clusters.runner_archive import runner_archive

TOKEN = "ghj_test"
PART_BYTES = 64


@dataclass
class Answer:
    status: int
    body: bytes
    cut_after: int | None = None


@dataclass
class FakeApi:
    command: list[str]
    blobs: dict[str, bytes] = field(default_factory=dict)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    opened: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    refuse_open: dict[str, str] | None = None
    package: dict[str, Any] | None = None
    output: dict[str, Any] | None = None
    hold_seconds: float = 60
    stop_reason: str | None = None
    faults: list[Callable[[str, str], Answer | None]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    reports: dict[int, dict[str, Any]] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    announced: dict[str, Any] = field(default_factory=dict)
    started: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    url: str = ""
    bundles: list[list[str]] = field(default_factory=list)
    cut_bundles: list[int | None] = field(default_factory=lambda: [None] * 10)
    renamed: dict[str, str] = field(default_factory=dict)
    mangle: Callable[[bytes], bytes] | None = None

    def add_blob(self, data: bytes) -> dict[str, Any]:
        sha256 = hashlib.sha256(data).hexdigest()
        self.blobs[sha256] = data
        return {"sha256": sha256, "sizeBytes": len(data), "url": f"/artifacts/{sha256}"}

    def add_package(self, files: dict[str, str]) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, text in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
        blob = self.add_blob(buffer.getvalue())
        self.package = {"artifactUrl": blob["url"], "sha256": blob["sha256"], "sizeBytes": blob["sizeBytes"]}

    def add_input(self, mount_path: str, files: dict[str, bytes]) -> None:
        index = len(self.inputs)
        self.inputs.append({"index": index, "kind": "DATASET_VERSION", "mountPath": mount_path, "purpose": "test"})
        self.opened[index] = [{"path": path, **self.add_blob(data)} for path, data in files.items()]

    def logs(self, stream: str | None = None) -> list[str]:
        lines = [line for number in sorted(self.reports) for line in self.reports[number]["logs"]]
        return [line["text"] for line in lines if stream in (None, line["stream"])]

    def metrics(self) -> list[tuple[str, float]]:
        found = [metric for number in sorted(self.reports) for metric in self.reports[number]["metrics"]]
        return [(metric["name"], metric["value"]) for metric in found]

    def uploaded(self) -> dict[str, bytes]:
        return {path: b"".join(parts[number] for number in sorted(parts)) for path, parts in self.parts.items()}

    def answer(self, method: str, target: str, body: bytes) -> Answer:
        path = urlsplit(target).path
        self.requests.append((method, path))
        for fault in self.faults:
            if (answer := fault(method, path)) is not None:
                return answer
        if path == "/artifacts/bundle":
            return Answer(200, self._bundle(json.loads(body)["files"]), self.cut_bundles.pop(0))
        if path == "/upload/bundle":
            with tarfile.open(fileobj=io.BytesIO(body)) as tar:
                for member in tar:
                    opened = tar.extractfile(member)
                    assert opened is not None
                    self.parts[member.name] = {1: opened.read()}
            return Answer(200, b'{"arrived": 1}')
        if path.startswith("/artifacts/"):
            return Answer(200, self.blobs[path.removeprefix("/artifacts/")])
        if path.startswith("/upload/"):
            part = int(parse_qs(urlsplit(target).query)["part"][0])
            self.parts.setdefault(path.removeprefix("/upload/"), {})[part] = body
            return Answer(200, b"{}")
        sent = json.loads(body) if body else None
        name = path.removeprefix("/runner/v1/")
        if name.startswith("inputs/"):
            if self.refuse_open is not None:
                return Answer(403, json.dumps({"error": self.refuse_open}).encode())
            return _json({"files": self.opened[int(name.split("/")[1])]})
        route: Callable[[Any], Answer] = getattr(self, f"_{name.replace('/', '_')}")
        return route(sent)

    def _bundle(self, digests: list[str]) -> bytes:
        paths = {file["sha256"]: file["path"] for files in self.opened.values() for file in files}
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for sha256 in digests:
                member = tarfile.TarInfo(self.renamed.get(paths[sha256], paths[sha256]))
                member.size = len(self.blobs[sha256])
                tar.addfile(member, io.BytesIO(self.blobs[sha256]))
            self.bundles.append([paths[sha256] for sha256 in digests])
        return buffer.getvalue() if self.mangle is None else self.mangle(buffer.getvalue())

    def _archive(self, _sent: None) -> Answer:
        return Answer(200, runner_archive())

    def _assignment(self, _sent: None) -> Answer:
        ends_at = SystemClock().now() + timedelta(seconds=self.hold_seconds)
        return _json(
            {
                "command": self.command,
                "environment": {"FROM_JOB": "yes"},
                "package": self.package,
                "inputs": self.inputs,
                "output": self.output,
                "holdEndsAt": ends_at.isoformat().replace("+00:00", "Z"),
            }
        )

    def _started(self, sent: dict[str, Any]) -> Answer:
        self.started = sent
        return _json({})

    def _reports(self, sent: dict[str, Any]) -> Answer:
        self.reports[sent["sequence"]] = sent
        return _json({"stop": self.stop_reason is not None, "reason": self.stop_reason})

    def _outputs(self, sent: dict[str, Any]) -> Answer:
        self.announced = sent
        uploads = [
            {
                "path": file["path"],
                "url": f"{self.url}/upload/{file['path']}",
                "method": "PUT",
                "partSizeBytes": PART_BYTES,
                "headers": [{"name": "X-Upload", "value": "signed"}],
                "partsReceived": sorted(self.parts.get(file["path"], {})),
            }
            for file in sent["files"]
        ]
        return _json({"modelVersionId": "version", "uploads": uploads})

    def _outputs_complete(self, _sent: dict[str, Any]) -> Answer:
        uploaded = self.uploaded()
        missing = [
            {"path": file["path"], "code": "DIGEST_MISMATCH", "message": "the bytes are not those announced"}
            for file in self.announced["files"]
            if hashlib.sha256(uploaded.get(file["path"], b"-")).hexdigest() != file["sha256"]
        ]
        return _json({"missing": missing})

    def _result(self, sent: dict[str, Any]) -> Answer:
        self.result = sent
        return _json({})


def _json(body: object) -> Answer:
    return Answer(200, json.dumps(body).encode())


def _handler(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                self.send_error(401)
                return
            answer = api.answer(self.command, self.path, body)
            content = answer.body
            offset = int(self.headers.get("Range", "bytes=0-")[6:-1])
            status = 206 if offset and answer.status == 200 else answer.status
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) - offset))
            self.end_headers()
            end = len(content) if answer.cut_after is None else answer.cut_after
            self.wfile.write(content[offset:end])
            if answer.cut_after is not None:
                self.close_connection = True

        do_GET = do_POST = do_PUT = handle_any  # noqa: N815 -- http.server asks for these names

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi(command=["true"])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Runner:
    """The runner in a process of its own: from its sources, which coverage can follow, or as the zipapp of jobs."""

    folder: Path
    api: FakeApi

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    def start(self, *, packed: bool = False, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        self.workspace.mkdir(exist_ok=True)
        archive = self.folder / "runner.pyz"
        archive.write_bytes(runner_archive())
        program = [str(archive)] if packed else ["-m", "scheduler.runner"]
        token = self.folder / "token"
        token.write_text(TOKEN)
        told = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
            "GUILDHALL_API_URL": self.api.url,
            "GUILDHALL_TOKEN_FILE": str(token),
            "GUILDHALL_WORKSPACE": str(self.workspace),
            "GUILDHALL_GRACE_SECONDS": "1",
            **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE")},
            **(environment or {}),
        }
        command = [sys.executable, *program]
        return subprocess.Popen(command, cwd=ROOT, env=told, stdout=subprocess.DEVNULL)

    def run(self) -> int:
        return self.start().wait(timeout=60)

    def script(self, text: str) -> int:
        self.api.add_package({"train.py": text})
        self.api.command = ["python", "train.py"]
        return self.run()


@pytest.fixture
def runner(tmp_path: Path, api: FakeApi) -> Runner:
    return Runner(tmp_path, api)
