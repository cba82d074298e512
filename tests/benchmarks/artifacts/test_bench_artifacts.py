import json
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.artifacts.main import main
from benchmarks.artifacts.transfer import copy

TINY = "--mib 0.5 --files 3 --kib 2 --rounds 1"


class TestMain:
    async def test_a_tiny_run_moves_what_it_times(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(report, "OUT", tmp_path)
        await main(TINY.split())
        figures = {each["figure"]: each for each in json.loads((tmp_path / "artifacts.json").read_text())}
        for way in ("upload", "download"):
            large = figures[f"{way} of a file of 0.5 MiB, MiB/s, bare copy with hashing"]
            small = figures[f"{way} of 3 files of 2 KiB, MiB/s, bare copy with hashing"]
            assert (large["wanted"], small["wanted"]) == (0.5, 0.2)
            assert min(large["ours"], large["peer"], small["ours"], small["peer"]) > 0
            for who in ("client", "server"):
                assert figures[f"{who}'s memory, {way} of it, MiB, that of an eighth"]["wanted"] == 1.25
        assert "bench-artifacts" in capsys.readouterr().out


class TestCopy:
    def test_the_peer_copies_every_file_with_its_bytes(self, tmp_path: Path) -> None:
        (tmp_path / "from" / "deep").mkdir(parents=True)
        (tmp_path / "from" / "a.bin").write_bytes(b"a" * 3_000_000)
        (tmp_path / "from" / "deep" / "b.bin").write_bytes(b"")
        assert copy(tmp_path / "from", tmp_path / "to") == 2
        assert (tmp_path / "to" / "a.bin").read_bytes() == b"a" * 3_000_000
        assert (tmp_path / "to" / "deep" / "b.bin").read_bytes() == b""
