"""Uploads and downloads that are cut off, and go on in another process; disks that are full."""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from guildhall_client import steps
from guildhall_client.client import Client
from guildhall_client.command.exits import CommandFailed, Exit
from guildhall_client.command.transfers import fetch_all, folder_state, upload_key
from guildhall_client.errors import DownloadFailed
from tests.client.command.conftest import PROGRAM, SECONDS_MAX, Command

CONTENT = bytes(range(256)) * 4_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KILLED_AT_THE_THIRD = """
import os, signal, sys
from guildhall_client.command.main import main
from guildhall_client.steps import FilePart
blocks = FilePart.blocks
def blocks_until_the_third(part):
    if part.source.name == "2.bin":
        os.kill(os.getpid(), signal.SIGKILL)
    return blocks(part)
FilePart.blocks = blocks_until_the_third
sys.exit(main())
"""


class Server:
    """Sends one file by ranges, and breaks off after so many bytes where it is told to."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.ranges: list[str | None] = []
        self.breaks_after: int | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        if self.breaks_after == 0:
            raise httpx.ConnectError("away")
        offset = int(wanted[6:-1]) if wanted else 0
        body = self.content[offset:]
        return httpx.Response(206 if offset else 200, stream=_Body(body, self._budget()))

    def _budget(self) -> int | None:
        budget, self.breaks_after = self.breaks_after, 0 if self.breaks_after is not None else None
        return budget


class _Body(httpx.SyncByteStream):
    def __init__(self, content: bytes, budget: int | None) -> None:
        self._content = content
        self._budget = budget

    def __iter__(self) -> Any:
        if self._budget is None:
            yield self._content
        else:
            yield self._content[: self._budget]
            raise httpx.ReadError("cut")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "BACKOFF_SECONDS_FIRST", 0.0)


def download(server: Server, target: Path) -> None:
    with Client("http://guildhall.test", "ghu_token", transport=httpx.MockTransport(server)) as client:
        client.download("/artifacts/1", target, size_bytes=len(CONTENT), sha256=SHA256)


class TestDownload:
    def test_another_process_goes_on_with_the_half_file(self, tmp_path: Path) -> None:
        server = Server()
        server.breaks_after = 1_000
        with pytest.raises(DownloadFailed, match="the server does not answer"):
            download(server, tmp_path / "a")
        assert [path.name for path in tmp_path.iterdir()] == ["a.part"]
        assert (tmp_path / "a.part").read_bytes() == CONTENT[:1_000]
        server.breaks_after = None
        server.ranges.clear()
        download(server, tmp_path / "a")
        assert server.ranges == ["bytes=1000-"]
        assert [path.name for path in tmp_path.iterdir()] == ["a"]
        assert (tmp_path / "a").read_bytes() == CONTENT

    @pytest.mark.parametrize("half", [b"other bytes", b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1)])
    def test_a_half_file_of_other_bytes_is_begun_anew(self, tmp_path: Path, half: bytes) -> None:
        (tmp_path / "a.part").write_bytes(half)
        server = Server()
        download(server, tmp_path / "a")
        assert server.ranges[-1] is None
        assert (tmp_path / "a").read_bytes() == CONTENT

    def test_all_of_it_was_there(self, tmp_path: Path) -> None:
        (tmp_path / "a.part").write_bytes(CONTENT)
        server = Server()
        download(server, tmp_path / "a")
        assert server.ranges == []
        assert (tmp_path / "a").read_bytes() == CONTENT

    def test_nothing_came(self, tmp_path: Path) -> None:
        server = Server()
        server.breaks_after = 0
        with pytest.raises(DownloadFailed, match="the server does not answer: away"):
            download(server, tmp_path / "a")
        assert list(tmp_path.iterdir()) == []
        assert len(server.ranges) == steps.TRIES_MAX


class TestFetchAll:
    @pytest.mark.parametrize("path", ["/etc/passwd", "../out", "a/../../out", ""])
    def test_a_path_that_leads_elsewhere(self, tmp_path: Path, path: str) -> None:
        file = {"path": path, "url": "/artifacts/1", "sizeBytes": "1", "sha256": SHA256}
        with (
            Client("http://guildhall.test", "t", transport=httpx.MockTransport(Server())) as client,
            pytest.raises(CommandFailed, match="would lie outside of"),
        ):
            fetch_all(client, [file], tmp_path / "in")
        assert list(tmp_path.iterdir()) == []

    def test_one_that_was_never_stored(self, tmp_path: Path) -> None:
        file = {"path": "a", "url": None, "sizeBytes": "1", "sha256": SHA256}
        with (
            Client("http://guildhall.test", "t", transport=httpx.MockTransport(Server())) as client,
            pytest.raises(CommandFailed, match="a was announced, but never stored"),
        ):
            fetch_all(client, [file], tmp_path)


class TestUploadKey:
    def test_stays_until_the_upload_is_complete(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        folder = tmp_path / "folder"
        folder.mkdir()
        with pytest.raises(CommandFailed, match="holds no file to upload"):
            folder_state(folder)
        (folder / "a").write_text("a")
        keys = []
        for _ in range(2):
            cut_off = upload_key("http://x", "data", folder_state(folder))
            keys.append(cut_off.__enter__())
            assert cut_off.__exit__(KeyboardInterrupt, None, None) is False
        with upload_key("http://y", "data", folder_state(folder)) as key:
            keys.append(key)
        for _ in range(2):
            with upload_key("http://x", "data", folder_state(folder)) as key:
                keys.append(key)
        assert keys[0] == keys[1] == keys[3]
        assert len(set(keys)) == 3

    def test_a_name_that_is_no_text(self, tmp_path: Path) -> None:
        (tmp_path / os.fsdecode(b"a\xff.csv")).touch()
        with pytest.raises(CommandFailed, match=r"a\\udcff\.csv' is no UTF-8; rename it") as refused:
            folder_state(tmp_path)
        assert refused.value.exit_code == Exit.USAGE

    def test_a_full_disk_is_named(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def full(*_: object, **__: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        monkeypatch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left") as caught, upload_key("http://x", "data", []):
            pytest.fail("it went on")
        assert Path(caught.value.filename).parent == tmp_path / "state" / "guildhall" / "uploads"


def test_an_upload_goes_on_as_the_same_version(mira: Command) -> None:
    """Killed in the middle of 64 MiB, as it begins to send the third of four files, then given again."""
    folder = mira.folder / "many"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.bin").write_bytes(os.urandom(16 * 1024**2))
    mira.ok(
        "dataset", "register", "maintenance/resumed", "--description", "d", "--classification", "internal", "--licence",
        "l", "--legal-basis", "b", "--purpose", "defect-detection", "--region", "eu-local", "--steward",
        "stella@guildhall.example",
    )  # fmt: skip
    upload = ["dataset", "upload", "maintenance/resumed", "many"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT_THE_THIRD, *upload],
        cwd=mira.folder,
        env=mira.environment,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    notes = Path(mira.environment["XDG_STATE_HOME"]) / "guildhall" / "uploads"
    assert len(list(notes.iterdir())) == 1
    assert mira.ok(*upload).out == "maintenance/resumed@1 is READY.\n"
    assert list(notes.iterdir()) == []
    versions = mira.ok("dataset", "show", "maintenance/resumed", "--json").json["versions"]
    assert [(node["number"], node["state"]) for node in versions["nodes"]] == [(1, "READY")]
    _full_disks(mira)


def _full_disks(mira: Command) -> None:
    """A download onto a disk that is full: told once, kept as a half file, gone on with where there is room."""
    download = ["dataset", "download", "maintenance/resumed", "--into"]
    limited = subprocess.run(
        ["bash", "-c", 'ulimit -f 2048; exec "$@"', "-", PROGRAM, *download, "limited"],
        cwd=mira.folder,
        env=mira.environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    sentence = "No space is left to write to; make some, then run the same command again.\n"
    assert (limited.returncode, limited.stdout) == (1, "")
    assert limited.stderr == f"guildhall: limited/0.bin.part: {sentence}"
    assert (mira.folder / "limited" / "0.bin.part").stat().st_size == 2048 * 1024
    assert mira.ok(*download, "limited").out == "maintenance/resumed@1: 4 files, 64.0 MiB in limited.\n"
    assert (mira.folder / "limited" / "3.bin").read_bytes() == (mira.folder / "many" / "3.bin").read_bytes()
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return  # the limit above is all that somebody without root can set
    small = mira.folder / "small"
    small.mkdir()
    mount = 'mount -t tmpfs -o size=1m none small && exec "$@"'
    full = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, "-", PROGRAM, *download, "small"],
        cwd=mira.folder,
        env=mira.environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert (full.returncode, full.stderr) == (1, f"guildhall: small/0.bin.part: {sentence}")
