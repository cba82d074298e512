"""All declarations become one schema: types with their extensions merged, fields resolved by what their sources say."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import strawberry
from graphql import GraphQLObjectType, GraphQLSchema
from strawberry.annotation import StrawberryAnnotation
from strawberry.schema.config import StrawberryConfig
from strawberry.types.arguments import StrawberryArgument, convert_arguments
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField
from strawberry.utils.str_converters import to_camel_case

from guildhall.auth.permissions import PERMISSIONS
from guildhall.graphql import base_types
from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.declarations import Extension, FieldDeclaration, TypeDeclaration
from guildhall.graphql.generated import InputTypes, connection_types
from guildhall.graphql.inputs import adopt_enums, annotations_of
from guildhall.graphql.mutations import make_mutation
from guildhall.graphql.pages import Pages, connection_names
from guildhall.graphql.resolve import FieldResolvers, guard
from guildhall.graphql.scalars import ID, SCALARS
from guildhall.graphql.sources import (
    Batched,
    Calculated,
    Connection,
    Embedded,
    Find,
    Given,
    GlobalId,
    JsonValue,
    Many,
    ManyByIds,
    Mutation,
    NodeById,
    One,
    Reference,
    References,
    Resolve,
    Subscription,
    ViewerCan,
)
from guildhall.graphql.subscriptions.declaring import make_subscribe, resolve_change

_BASE = (
    base_types.Query,
    base_types.Mutation,
    base_types.Subscription,
    base_types.PageInfo,
    base_types.Count,
    base_types.InputError,
    base_types.Reason,
)


class DeclaredField(StrawberryField):
    """A strawberry field that knows its declaration; it is resolved by graphql-core directly, see `compose`."""

    declared: FieldDeclaration
    owner: TypeDeclaration


@dataclass(frozen=True)
class Composed:
    """The schema, with the declarations that it was made of for whoever executes or compiles documents."""

    schema: GraphQLSchema
    catalogue: Catalogue
    text: str


def compose(declarations: Iterable[type[Any]], *, partial: bool = False) -> Composed:
    """Make the schema of decorated classes: `node`, `object_type`, `payload` and `extend`, in any order.

    A field that leads to a type nobody declared is a mistake; `partial` leaves such fields out.
    """
    classes: list[Any] = [*_BASE, *declarations]
    types = [cls.__declaration__ for cls in classes if "__declaration__" in vars(cls)]
    extensions: list[Extension] = [cls.__extension__ for cls in classes if "__extension__" in vars(cls)]
    types = [_copy(declared) for declared in types]
    every = [field for part in (*types, *extensions) for field in part.fields.values()]
    known = {declared.name for declared in types}
    if partial:
        extensions = [extension for extension in extensions if extension.name in known]
    catalogue = Catalogue([*types, *connection_types(every).values()], extensions)
    silent = catalogue.fields_without_permission()
    assert not silent, f"these fields say nothing of who may see them: {silent}"
    unknown = catalogue.unknown_targets()
    assert partial or not unknown, f"these fields lead to types that nobody declared: {unknown}"
    for type_name, field_name, target in unknown:
        field = catalogue.types[type_name].fields.get(field_name)
        if field is not None and getattr(field.source, "target", None) == target:
            del catalogue.types[type_name].fields[field_name]
    return _Composer(catalogue).compose()


def _copy(declared: TypeDeclaration) -> TypeDeclaration:
    """Extensions are merged into a copy, so that composing twice is possible."""
    return TypeDeclaration(**{**vars(declared), "fields": dict(declared.fields)})


class _Composer:
    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._inputs = InputTypes()
        self._classes: dict[str, type[Any]] = {}

    def compose(self) -> Composed:
        self._classes = {name: type(name, (), {}) for name in ("Node", *self._catalogue.types)}
        interface = _definition("Node", self._classes["Node"], "Everything with a global id.", is_interface=True)
        identity = StrawberryField(python_name="id", graphql_name="id", type_annotation=StrawberryAnnotation(ID))
        interface.fields = [identity]
        for name, declared in self._catalogue.types.items():
            definition = _definition(
                name, self._classes[name], declared.description, interfaces=[interface] if declared.is_node else []
            )
            definition.is_type_of = _is_type_of(name) if declared.is_node else None
        for name, declared in self._catalogue.types.items():
            fields = [self._field(declared, field) for field in declared.fields.values()]
            self._classes[name].__strawberry_definition__.fields = fields
        nodes = [self._classes[declared.name] for declared in self._catalogue.types.values() if declared.is_node]
        mutation, subscription = (
            self._classes[name] if self._catalogue.types[name].fields else None for name in ("Mutation", "Subscription")
        )
        config = StrawberryConfig(scalar_map=SCALARS)
        schema = strawberry.Schema(self._classes["Query"], mutation, subscription, types=nodes, config=config)
        self._attach(schema)
        return Composed(schema._schema, self._catalogue, schema.as_str() + "\n")  # noqa: SLF001 -- graphql-core's, to execute by

    def _attach(self, schema: strawberry.Schema) -> None:
        """Give graphql-core our resolvers instead of strawberry's: values are records, never instances of a class."""
        catalogue = self._catalogue
        resolvers = FieldResolvers(catalogue, frozenset(PERMISSIONS))
        pages = Pages(catalogue, resolvers)
        for graphql_type in schema._schema.type_map.values():  # noqa: SLF001
            if not isinstance(graphql_type, GraphQLObjectType) or graphql_type.name not in catalogue.types:
                continue
            declared = catalogue.types[graphql_type.name]
            for name, graphql_field in graphql_type.fields.items():
                field = declared.fields[name]
                convert = _converter(schema, graphql_field.extensions["strawberry-definition"].arguments, field)
                graphql_field.extensions["arguments"] = convert
                if isinstance(field.source, Mutation):
                    graphql_field.resolve = make_mutation(field, convert)
                    continue
                if isinstance(field.source, Subscription):
                    graphql_field.subscribe = guard(
                        catalogue, declared, field, make_subscribe(field, convert, catalogue)
                    )
                    graphql_field.resolve = resolve_change(name)
                    continue
                maker = pages if isinstance(field.source, Connection) else resolvers
                graphql_field.resolve = guard(catalogue, declared, field, maker.make(declared, field, convert))

    def _field(self, declared: TypeDeclaration, field: FieldDeclaration) -> StrawberryField:
        annotation = self._type(field)
        if self._catalogue.is_guarded(declared, field) and not isinstance(field.source, Mutation | Subscription):
            annotation = annotation | None  # refused, it is null, and its siblings are not
        made = DeclaredField(
            python_name=field.python_name,
            graphql_name=field.graphql_name,
            type_annotation=StrawberryAnnotation(annotation),
            description=field.description,
            deprecation_reason=field.deprecated,
        )
        made.declared, made.owner = field, declared
        made.arguments = self._arguments(field.source)
        return made

    def _type(self, field: FieldDeclaration) -> Any:  # noqa: ANN401, PLR0911 -- an annotation; one line for each kind of source
        source = field.source
        match source:
            case GlobalId():
                return ID
            case ViewerCan():
                return bool
            case One() | Find() | Embedded():
                cls = self._classes[source.target]
                whole = isinstance(source, Embedded) and source.when is None
                nullable = source.nullable if isinstance(source, One) else not whole
                return cls | None if nullable else cls
            case Many() | ManyByIds():
                return _list_of(self._classes[source.target])
            case JsonValue() | Given():
                return _shaped(self._classes[source.target], many=source.many, nullable=source.nullable)
            case Reference() | NodeById():
                return self._classes["Node"] | None
            case References():
                return _list_of(self._classes["Node"])
            case Connection():
                return self._classes[connection_names(source).connection]
            case Mutation():
                return self._classes[source.payload.__name__]
            case Subscription():
                return self._classes[source.target]
            case Resolve() | Batched() | Calculated():
                return self._returned(source)
            case _:
                adopt_enums(field.annotation)
                return field.annotation

    def _returned(self, source: Resolve | Batched | Calculated) -> Any:  # noqa: ANN401 -- an annotation
        if source.target is not None:
            return _shaped(self._classes[source.target], many=source.many, nullable=source.nullable)
        annotation = source.value if isinstance(source, Calculated) else annotations_of(source.function)["return"]
        if isinstance(source, Batched):
            annotation = annotation.__args__[1]
        adopt_enums(annotation)
        return annotation

    def _arguments(self, source: Any) -> list[StrawberryArgument]:  # noqa: ANN401 -- any source
        match source:
            case ViewerCan():
                return [_argument("permission", str)]
            case NodeById():
                return [_argument("id", ID)]
            case Find():
                return _parameters(source.clauses, skip=0)
            case Resolve() | Batched() | Calculated():
                return _parameters(source.function, skip=1 if isinstance(source, Calculated) else 2)
            case Mutation():
                return [_argument("input", source.input)]
            case Subscription():
                return [*_parameters(source.function, skip=2), _argument("after", str | None)]
            case Connection():
                return self._page_arguments(source)
            case _:
                return []

    def _page_arguments(self, source: Connection) -> list[StrawberryArgument]:
        arguments = [] if source.scope is None else _parameters(source.scope, skip=1)
        arguments += [_argument("first", int | None), _argument("after", str | None)]
        if source.filter is not None:
            arguments.append(_argument("filter", self._inputs.filter_type(source.filter.__filter__) | None))
        if source.orders is not None:
            arguments.append(_argument("orderBy", self._inputs.order_type(source.orders) | None))
        return arguments


