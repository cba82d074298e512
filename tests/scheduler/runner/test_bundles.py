"""Small files many to a request, by the runner: inputs on their way in, outputs on their way out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.runner import bundles
from scheduler.runner.failures import OutputInvalid
from tests.scheduler.runner.conftest import Answer, FakeApi, Runner

LONG = "m/ä" + "n" * 150 + ".txt"
FILES = {"a.bin": b"a" * 700, "b/c.bin": b"", LONG: b"long", "z.bin": b"z" * 512}
WRITES_MANY = """
import os, pathlib
folder = pathlib.Path(os.environ["GUILDHALL_OUTPUT"])
for name in ("one", "two", "three"):
    folder.joinpath(name).write_text(name)
folder.joinpath("large").write_bytes(bytes(range(200)))
"""


def staged(runner: Runner) -> dict[str, bytes]:
    folder = runner.workspace / "data"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestInputs:
    def test_come_together(self, api: FakeApi, runner: Runner) -> None:
        api.add_input("data", {**FILES, "large": bytes(bundles.FILE_BYTES_MAX + 1)})
        assert runner.run() == 0
        assert staged(runner) == {**FILES, "large": bytes(bundles.FILE_BYTES_MAX + 1)}
        assert api.bundles == [list(FILES)]
        assert [method for method, path in api.requests if path.startswith("/artifacts/")] == ["POST", "GET"]

    @pytest.mark.parametrize("sizes", [(bundles.FILE_BYTES_MAX + 1, 5), (5, bundles.FILE_BYTES_MAX + 1), (5, 6)])
    def test_that_are_named_as_half_ones_come_alone(self, api: FakeApi, runner: Runner, sizes: tuple[int, int]) -> None:
        files = {**FILES, "model.part": b"p" * sizes[1], "model": b"m" * sizes[0]}
        api.add_input("data", files)
        assert runner.run() == 0
        assert staged(runner) == files
        assert api.bundles == [list(FILES)]

    def test_are_asked_for_again_without_what_arrived(self, api: FakeApi, runner: Runner) -> None:
        api.add_input("data", FILES)
        api.cut_bundles = [600, 3000, None]
        assert runner.run() == 0
        assert staged(runner) == FILES
        assert api.bundles == [list(FILES), list(FILES), [LONG, "z.bin"]]

    @pytest.mark.parametrize(
        ("cut", "again"),
        [
            (1536, ["b/c.bin", LONG, "z.bin"]),  # between two files
            (1600, ["b/c.bin", LONG, "z.bin"]),  # within a header
            (2600, [LONG, "z.bin"]),  # within a header that says more of the next file
        ],
    )
    def test_are_asked_for_again_where_the_cut_looks_like_an_end(
        self, api: FakeApi, runner: Runner, cut: int, again: list[str]
    ) -> None:
        api.add_input("data", FILES)
        api.cut_bundles = [cut, None]
        assert runner.run() == 0
        assert staged(runner) == FILES
        assert api.bundles == [list(FILES), again]

    @pytest.mark.parametrize("cut", [2 * 512 + 512 + 100, 2 * 1024, 2 * 1024 + 700])
    def test_that_have_all_arrived_are_not_asked_for_again(self, api: FakeApi, runner: Runner, cut: int) -> None:
        files = {"a": b"a" * 512, "b": b"b" * 100}
        api.add_input("data", files)
        api.cut_bundles = [cut]
        assert runner.run() == 0
        assert staged(runner) == files
        assert api.bundles == [["a", "b"]]

    def test_are_waited_for_while_the_api_is_away(self, api: FakeApi, runner: Runner) -> None:
        api.add_input("data", FILES)
        answers = [Answer(503, b""), Answer(503, b"")]
        api.faults.append(lambda _method, path: answers.pop() if answers and path == "/artifacts/bundle" else None)
        assert runner.run() == 0
        assert staged(runner) == FILES

    @pytest.mark.parametrize(
        ("mangle", "message"),
        [
            (lambda content: content.replace(b"a" * 700, b"b" * 700), "a.bin: 700 bytes arrived that are not the"),
            (lambda content: content[:1536] + bytes(1024), "b/c.bin was asked for, and did not come"),
        ],
    )
    def test_with_other_bytes_end_the_run(
        self, api: FakeApi, runner: Runner, mangle: Callable[[bytes], bytes], message: str
    ) -> None:
        api.add_input("data", FILES)
        api.mangle = mangle
        assert runner.run() == 70
        assert api.result is not None
        assert api.result["code"] == "DIGEST_MISMATCH"
        assert api.result["message"].startswith(message)

    @pytest.mark.parametrize("name", ["../../up", "/etc/up", "other"])
    def test_under_other_names_are_not_written(self, api: FakeApi, runner: Runner, name: str) -> None:
        api.add_input("data", FILES)
        api.renamed["a.bin"] = name
        assert runner.run() == 70
        assert api.result is not None
        assert api.result["message"] == f"{name}: 700 bytes arrived that were not asked for"
        assert not (runner.workspace / "data").exists()


class TestOutputs:
    def test_go_together(self, api: FakeApi, runner: Runner) -> None:
        api.output = {"path": "result"}
        assert runner.script(WRITES_MANY) == 0
        assert api.uploaded() == {"one": b"one", "two": b"two", "three": b"three", "large": bytes(range(200))}
        assert api.requests.count(("PUT", "/upload/bundle")) == 1

    def test_that_change_meanwhile_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"ab")
        upload = {"path": "a", "sizeBytes": 1, "url": "http://x/upload/1", "headers": []}
        with pytest.raises(OutputInvalid, match="a has changed while it was uploaded"):
            bundles.upload(None, tmp_path, [upload], lambda _size_bytes: None)  # type: ignore[arg-type]

    def test_no_request_is_larger_than_every_api_takes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bundles, "FILES_MAX", 2)
        monkeypatch.setattr(bundles, "BYTES_MAX", 5)
        sizes = [[file["sizeBytes"] for file in parcel] for parcel in bundles.parcels(
            [{"sizeBytes": size} for size in (1, 2, 3, 4, 9, 1)])]  # fmt: skip
        assert sizes == [[1, 2], [3], [4], [9], [1]]
