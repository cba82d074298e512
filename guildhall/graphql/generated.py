"""Types that follow from declarations: connections and edges, the inputs of filters and orders."""

from collections.abc import Iterable, Mapping
from enum import Enum, EnumType
from typing import Any

import strawberry
from strawberry.annotation import StrawberryAnnotation
from strawberry.tools import create_type
from strawberry.types.field import StrawberryField

from guildhall.graphql.declarations import FieldDeclaration, TypeDeclaration
from guildhall.graphql.declare import SIGNED_IN
from guildhall.graphql.filters import FilterDeclaration, operator_type
from guildhall.graphql.inputs import adopt_enums
from guildhall.graphql.pages import connection_names
from guildhall.graphql.sources import Column, Connection, Given, Orders


class OrderDirection(Enum):
    """Which way a list is ordered."""

    ASC = "ASC"
    DESC = "DESC"


def connection_types(fields: Iterable[FieldDeclaration]) -> dict[str, TypeDeclaration]:
    """The connection and edge types of all connection fields; two fields that share a name must agree."""
    types: dict[str, TypeDeclaration] = {}
    signatures: dict[str, tuple[object, ...]] = {}
    for field in fields:
        source = field.source
        if not isinstance(source, Connection):
            continue
        names = connection_names(source)
        signature = (source.target, source.edge, source.facts, source.total_count, source.count_maximum is None)
        assert signatures.setdefault(names.connection, signature) == signature, (
            f"{names.connection} would mean two things"
        )
        types[names.connection] = _connection(names.connection, names.edge, source)
        types[names.edge] = _edge(names.edge, source)
    return types


class InputTypes:
    """The generated input types of one schema, each made once."""

    def __init__(self) -> None:
        self._made: dict[str, type[Any]] = {}

    def filter_type(self, declared: FilterDeclaration) -> type[Any]:
        """The input type of a filter, all fields optional."""
        if declared.name not in self._made:
            annotations = {}
            for field in declared.fields.values():
                if field.clause is not None:
                    adopt_enums(field.annotation)
                    annotations[field.graphql_name] = (field.annotation | None, field.description)
                else:
                    annotations[field.graphql_name] = (self._operators(field.annotation) | None, field.description)
            self._made[declared.name] = _input(declared.name, annotations, declared.origin.__doc__)
        return self._made[declared.name]

    def order_type(self, orders: Orders) -> type[Any]:
        """The input type `<name>Order {field direction}`."""
        name = f"{orders.name}Order"
        if name not in self._made:
            field: Any = EnumType.__call__(Enum, f"{name}Field", {value: value for value in orders.fields})
            strawberry.enum(field)
            adopt_enums(OrderDirection)
            annotations = {"field": (field, None), "direction": (OrderDirection, None)}
            self._made[name] = _input(name, annotations, f"How a list of {orders.name} is ordered.", OrderDirection.ASC)
        return self._made[name]

    def _operators(self, annotation: Any) -> Any:  # noqa: ANN401 -- annotation to input type
        name, fields = operator_type(annotation)
        if name not in self._made:
            adopt_enums(annotation)
            annotations = {key.removesuffix("_"): (value, None) for key, value in fields.items()}
            text = (
                "A half open range: from is included, to is not."
                if name.endswith("Range")
                else "One value, or one of several."
            )
            self._made[name] = _input(name, annotations, text)
        return self._made[name]


def _connection(name: str, edge: str, source: Connection) -> TypeDeclaration:
    declared = TypeDeclaration(
        name, type(name, (), {}), None, None, None, SIGNED_IN, None, False, f"A page of a list of {source.target}."
    )
    declared.fields = {
        "edges": _given("edges", Given("edges", edge, many=True)),
        "nodes": _given("nodes", Given("nodes", source.target, many=True)),
        "pageInfo": _given("pageInfo", Given("pageInfo", "PageInfo")),
    }
    if source.count_maximum is not None:
        declared.fields["count"] = _given("count", Given("count", "Count"))
    elif source.total_count:
        total = _given("totalCount", Column("totalCount"))
        total.annotation = int
        declared.fields["totalCount"] = total
    if source.facts is not None:
        declared.fields |= source.facts.__declaration__.fields
    return declared


def _edge(name: str, source: Connection) -> TypeDeclaration:
    declared = TypeDeclaration(
        name,
        type(name, (), {}),
        None,
        None,
        None,
        SIGNED_IN,
        None,
        False,
        f"One {source.target} of a list, and its place.",
    )
    cursor = _given("cursor", Column("cursor"))
    cursor.annotation = str
    declared.fields = {"cursor": cursor, "node": _given("node", Given("node", source.target))}
    if source.edge is not None:
        declared.fields |= source.edge.__declaration__.fields
    return declared


def _given(name: str, source: Given | Column) -> FieldDeclaration:
    return FieldDeclaration(source, SIGNED_IN, python_name=name, graphql_name=name)


def _input(
    name: str, fields: Mapping[str, tuple[Any, str | None]], text: str | None, default: object = None
) -> type[Any]:
    made = []
    for field, (annotation, description) in fields.items():
        optional = type(None) in getattr(annotation, "__args__", ())
        given: dict[str, Any] = {"default": None} if optional else {}
        if field == "direction":
            given = {"default": default}
        made.append(
            StrawberryField(
                python_name=f"{field}_",  # `in` and `from` are words of Python
                graphql_name=field,
                type_annotation=StrawberryAnnotation(annotation),
                description=description,
                **given,
            )
        )
    return create_type(name, made, is_input=True, description=None if text is None else " ".join(text.split()))
