"""How much of a schema is answered by statements, told when a server starts."""

from dataclasses import dataclass

from graphql import GraphQLObjectType, GraphQLSchema

from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.compiler.leaves import NoText, check_written
from guildhall.graphql.compiler.shapes import JsonKey, Leaf, RowValue
from guildhall.graphql.sources import Batched, Column, Mutation, Resolve, Subscription


@dataclass(frozen=True)
class Coverage:
    """Fields that can be read: by SQL alone, by Python within a statement, and those that no statement has."""

    sql: int
    python: int
    uncompiled: tuple[str, ...]

    def sentence(self) -> str:
        """One line for the log."""
        fields = self.sql + self.python + len(self.uncompiled)
        names = f": {', '.join(self.uncompiled)}" if self.uncompiled else ""
        return (
            f"{self.sql} of {fields} GraphQL fields are read by SQL alone, {self.python} by Python within a statement, "
            f"{len(self.uncompiled)} by graphql-core{names}"
        )


def coverage_of(schema: GraphQLSchema, catalogue: Catalogue) -> Coverage:
    """Every field of every type in the schema, but what changes things or is followed."""
    sql, python, uncompiled = 0, 0, []
    for declared in catalogue.types.values():
        type_ = schema.type_map.get(declared.name)
        if not isinstance(type_, GraphQLObjectType):
            continue
        for name, field in declared.fields.items():
            source = field.source
            if isinstance(source, Mutation | Subscription):
                continue
            if isinstance(source, Resolve | Batched):
                python += 1
                continue
            try:
                if isinstance(source, Column):
                    place = JsonKey("v", name, ours=True) if declared.table is None else RowValue("r", "c")
                    check_written(Leaf(place, type_.fields[name].type), source.expression)
                sql += 1
            except NoText as error:
                uncompiled.append(f"{declared.name}.{name} ({error})")
    return Coverage(sql, python, tuple(uncompiled))
