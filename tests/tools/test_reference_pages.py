"""That the reference says what the code does."""

from pathlib import Path

import pytest

from guildhall.errors import GuildhallError, Invalid
from tools import reference_pages
from tools.reference_pages import errors_page, graphql_page, refusals, settings_page

SCHEMA = '''
"""Who asks."""
type Query {
  "A thing by its id."
  thing("Which | of many." id: ID! = "first"): Thing
}
type Mutation { make(input: MakeInput!): Thing }
type Subscription { made: Thing }
interface Named { name: String! }
"It has a <name>."
type Thing implements Named { name: String! kind: Kind other: Either }
type Other { at: Moment }
union Either = Thing | Other
input MakeInput { "At most 40 letters." name: String! size: Int = 1 unit: String = null }
enum Kind { "Of *iron*." HARD SOFT }
scalar Moment
'''


class TestMain:
    def test_the_pages_are_written_anew(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "reference"
        monkeypatch.setattr(reference_pages, "FOLDER", folder)
        folder.mkdir()
        (folder / "errors.md").write_text("old")
        reference_pages.main()
        assert capsys.readouterr().out == f"3 pages written into {folder}\n"
        assert {path.name for path in folder.iterdir()} == {"settings.md", "errors.md", "graphql.md"}
        assert (folder / "errors.md").read_text() == errors_page()


class TestSettingsPage:
    def test_each_has_its_default(self) -> None:
        assert "| `GUILDHALL_BIND` | Where the API listens. | 127.0.0.1:8321 |\n" in settings_page()


class TestErrorsPage:
    def test_a_code_stands_in_its_family_with_its_first_sentence(self) -> None:
        family = errors_page().partition("## Conflict\n")[2].partition("\n## ")[0]
        assert "| `ALREADY_STORED` | The file is complete; nothing can be added to it. |" in family

    def test_every_code_of_the_product_is_there(self) -> None:
        page = errors_page()
        found = {each.code for each in refusals() if issubclass(each, Invalid)}
        assert "INSUFFICIENT_CREDITS" in found
        assert all(f"`{code}`" in page for code in found)

    def test_a_class_of_a_test_is_none_of_them(self) -> None:
        made = type("MadeUp", (GuildhallError,), {"code": "MADE_UP"})
        assert made not in set(refusals())


class TestGraphqlPage:
    def test_every_kind_of_type_is_told(self) -> None:
        page = graphql_page(SCHEMA)
        for line in (
            '## Queries\n\n- `thing: Thing`: A thing by its id.\n  - `id: ID! = "first"`: Which \\| of many.\n',
            "## Mutations\n\n- `make: Thing`\n  - `input: MakeInput!`\n",
            "## Subscriptions\n\n- `made: Thing`\n",
            "### Thing\n\nIt has a \\<name>.\n\n- `name: String!`\n- `kind: Kind`\n- `other: Either`\n",
            "## Interfaces\n\n### Named\n\n- `name: String!`\n",
            "### Either\n\nOne of `Thing`, `Other`.\n",
            "### MakeInput\n\n- `name: String!`: At most 40 letters.\n- `size: Int = 1`\n- `unit: String`\n",
            "### Kind\n\n- `HARD`: Of \\*iron\\*.\n- `SOFT`\n",
            "### Moment\n",
        ):
            assert line in page

    def test_what_a_schema_lacks_has_no_heading(self) -> None:
        assert "## Mutations" not in graphql_page("type Query { a: Int }")
        assert "## Enums" not in graphql_page("type Query { a: Int }")
