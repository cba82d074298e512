import threading
from pathlib import Path

import pytest

from tests.cluster import caching
from tests.cluster.caching import cached, digest_of, locked


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(caching, "_NAMED", str(tmp_path))
    return tmp_path / "cluster" / "things"


def nothing(_: str) -> None:
    pass


class TestCached:
    def test_made_once(self, cache: Path) -> None:
        def make(folder: Path) -> None:
            (folder / "thing").write_text("made")

        first = cached("things", "recipe", make, nothing)
        second = cached("things", "recipe", lambda _: pytest.fail("made again"), nothing)
        assert first == second == cache / "recipe"
        assert (second / "thing").read_text() == "made"
        assert sorted(path.name for path in cache.iterdir()) == ["recipe"]

    def test_a_failure_leaves_nothing(self, cache: Path) -> None:
        def fail(folder: Path) -> None:
            (folder / "half").touch()
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            cached("things", "recipe", fail, nothing)
        assert list(cache.iterdir()) == []

    def test_what_a_killed_run_left_is_not_taken_for_whole(self, cache: Path) -> None:
        left = cache / "recipe.partly-of-one-that-was-killed"
        left.mkdir(parents=True)
        made = cached("things", "recipe", lambda folder: (folder / "thing").touch(), nothing)
        assert (made / "thing").exists()
        assert not left.exists()

    def test_two_at_once_make_one(self, cache: Path) -> None:
        entered, go_on = threading.Event(), threading.Event()
        made: list[str] = []
        said: list[str] = []

        def make(folder: Path) -> None:
            made.append(folder.name)
            entered.set()
            assert go_on.wait(30)

        waiting = threading.Event()

        def say(sentence: str) -> None:
            said.append(sentence)
            waiting.set()

        first = threading.Thread(target=cached, args=("things", "recipe", make, nothing))
        second = threading.Thread(target=cached, args=("things", "recipe", make, say))
        first.start()
        assert entered.wait(30)
        second.start()
        assert waiting.wait(30)
        go_on.set()
        first.join(30)
        second.join(30)
        assert len(made) == 1
        assert said == ["another run makes things recipe; waiting for it"]


class TestLocked:
    def test_leaves_no_file(self, tmp_path: Path) -> None:
        with locked(tmp_path / "lock"):
            assert (tmp_path / "lock").exists()
        assert list(tmp_path.iterdir()) == []


class TestDigest:
    def test_tells_where_a_part_ends(self) -> None:
        assert digest_of(["ab", "c"]) != digest_of(["a", "bc"])
        assert digest_of(["ab", b"c"]) == digest_of(["ab", "c"])
