"""The demo's server where it cannot start: one sentence, and no process left."""

import os
import subprocess
from pathlib import Path

import pytest

from demo import server
from demo.server import DemoFailed, bootstrap_token, running_server


class TestRunningServer:
    def test_a_server_that_ends_at_its_start_is_told_by_its_last_words(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GUILDHALL_BIND", "nonsense")
        log = tmp_path / "demo.log"
        with (
            pytest.raises(DemoFailed, match=r"the server ended at its start: .*GUILDHALL_BIND"),
            running_server(tmp_path, log),
        ):
            pytest.fail("it must not be handed out")
        assert "GUILDHALL_BIND" in log.read_text()

    def test_one_that_never_gets_ready_is_ended(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        started: list[subprocess.Popen[bytes]] = []
        real = subprocess.Popen

        def sleeper(_command: object, **options: object) -> subprocess.Popen[bytes]:
            # Deaf to the request to end, so that it has to be killed.
            process = real(
                ["/bin/sh", "-c", "trap '' TERM; sleep 600"], stdin=subprocess.DEVNULL, start_new_session=True
            )
            assert options["start_new_session"] is True
            started.append(process)
            return process

        monkeypatch.setattr(server.subprocess, "Popen", sleeper)  # type: ignore[attr-defined]  # the module's own import
        monkeypatch.setattr(server, "START_SECONDS_MAX", 0.3)
        monkeypatch.setattr(server, "STOP_SECONDS_MAX", 0.3)
        with pytest.raises(DemoFailed, match="was not ready within"), running_server(tmp_path, tmp_path / "demo.log"):
            pytest.fail("it must not be handed out")
        (process,) = started
        assert process.returncode is not None
        os.killpg(process.pid, 9)  # the shell's own sleep


class TestBootstrapToken:
    def test_a_refusal_is_passed_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GUILDHALL_BIND", "nonsense")
        with pytest.raises(DemoFailed, match=r"the first administrator could not be made: .*GUILDHALL_BIND"):
            bootstrap_token(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_a_token_that_is_there_is_used_again(self, tmp_path: Path) -> None:
        (tmp_path / "demo-administrator-token").write_text("ghu_kept\n")
        assert bootstrap_token(tmp_path) == "ghu_kept"
