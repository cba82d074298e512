"""One SELECT of SQLAlchemy as text whose values are numbered parameters: what requests give is bound, the rest literal.

A list of values (`IN`) becomes one array, so that its length does not change the statement.
"""

from collections.abc import Callable
from typing import Any, Protocol

from sqlalchemy import ARRAY, BindParameter, ClauseElement, Integer, String, Subquery
from sqlalchemy.dialects.postgresql.asyncpg import PGCompiler_asyncpg, PGDialect_asyncpg
from sqlalchemy.exc import CompileError
from sqlalchemy.types import TypeEngine
from sqlalchemy.util import immutabledict

Process = Callable[[Any], Any]


class Places(Protocol):
    """Gives values their `$n`, with what makes them fit for the driver."""

    def place(self, bind: BindParameter[Any], process: Process | None) -> str | None:
        """That of a value which requests give; None for one that a declaration fixes."""

    def constant(self, value: Any) -> str:  # noqa: ANN401 -- any value
        """That of a value which is the same for all requests, and which no literal writes."""

    def shared(self, rows: Subquery) -> str | None:
        """The name of rows that are read once for several places of the statement; None for all others."""


def select_text(statement: ClauseElement, places: Places) -> str:
    """The text of the statement."""
    return str(_Compiler(places, statement).string)


def type_text(type_: TypeEngine[Any]) -> str:
    """What PostgreSQL calls the type."""
    return _DIALECT.type_compiler_instance.process(type_)


class _Compiler(PGCompiler_asyncpg):
    def __init__(self, places: Places, statement: ClauseElement) -> None:
        self._places = places
        super().__init__(_DIALECT, statement)

    def visit_bindparam(self, bindparam: BindParameter[Any], *_: Any, **options: Any) -> str:  # noqa: ANN401
        """A parameter where a request gives the value; a literal where the declaration does."""
        implementation = bindparam.type._unwrapped_dialect_impl(self.dialect)  # noqa: SLF001 -- as `bindparam_string` does
        processor = bindparam.type._cached_bind_processor(self.dialect)  # noqa: SLF001
        name = None if bindparam.expanding else self._places.place(bindparam, processor)
        if name is None:
            options["literal_binds"] = True
            try:
                literal: str = super().visit_bindparam(bindparam, **options)  # type: ignore[no-untyped-call]
            except CompileError:
                value = bindparam.effective_value
                name = self._places.constant(value if processor is None else processor(value))
            else:
                known = isinstance(implementation, String | Integer) or not implementation.render_bind_cast
                return literal if known else f"{literal}::{type_text(implementation)}"
        return f"{name}::{type_text(implementation)}" if implementation.render_bind_cast else name

    def visit_select(self, select_stmt: Any, *arguments: Any, **options: Any) -> str:  # noqa: ANN401
        """As SQLAlchemy's core writes it: half of the time would go into a look for entities, and there are none."""
        if select_stmt._propagate_attrs:  # noqa: SLF001 -- where a SELECT remembers that it was made of mapped classes
            select_stmt = select_stmt._generate()  # noqa: SLF001
            select_stmt._propagate_attrs = immutabledict()  # noqa: SLF001
        return super().visit_select(select_stmt, *arguments, **options)  # type: ignore[no-untyped-call,no-any-return]

    def visit_subquery(self, subquery: Any, *arguments: Any, **options: Any) -> str:  # noqa: ANN401
        """Rows that are shared are named where they would stand."""
        name = self._places.shared(subquery)
        if name is None or not options.get("asfrom"):
            return super().visit_subquery(subquery, *arguments, **options)  # type: ignore[no-untyped-call,no-any-return]
        alias: Any = subquery.name
        if hasattr(alias, "apply_map"):  # made up by SQLAlchemy, which numbers such names in each statement
            alias = self._truncated_identifier("alias", alias)
        return f"{name} AS {alias}"

    def visit_in_op_binary(self, binary: Any, operator: Any, **options: Any) -> str:  # noqa: ANN401, ARG002
        """`= ANY` of an array, which an index serves as it serves IN."""
        return self._compared(binary, " = ANY ", options) or self._generate_generic_binary(binary, " IN ", **options)

    def visit_not_in_op_binary(self, binary: Any, operator: Any, **options: Any) -> str:  # noqa: ANN401
        """`<> ALL` of an array."""
        found = self._compared(binary, " <> ALL ", options)
        return found or super().visit_not_in_op_binary(binary, operator, **options)  # type: ignore[no-untyped-call]

    def _compared(self, binary: Any, how: str, options: dict[str, Any]) -> str | None:  # noqa: ANN401
        values = binary.right
        if not isinstance(values, BindParameter) or not values.expanding:
            return None
        processor = values.type._cached_bind_processor(self.dialect)  # noqa: SLF001
        name = self._places.place(
            values, None if processor is None else lambda given: [processor(value) for value in given]
        )
        if name is None:
            return None
        left = self.process(binary.left, **options)
        return f"{left}{how}({name}::{type_text(ARRAY(values.type))})"


_DIALECT: PGDialect_asyncpg = PGDialect_asyncpg(paramstyle="named")  # type: ignore[no-untyped-call]
