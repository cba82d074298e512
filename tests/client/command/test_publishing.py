"""Models by command: registered, uploaded, described, published, found, aliased, learned about, downloaded."""

from collections.abc import Callable
from pathlib import Path

import pytest

from guildhall_client.command.publishing import card_sections
from tests.client.command.conftest import Command, Ended

CARD = "\n\n".join(
    f"# {name}\n\nsomething true" for name in ("Intended use", "Limitations", "Training data", "Procedure", "Metrics")
)
NEEDS = "features:\n  - {name: image, type: 8x8 grey image}\nlabelDefinition: the digit\nrowsMin: 500\n"


@pytest.fixture
def folder(mira: Command) -> Path:
    made = mira.folder / "out"
    made.mkdir()
    (made / "weights.bin").write_bytes(bytes(range(256)) * 400)
    (made / "part").mkdir()
    (made / "part" / "labels.txt").write_text("0 1 2")
    (mira.folder / "CARD.md").write_text(CARD)
    (mira.folder / "needs.yaml").write_text(NEEDS)
    return made


def test_from_a_folder_to_a_download(mira: Command, person: Callable[[str], Command], folder: Path) -> None:
    new = ["--task", "image-classification", "--risk", "limited", "--description", "reads dials"]
    made = ["--folder", "out", "--metric", "accuracy@test=0.93", "--metric", "loss=0.2", "--parameter", "epochs=3"]
    blocked = mira("model", "publish", "maintenance/dial-reader", *made, *new)
    assert (blocked.code, blocked.out) == (1, "")
    assert blocked.err.startswith("Registered maintenance/dial-reader.\nguildhall: The card lacks the section")
    assert blocked.err.endswith(
        "The version is there; write them with --card and --data-needs, and publish it again without --folder.\n"
    )
    published = mira.ok(
        "model", "publish", "maintenance/dial-reader", "--card", "CARD.md", "--data-needs", "needs.yaml"
    )
    assert published.out == "maintenance/dial-reader@1 is PUBLISHED.\n"
    second = mira.ok("model", "publish", "maintenance/dial-reader", "--folder", "out", "--draft", "--json").json
    assert (second["number"], second["status"]) == (2, "READY")
    third = ["--folder", "out", "--fine-tuned-from", "maintenance/dial-reader@1", "--draft"]
    assert mira.ok("model", "publish", "maintenance/dial-reader", *third).out == "maintenance/dial-reader@3 is READY.\n"

    alias = ["model", "alias", "maintenance/dial-reader@1", "champion", "--reason", "the first", "--protect"]
    assert mira.ok(*alias).out == "maintenance/dial-reader@champion is version 1.\n"
    assert mira.ok(*alias, "--json").json["protected"] is True

    lesson = ["lesson", "add", "--model", "maintenance/dial-reader@champion", "--outcome", "mixed"]
    (mira.folder / "lesson.md").write_text("Most digits are read as 8.")
    told = mira.ok(*lesson, "--summary", "Fails on glare", "--body-file", "lesson.md", "--dont-use-when", "it glares")
    assert told.out.startswith("Kept as Lesson_")
    assert mira.ok(*lesson, "--summary", "Fails in fog", "--tag", "fog", "--json").json["outcome"] == "MIXED"

    quentin = person("quentin")
    found = quentin.ok("search", "dial", "glare")
    assert found.out.splitlines()[1].startswith("maintenance/dial-reader  image-classification  0")
    hits = quentin.ok("search", "dial", "--json").json
    assert [edge["node"]["name"] for edge in hits["edges"]] == ["dial-reader"]
    page = quentin.ok("model", "show", "maintenance/dial-reader").out
    assert "aliases      champion → @1" in page
    assert "needs        at least 500 rows, image (8x8 grey image)" in page
    assert "accuracy on test 0.93, loss 0.2" in page
    assert "Fails on glare" in page
    assert quentin.ok("model", "show", "maintenance/dial-reader", "--json").json["riskTier"] == "LIMITED"

    for version in ("", "@1", "@champion"):
        told = mira.ok("model", "download", f"maintenance/dial-reader{version}", "--into", "back")
        assert told.out == "maintenance/dial-reader@1: 2 files, 100.0 KiB in back.\n"
    assert (mira.folder / "back" / "weights.bin").read_bytes() == (folder / "weights.bin").read_bytes()
    assert (mira.folder / "back" / "part" / "labels.txt").read_text() == "0 1 2"
    assert mira.ok("model", "download", "maintenance/dial-reader", "--json").json["folder"] == "dial-reader-v1"


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "code", "sentence"),
        [
            (["maintenance/nothing"], 3, "There is no model maintenance/nothing that you may see"),
            (["maintenance/nothing", "--folder", "out"], 3, "with --task and --risk it is registered"),
            (["maintenance/nothing@1", "--folder", "out"], 2, "leave out @1"),
            (["nothing"], 2, "'nothing' is not TEAM/NAME[@VERSION]"),
            (["maintenance/nothing", "--folder", "absent"], 2, "Directory 'absent' does not exist"),
            (["maintenance/nothing", "--card", "empty.md"], 2, "empty.md has no sections"),
            (["maintenance/nothing", "--card", "out/weights.bin"], 2, "is no text in UTF-8"),
            (["maintenance/nothing", "--data-needs", "empty.md"], 2, "empty.md must hold names and values"),
        ],
    )
    def test_before_anything_is_sent(
        self, mira: Command, folder: Path, arguments: list[str], code: int, sentence: str
    ) -> None:
        (mira.folder / "empty.md").write_text("no heading")
        ended = mira("model", "publish", *arguments)
        assert (ended.code, ended.out) == (code, "")
        assert sentence in ended.err

    @pytest.mark.parametrize(
        ("more", "code", "sentence"),
        [
            (["--folder", "out", "--metric", "accuracy=most"], 2, "--metric accuracy=most: 'most' is no number."),
            (["--folder", "out", "--metric", "accuracy=nan"], 2, "--metric accuracy=nan: 'nan' is no number."),
            (["--folder", "bare"], 2, "bare holds no file to upload."),
            (["--folder", "out", "--trained-on", "maintenance/absent"], 3, "There is no data set maintenance/absent"),
        ],
    )
    def test_nothing_is_registered_for_what_cannot_be_uploaded(
        self, here: Callable[..., Ended], mira: Command, folder: Path, more: list[str], code: int, sentence: str
    ) -> None:
        (mira.folder / "bare").mkdir()
        refused = here("model", "publish", "maintenance/half-done", "--task", "t", "--risk", "low", *more)
        assert (refused.code, refused.out) == (code, "")
        assert sentence in refused.err
        assert here("model", "show", "maintenance/half-done").code == 3

    def test_an_alias_needs_a_version(self, mira: Command) -> None:
        ended = mira("model", "alias", "maintenance/dial-reader", "champion", "--reason", "x")
        assert ended.code == 2
        assert "Say which version, as maintenance/dial-reader@3." in ended.err

    def test_a_lesson_is_about_one_thing(self, mira: Command) -> None:
        ended = mira("lesson", "add", "--summary", "x", "--outcome", "worked")
        assert ended.code == 2
        assert "one of --model, --dataset and --job" in ended.err


class TestCardSections:
    def test_by_headings_of_two_levels(self) -> None:
        text = "before\n# One #\na\n\n### not one\nb\n## Two\n\nc\n# Empty\n\n"
        assert card_sections("no heading") == []
        assert card_sections(text) == [{"name": "One", "body": "a\n\n### not one\nb"}, {"name": "Two", "body": "c"}]
