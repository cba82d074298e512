"""No example goes unchecked: a test carries it out, the schema knows it, or it is excepted with a reason."""

import pytest
from graphql import GraphQLSchema, build_schema, parse, validate

from tests.docs.pages import Block, blocks, pages
from tests.e2e.faults.processes import REPOSITORY

CARRIED_OUT = {"first-hour", *(page for page in pages() if page.startswith("roles/"))}
"""By `test_first_hour` and `test_roles`, which also hold that nothing of them is left out."""
EXCEPTIONS = {
    ("clusters", "1. An account in the cluster", "sh"): "kubectl, and rights in a cluster that is not ours",
    (
        "kubernetes-chart",
        "1. The image",
        "sh",
    ): "podman, and a registry of images; the chart's own test makes the image",
    ("kubernetes-chart", "2a. A trial", "sh"): "a cluster; the chart's own test installs it",
    ("kubernetes-chart", "2b. In earnest", "sh"): "a cluster, a database and an object store of the reader",
    ("kubernetes-chart", "2b. In earnest", "sql"): "tests/helm/external.py carries it out",
    ("kubernetes-chart", "Upgrade", "sh"): "a cluster; the chart's own test upgrades",
    (
        "kubernetes-chart",
        "3. The first administrator",
        "sh",
    ): "a cluster; bootstrap itself is carried out in the first hour",
    (
        "graphql-declarations",
        "One of each",
        "python",
    ): "an excerpt; tests/guildhall/graphql/example.py is the whole, and tested",
    ("graphql-declarations", "Subscriptions", "python"): "an excerpt, with … for what is the reader's",
    ("inbox", "Read it", "sh"): "an id of the reader's; tests/client/command carry these out",
    ("inbox", "Webhooks", "python"): "test_inbox carries it out",
    ("graphql-compiler", "One example", "sql"): "abridged, and says so; the compiler's tests hold the whole statement",
}
"""What no test carries out, and why."""
ALL = [block for page in pages() for block in blocks(page)]


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema((REPOSITORY / "guildhall" / "schema.graphql").read_text(encoding="utf-8"))


class TestExamples:
    @pytest.mark.parametrize(
        "block", [block for block in ALL if block.kind == "graphql"], ids=lambda block: f"{block.page}: {block.section}"
    )
    def test_documents_are_valid_by_the_schema(self, schema: GraphQLSchema, block: Block) -> None:
        assert [error.message for error in validate(schema, parse(block.text))] == []

    def test_all_others_are_carried_out_or_excepted(self) -> None:
        others = {
            (block.page, block.section, block.kind)
            for block in ALL
            if block.kind != "graphql" and block.page not in CARRIED_OUT
        }
        assert others == set(EXCEPTIONS)

    def test_every_fence_is_known(self) -> None:
        """A fence without a kind, or a kind that nobody reads, would be an example that no test sees."""
        assert {block.kind for block in ALL} == {"sh", "python", "graphql", "sql"}
