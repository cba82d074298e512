"""The documents of the contract with clients, by name: the demo sends them as written."""

from functools import lru_cache
from pathlib import Path

from graphql import OperationDefinitionNode, parse, print_ast

CONTRACT = Path(__file__).resolve().parents[1] / "tests" / "documents" / "DOCUMENTS.graphql"


@lru_cache(maxsize=1)
def _documents() -> dict[str, str]:
    definitions = parse(CONTRACT.read_text(encoding="utf-8")).definitions
    return {
        definition.name.value: print_ast(definition)
        for definition in definitions
        if isinstance(definition, OperationDefinitionNode) and definition.name is not None
    }


def document(name: str) -> str:
    """The document of that name; a name that is not in the contract is a programmer's mistake."""
    return _documents()[name]
