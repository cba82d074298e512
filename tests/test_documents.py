"""What the documents and the Makefile promise, held against what is there."""

import re
import subprocess
from pathlib import Path

import pytest

from guildhall.settings import describe

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("", "docs", "docs/decisions", "helm/guildhall", "client", "guildhall/graphql")
DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for name in FOLDERS for path in (ROOT / name).glob("*.md"))
README_LINES_MAX = 80  # two screens
# Their values are plain English or letters.
PLAIN_ENUMS = {
    "ChangeAction",
    "ClusterKind",
    "DecisionKind",
    "Direction",
    "OrderDirection",
    "PermissionClass",
    "StrategicClass",
    "TransferDirection",
    "Weekday",
}


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.* ## ", text_of("Makefile"), re.MULTILINE))


class TestLinks:
    @pytest.mark.parametrize("document", DOCUMENTS)
    def test_what_a_document_links_to_is_there(self, document: str) -> None:
        targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(document))
        # The reference is generated; the site's own build, where warnings are errors, holds the links into it.
        inside = [target for target in targets if "://" not in target and not target.startswith("reference/")]
        assert [target for target in inside if not (ROOT / document).parent.joinpath(target).exists()] == []


class TestReadme:
    def test_is_under_two_screens(self) -> None:
        assert len(text_of("README.md").splitlines()) < README_LINES_MAX

    def test_its_settings_are_as_the_program_lists_them(self) -> None:
        listed = {name: default for name, default, _ in describe()}
        shown = re.findall(r"^\| `(GUILDHALL_[A-Z_]+)` \| (.+) \|$", text_of("README.md"), re.MULTILINE)
        assert len(shown) >= 4
        for name, default in shown:
            assert default.replace("`", "") in listed[name].replace("`", "")


class TestMake:
    @pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "helm/guildhall/README.md"])
    def test_every_target_that_a_document_names_exists(self, document: str) -> None:
        named = set(re.findall(r"make ([a-z]+(?:-[a-z]+)*)", " ".join(re.findall(r"`[^`]+`", text_of(document)))))
        assert named - make_targets() == set()

    def test_every_target_is_phony_and_has_a_sentence_in_help(self) -> None:
        assert set(re.findall(r"^\.PHONY: ([a-z-]+)$", text_of("Makefile"), re.MULTILINE)) == make_targets()

    def test_help_is_the_default_and_lists_every_target(self) -> None:
        answer = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert set(re.findall(r"^  make ([a-z-]+)", answer, re.MULTILINE)) == make_targets()

    def test_ci_runs_all_of_check_and_the_tests_once(self) -> None:
        check = re.search(r"^check: (.+?) ##", text_of("Makefile"), re.MULTILINE)
        assert check
        ran = re.findall(r"^make (?:--keep-going )?(.+)$", text_of(".ci/run").replace(" || exit 1", ""), re.MULTILINE)
        assert sorted(" ".join(ran).split()) == sorted(["install", *check[1].split()])


class TestDecisions:
    PAGES = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))

    def test_each_has_a_number_of_its_own_and_the_page_begins_with_it(self) -> None:
        numbers = [page.name[:4] for page in self.PAGES]
        assert len(set(numbers)) == len(numbers)
        assert [page.name for page in self.PAGES if not page.read_text().startswith(f"# {page.name[:4]} ")] == []

    def test_each_names_its_alternatives(self) -> None:
        assert [page.name for page in self.PAGES if "## Alternatives" not in page.read_text()] == []


class TestGlossary:
    def test_every_value_that_callers_meet_has_its_line(self) -> None:
        schema, glossary = text_of("guildhall/schema.graphql"), text_of("docs/glossary.md")
        enums = dict(re.findall(r"^enum (\w+) \{(.+?)^\}", schema, re.MULTILINE | re.DOTALL))
        met = {
            name: body for name, body in enums.items() if name not in PLAIN_ENUMS and not name.endswith("OrderField")
        }
        assert {"JobState", "ModelVersionStatus", "Classification", "Outcome", "TransferKind"} <= met.keys()
        values = {value for body in met.values() for value in re.findall(r"^  ([A-Z_]{2,})$", body, re.MULTILINE)}
        assert {value for value in values if not re.search(rf"\b{value}\b", glossary)} == set()

    def test_every_node_has_its_line(self) -> None:
        nodes = re.findall(r"^type (\w+) implements Node", text_of("guildhall/schema.graphql"), re.MULTILINE)
        glossary = text_of("docs/glossary.md")
        assert len(nodes) >= 20
        assert [name for name in nodes if not re.search(rf"\b{name}\b", glossary)] == []
