"""Dead code, what looks dead and is not, and the list of what is kept, on trees made for the purpose."""

from pathlib import Path

import pytest

from tools.dead_code import Unused, judge, unused_code
from tools.sources import Finding

DEAD = Unused(Finding(Path("registry/cards.py"), 3, "unused function 'forget'"), "function", "forget")


def keys_in(root: Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return [unused.key for unused in unused_code(root, ("registry", "guildhall", "client/src"))]


class TestUnusedCode:
    def test_a_function_that_nobody_calls(self, tmp_path: Path) -> None:
        files = {"registry/cards.py": "def complete(): ...\ndef forget(): ...\ncomplete()\n"}
        assert keys_in(tmp_path, files) == ["registry/cards.py::forget"]

    def test_a_use_in_the_client_counts_and_the_client_is_not_judged(self, tmp_path: Path) -> None:
        files = {
            "registry/cards.py": "def complete(): ...\n",
            "client/src/guildhall_client/models.py": "def publish():\n    complete()\n",
        }
        assert keys_in(tmp_path, files) == []

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("registry/cards/tables.py", "class Card:\n    name: str\nCard()\n"),
            ("registry/cards/tables.py", "class Card:\n    name: str\n"),
            ("registry/graphql/cards.py", "class CardType:\n    name: str\nCardType()\n"),
            ("registry/graphql/cards.py", "@mutation(permission='a')\ndef update_card(): ...\n"),
            ("registry/http/files.py", "@get('/artifacts')\nasync def download(): ...\n"),
            ("registry/states.py", "import enum\nclass State(enum.StrEnum):\n    DRAFT = 'DRAFT'\nState('DRAFT')\n"),
            ("guildhall/migrations/versions/0001_a.py", "revision = '0001'\ndef upgrade(): ...\n"),
        ],
    )
    def test_what_is_reached_by_reflection(self, tmp_path: Path, path: str, text: str) -> None:
        assert keys_in(tmp_path, {path: text}) == []

    def test_setting_a_column_is_its_use(self, tmp_path: Path) -> None:
        files = {
            "registry/cards/tables.py": "class Card:\n    completed_at: str\n",
            "registry/cards/cards.py": "card = Card()\ncard.completed_at = card.colour = 1\n",
        }
        assert keys_in(tmp_path, files) == ["registry/cards/cards.py::colour"]

    def test_a_field_of_an_ordinary_class_is_judged(self, tmp_path: Path) -> None:
        assert keys_in(tmp_path, {"registry/cards.py": "class Card:\n    name: str\nCard()\n"}) == [
            "registry/cards.py::name"
        ]


class TestJudge:
    def test_dead_code_is_named_with_its_key(self) -> None:
        assert list(judge([DEAD], {})) == [
            "registry/cards.py:3: unused function 'forget' (registry/cards.py::forget)",
        ]

    def test_what_is_kept_for_a_reason_passes(self) -> None:
        assert list(judge([DEAD], {"registry/cards.py::forget": "the eraser calls it by name"})) == []

    def test_an_empty_reason_is_none(self) -> None:
        assert list(judge([DEAD], {"registry/cards.py::forget": " "})) == [
            "registry/cards.py::forget is kept without a reason in pyproject.toml"
        ]

    def test_an_entry_that_is_reached_again_must_go(self) -> None:
        assert list(judge([], {"registry/cards.py::forget": "the eraser calls it by name"})) == [
            "registry/cards.py::forget is reached or gone; remove it from pyproject.toml"
        ]
