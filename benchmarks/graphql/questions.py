"""What is asked: one document for each question, the same on our side and on the limit's."""

from pathlib import Path

from graphql import OperationDefinitionNode, parse, print_ast

CONTRACT = Path(__file__).parents[2] / "tests" / "documents" / "DOCUMENTS.graphql"

PAGE = """query Page($first: Int!, $after: String) {
  models(first: $first, after: $after) {
    nodes {
      id name task description createdAt
      team { name }
      versions(first: 5) { nodes { id number status createdAt } }
    }
    pageInfo { hasNextPage endCursor }
  }
}"""
POSTGRAPHILE_PAGE = """query Page($first: Int!, $after: Cursor) {
  models: allModels(first: $first, after: $after, orderBy: [CREATED_AT_DESC, ROW_ID_DESC]) {
    nodes {
      id: rowId name task description createdAt
      team: teamByTeamId { name }
      versions: modelVersionsByModelId(first: 5, orderBy: [NUMBER_DESC]) { nodes { id: rowId number status createdAt } }
    }
    pageInfo { hasNextPage endCursor }
  }
}"""
"""The same page in PostGraphile's words."""

PAGE_SIZES = (1, 20, 50, 100, 1_000)

DOCUMENTS: dict[str, dict[str, object]] = {
    "ModelPage": {"team": "team-0", "name": "model-50000"},
    "SearchModels": {"text": "turbine 421", "first": 20},
}
"""Documents of the contract, and what they are asked about: a model with all that a page shows, some twenty hits."""


def contract_document(name: str) -> str:
    """A document of the contract with clients, as written."""
    definitions = parse(CONTRACT.read_text(encoding="utf-8")).definitions
    (found,) = [
        definition
        for definition in definitions
        if isinstance(definition, OperationDefinitionNode)
        and definition.name is not None
        and definition.name.value == name
    ]
    return print_ast(found)