def _definition(
    name: str,
    cls: type[Any],
    description: str | None,
    *,
    interfaces: list[StrawberryObjectDefinition] | None = None,
    is_interface: bool = False,
) -> StrawberryObjectDefinition:
    definition = StrawberryObjectDefinition(
        name=name,
        is_input=False,
        is_interface=is_interface,
        origin=cls,
        description=description,
        interfaces=interfaces or [],
        extend=False,
        directives=(),
        is_type_of=None,
        resolve_type=(lambda record, _info, _type: record.type_name) if is_interface else None,
        fields=[],
    )
    cls.__strawberry_definition__ = definition
    return definition


def _list_of(cls: Any) -> Any:  # noqa: ANN401 -- an annotation that is only known at run time
    return list[cls]


def _shaped(cls: Any, *, many: bool, nullable: bool) -> Any:  # noqa: ANN401 -- same
    return _list_of(cls) if many else cls | None if nullable else cls


def _is_type_of(name: str) -> Callable[[Any, Any], bool]:
    return lambda record, _info: record.type_name == name


def _argument(name: str, annotation: Any, default: Any = strawberry.UNSET) -> StrawberryArgument:  # noqa: ANN401
    return StrawberryArgument(
        name, to_camel_case(name.removesuffix("_")), StrawberryAnnotation(annotation), default=default
    )


def _parameters(function: Callable[..., Any], skip: int) -> list[StrawberryArgument]:
    """A function's parameters after those that we fill in ourselves, as GraphQL arguments."""
    annotations = annotations_of(function)
    arguments = []
    for parameter in list(inspect.signature(function).parameters.values())[skip:]:
        annotation = annotations[parameter.name]
        adopt_enums(annotation)
        given = parameter.default
        default = strawberry.UNSET if given is inspect.Parameter.empty or given is None else given
        arguments.append(_argument(parameter.name, annotation, default))
    return arguments


def _converter(
    schema: strawberry.Schema, arguments: list[StrawberryArgument], field: FieldDeclaration
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """From coerced GraphQL arguments to the Python values of a declared function's parameters."""
    if isinstance(field.source, Connection | Subscription):
        arguments = [
            argument for argument in arguments if argument.python_name not in {"first", "after", "filter", "orderBy"}
        ]
    config, registry = schema.config, schema.schema_converter.scalar_registry

    def convert(given: Mapping[str, Any]) -> dict[str, Any]:
        return convert_arguments(dict(given), arguments, registry, config)

    return convert
