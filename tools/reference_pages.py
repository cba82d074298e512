"""Write the pages below `docs/reference` from the code, for the site that is built of them; they are not committed.

Settings come from `guildhall.settings`, errors from the classes that descend from `GuildhallError`, the API from
`guildhall/schema.graphql`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    NullValueNode,
    build_schema,
    is_introspection_type,
    is_specified_scalar_type,
    print_ast,
)

from guildhall.errors import GuildhallError
from guildhall.hints import hint_of
from guildhall.settings import describe

FOLDER = Path("docs/reference")
SCHEMA = Path("guildhall/schema.graphql")
PACKAGES = ("guildhall", "registry", "marketplace", "scheduler")
NOT_IMPORTED = (".migrations", ".__main__", ".runner.")
"""Programs of their own, which work when they are imported."""
WRITTEN = "<!-- Written by tools/reference_pages.py. -->\n"
FAMILIES = {
    "Invalid": "the input can be mended by the caller; in `errors` of a payload",
    "NotFound": "not there, or not to be seen by the caller",
    "Conflict": "the state has moved on, or a name is taken",
    "Forbidden": "seen, but not permitted",
    "Unauthenticated": "no caller, or a token that does not count",
    "LimitExceeded": "over a limit",
    "RateLimited": "too often within a time",
    "Unavailable": "something that we depend on is away; the same again may help later",
}


def main() -> None:
    """Write all of them anew."""
    pages = {"settings": settings_page(), "errors": errors_page(), "graphql": graphql_page(SCHEMA.read_text("utf-8"))}
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (FOLDER / f"{name}.md").write_text(text, encoding="utf-8")
    print(f"{len(pages)} pages written into {FOLDER}")


def settings_page() -> str:
    """Every setting with its default, in the order of the code."""
    rows = [f"| `{variable}` | {_cell(text)} | {_cell(default)} |" for variable, default, text in describe()]
    return _page(
        "Settings",
        "Environment variables, read once at the start of each process. A wrong value stops it with one sentence.",
        ["| variable | what it is for | default |", "| --- | --- | --- |", *rows],
    )


def errors_page() -> str:
    """Every code that a caller may meet, by family, with what its class says."""
    lines: list[str] = []
    for family, meaning in FAMILIES.items():
        found = sorted({(each.code, _first_sentence(each)) for each in refusals() if _family(each) == family})
        lines += [f"## {family}", "", f"{meaning[0].upper()}{meaning[1:]}.", ""]
        lines += ["| code | meaning | `hint`: what to do next |", "| --- | --- | --- |"]
        lines += [f"| `{code}` | {_cell(text)} | {_cell(hint_of(code) or '')} |" for code, text in found] + [""]
    return _page(
        "Errors",
        "A refusal has a stable code for programs and one sentence for people. What a caller can mend comes in `errors "
        "{ code field message hint }` of a mutation's payload; anything else in the `errors` of the response, code and "
        "hint in its `extensions`. What is none of these is our fault: it is masked, and logged with the id that it "
        "tells.",
        lines,
    )


def graphql_page(schema_text: str) -> str:
    """Every type of the schema, with its fields, arguments and descriptions."""
    schema = build_schema(schema_text)
    lines: list[str] = []
    for title, fields in (("Queries", schema.query_type), ("Mutations", schema.mutation_type),
                          ("Subscriptions", schema.subscription_type)):  # fmt: skip
        if fields is not None:
            lines += [f"## {title}", "", *_fields(fields.fields), ""]
    for title, kind in (("Objects", GraphQLObjectType), ("Interfaces", GraphQLInterfaceType),
                        ("Unions", GraphQLUnionType), ("Inputs", GraphQLInputObjectType), ("Enums", GraphQLEnumType),
                        ("Scalars", GraphQLScalarType)):  # fmt: skip
        named = [each for each in _types(schema) if isinstance(each, kind)]
        lines += [f"## {title}", ""] if named else []
        for each in named:
            lines += [
                f"### {each.name}",
                "",
                *([_cell(each.description), ""] if each.description else []),
                *_body(each),
                "",
            ]
    return _page("The API", "One endpoint, `/graphql`. An exclamation mark means: never null.", lines)


def refusals() -> Iterator[type[GuildhallError]]:
    """Every class of the product that descends from GuildhallError, whoever imports it."""
    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not any(part in f"{module.name}." for part in NOT_IMPORTED):
                importlib.import_module(module.name)
    yield from _below(GuildhallError)


def _below(kind: type[GuildhallError]) -> Iterator[type[GuildhallError]]:
    for each in kind.__subclasses__():
        if each.__module__.partition(".")[0] in PACKAGES:
            yield each
        yield from _below(each)


def _family(kind: type[GuildhallError]) -> str:
    """The nearest of the eight; a class beside them all (a setting that is wrong) stops a program, not a caller."""
    return next((each.__name__ for each in kind.__mro__ if each.__name__ in FAMILIES), "")


def _first_sentence(kind: type[GuildhallError]) -> str:
    text = " ".join((kind.__doc__ or "").split())
    return text.partition(". ")[0].rstrip(".") + "."


def _types(schema: GraphQLSchema) -> Sequence[GraphQLNamedType]:
    roots = {schema.query_type, schema.mutation_type, schema.subscription_type}
    return [
        each
        for _, each in sorted(schema.type_map.items())
        if each not in roots and not is_introspection_type(each) and not is_specified_scalar_type(each)
    ]


def _body(kind: GraphQLNamedType) -> list[str]:
    if isinstance(kind, (GraphQLObjectType, GraphQLInterfaceType)):
        return _fields(kind.fields)
    if isinstance(kind, GraphQLInputObjectType):
        return [_line(name, field) for name, field in kind.fields.items()]
    if isinstance(kind, GraphQLUnionType):
        return [f"One of {', '.join(f'`{each.name}`' for each in kind.types)}."]
    if isinstance(kind, GraphQLEnumType):
        return [f"- `{name}`{_said(value.description)}" for name, value in kind.values.items()]
    return []


def _fields(fields: dict[str, GraphQLField]) -> list[str]:
    lines = []
    for name, field in fields.items():
        lines.append(f"- `{name}: {field.type}`{_said(field.description)}")
        lines += [f"  {_line(argument, each)}" for argument, each in field.args.items()]
    return lines


def _line(name: str, given: GraphQLArgument | GraphQLInputField) -> str:
    written = given.ast_node.default_value if given.ast_node is not None else None
    default = "" if written is None or isinstance(written, NullValueNode) else f" = {print_ast(written)}"
    return f"- `{name}: {given.type}{default}`{_said(given.description)}"


def _said(description: str | None) -> str:
    return f": {_cell(description)}" if description else ""


def _cell(text: str) -> str:
    """On one line, and no markup but what is meant: nothing of ours writes HTML or tables into a sentence."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "\\<").replace("*", "\\*")


def _page(title: str, introduction: str, lines: Sequence[str]) -> str:
    return "\n".join([WRITTEN, f"# {title}", "", introduction, "", *lines]).rstrip("\n") + "\n"


if __name__ == "__main__":
    main()
