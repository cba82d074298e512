"""What each request makes anew: the rules of what its caller may see, and the clauses that follow from arguments."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sqlalchemy import BindParameter, BooleanClauseList, ColumnElement, Subquery, exists, literal_column, select
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.sql.operators import and_, or_

from guildhall.auth.actor import Actor
from guildhall.auth.permissions import permission_named
from guildhall.graphql import statements
from guildhall.graphql.compiler.fragments import Fragment, fragment, noted
from guildhall.graphql.compiler.keeping import kept, ruled
from guildhall.graphql.compiler.runs import FallBack, FieldCall, Run
from guildhall.graphql.compiler.selects import Process, select_text
from guildhall.graphql.context import Context
from guildhall.graphql.cursors import InvalidCursor
from guildhall.graphql.declarations import TypeDeclaration
from guildhall.graphql.filters import filter_clauses
from guildhall.graphql.pages import NO_ARGUMENTS, binding_of, list_orders
from guildhall.graphql.sources import Calculated, Clauses, Connection, Find, Scope
from guildhall.graphql.viewing import Viewing

Source = Callable[[Run], Fragment]


@dataclass(frozen=True)
class Visible:
    """Which rows of a type exist for the caller; nothing to ask where the row above tells it already."""

    target: TypeDeclaration
    above: TypeDeclaration | None = None
    link: tuple[Any, Any] | None = None
    where: tuple[Any, ...] = ()

    @cached_property
    def place(self) -> tuple[object, ...]:
        """What the rule depends on besides the caller: the type, what links it to the row above, what else holds."""
        return (self.target.name, None if self.above is None else self.above.name, self.link, self.where)

    def __call__(self, run: Run) -> Fragment:
        """Kept for each caller, since it follows from who they are and from the policy alone."""
        return ruled(self.place, run, lambda: self._made(run))

    def _made(self, run: Run) -> Fragment:
        if self._is_told(run.context.actor):
            return noted("told by the row above")
        return fragment({"where": statements.visible_clauses(self.target, run.context)})

    def _is_told(self, actor: Actor) -> bool:
        """Whether the rule holds where the row above exists, or the rule of that row says that we do.

        A rule of alternatives holds with one of them, and that one where each of its conditions is met: by the list's
        own WHERE, or because it is no more than that the row above exists.
        """
        above, target = self.above, self.target
        if self.link is None or above is None or above.visible is None or target.visible is None:
            return False
        local, remote = self.link
        rule, theirs, link = target.visible(actor), above.visible(actor), local == remote
        held = [_Asked.of(target, condition) for condition in self.where]
        for way in _parts(rule, or_):
            conditions = _parts(way, and_)
            if all(
                _Asked.of(target, each) in held or _says_that(target, each, local, link, theirs) for each in conditions
            ):
                return True
        return _says_that(above, theirs, remote, remote == local, rule)


def _parts(clause: Any, operator: Callable[..., object]) -> list[Any]:  # noqa: ANN401 -- clauses
    """What AND or OR joins, without the brackets that it puts around; else the clause itself."""
    if not isinstance(clause, BooleanClauseList) or clause.operator is not operator:
        return [clause]
    return [part.element if isinstance(part, Grouping) else part for part in clause.clauses]


def _says_that(
    owner: TypeDeclaration,
    rule: ColumnElement[bool],
    key: Any,  # noqa: ANN401 -- an expression
    link: ColumnElement[bool],
    other: ColumnElement[bool],
) -> bool:
    """Whether a rule is that the other row exists, in one of the two ways that SQLAlchemy has to say so."""
    asked = _Asked.of(owner, rule)
    ways = (exists().where(link, other), select(key).where(link, other).exists())
    return any(_Asked.of(owner, way) == asked for way in ways)


@dataclass
class _Asked:
    """A rule as PostgreSQL would be asked: two that are the same to it are the same rule."""

    values: list[Any]
    text: str = ""

    @classmethod
    def of(cls, owner: TypeDeclaration, rule: ColumnElement[bool]) -> "_Asked":
        """Compiled where it belongs: in a SELECT from the owner's table."""
        made = cls([])
        assert owner.table is not None, "a rule is about rows of a table"
        made.text = select_text(select(literal_column("1")).select_from(owner.table).where(rule), made)
        return made

    def place(self, bind: BindParameter[Any], process: Process | None) -> str:
        """Every value is bound."""
        return self.constant(bind.effective_value if process is None else process(bind.effective_value))

    def constant(self, value: Any) -> str:  # noqa: ANN401 -- any value
        """The place of a value."""
        self.values.append(value)
        return f"${len(self.values)}"

    def shared(self, _rows: Subquery) -> None:
        """A rule stands alone."""


@dataclass(frozen=True)
class Found:
    """The clauses of a field that finds one object by its arguments."""

    source: Find
    call: FieldCall

    def __call__(self, run: Run) -> Fragment:
        """Made by the declared function, which has arguments alone to look at."""
        given = run.arguments(self.call)
        made = self.source.clauses
        key = (self.call.convert, run.text(self.call))
        return kept(key, run, lambda _: fragment({"where": list(made(**self.call.convert(given)))}))


@dataclass(frozen=True)
class Known:
    """A row of which the request has the key."""

    key: Any
    value: Callable[[Run], Any]

    def __call__(self, run: Run) -> Fragment:
        """One comparison."""
        return fragment({"where": [self.key == self.value(run)]})


@dataclass(frozen=True)
class Narrowed:
    """A declared WHERE that depends on the request."""

    where: Callable[[Context], Clauses]

    def __call__(self, run: Run) -> Fragment:
        """Made by the declared function."""
        return kept(self, run, lambda context: fragment({"where": statements.where_clauses(self.where, context)}))


@dataclass(frozen=True)
class Computed:
    """A column that depends on the request.

    The columns of a level may be written as one text, which tells them apart by the binds of their fragments. So no two
    of a level ever are one fragment: these have a `label` each.
    """

    label: str
    operand: Callable[[Any], ColumnElement[Any]]

    def __call__(self, run: Run) -> Fragment:
        """Made by the declared function."""
        return kept(self, run, lambda context: fragment({"column": [self.operand(context)]}))


@dataclass(frozen=True)
class Calculation:
    """A column that depends on the field's arguments and on the caller, and on nothing else of the request.

    `twin` is how many columns of the statement are of the same field: with the same arguments they still are fragments
    of their own, as `Computed` says.
    """

    source: Calculated
    call: FieldCall
    types: Mapping[str, TypeDeclaration]
    twin: int

    def __call__(self, run: Run) -> Fragment:
        """Kept for each caller and arguments while the policy holds."""
        given = run.arguments(self.call)
        text = self._text if self.call.arguments.constant else repr(sorted(given.items()))
        key = (self.call.coordinate, self.twin, text)
        return ruled(key, run, lambda: self._made(run, given))

    @cached_property
    def _text(self) -> str:
        return repr(sorted(self.call.arguments.fixed.items()))

    def _made(self, run: Run, given: Mapping[str, Any]) -> Fragment:
        viewing = Viewing(run.context, self.types)
        return fragment({"column": [self.source.function(viewing, **self.call.convert(given))]})


@dataclass(frozen=True)
class _Place:
    """Stands for a value of a cursor while a fragment is made that serves all cursors."""

    index: int


@dataclass(frozen=True, eq=False)
class Listing:
    """What of a connection follows from arguments: WHERE, ORDER BY, where the page begins, rows that are joined in."""

    source: Connection
    target: TypeDeclaration | None
    call: FieldCall
    has_parent: bool

    def __call__(self, run: Run) -> Fragment:
        """As `guildhall.graphql.pages` makes the same list; alike wherever the page begins."""
        given = run.arguments(self.call)
        place = self._place(run, given)
        key = (self.call.convert, run.text(self.call), len(place))
        places = [_Place(index) for index in range(len(place))]
        found = kept(key, run, lambda context: self._made(context, given, places))
        if not place:
            return found
        values = tuple(place[value.index] if isinstance(value, _Place) else value for value in found.values)
        return replace(found, values=values)

    def _made(self, context: Context, given: Mapping[str, Any], place: Sequence[Any]) -> Fragment:
        source = self.source
        scope = Scope() if source.scope is None else source.scope(context, **self.call.convert(given))
        where = [*statements.where_clauses(source.where, context), *scope.where]
        if source.filter is not None:
            where += filter_clauses(source.filter.__filter__, given.get("filter"), context)
        orders = list_orders(source, self.target, scope, given.get("orderBy"))
        parts: dict[str, list[Any]] = {"where": where, "orders": [order.expression for order in orders]}
        if scope.rows is not None:
            parts["rows"] = [scope.rows]
            if source.reference is not None:
                kind, key, _ = source.reference
                parts |= {"kind": [scope.rows.c[kind]], "key": [scope.rows.c[key]]}
        parts |= {f"edge {name}": [value] for name, value in scope.edge.items()}
        parts |= {f"fact {name}": [value] for name, value in scope.facts.items()}
        if place:
            if len(place) != len(orders):
                raise FallBack  # only where it is somebody else's cursor, which will be refused
            parts["after"] = [statements.after_clause(orders, place)]
        return fragment(parts, *(order.descending for order in orders))

    def _place(self, run: Run, given: Mapping[str, Any]) -> Sequence[Any]:
        """Where the page begins. Whose list below a row the cursor belongs to is asked when the row is known."""
        signer, after = run.context.signer, given.get("after")
        if after is None:
            return ()
        try:
            if self.has_parent:
                return signer.read(after)
            return signer.open(self.binding(run), after)
        except InvalidCursor as error:
            raise FallBack from error

    def binding(self, run: Run) -> bytes:
        """What the list's cursors are bound to, beside the object whose list it is."""
        return binding_of(self.call.coordinate, run.text(self.call), run.context.actor)

    def first(self, run: Run) -> int:
        """How many rows; what is missing or too much is for graphql-core to refuse."""
        first = run.arguments(self.call).get("first")
        if not isinstance(first, int) or not 0 <= first <= run.context.settings.graphql_page_max:
            raise FallBack
        return first


@dataclass(frozen=True)
class Signing:
    """The keys that the cursors of a list are signed with."""

    listing: Listing

    def __call__(self, run: Run) -> Fragment:
        """Kept for each caller where the list has no arguments; of those there are as many as callers make up."""
        call, signer = self.listing.call, run.context.signer
        if run.text(call) != NO_ARGUMENTS:
            return self._made(run)
        return ruled((signer, call.coordinate), run, lambda: self._made(run))

    def _made(self, run: Run) -> Fragment:
        return noted("signed", values=run.context.signer.keys(self.listing.binding(run)))


@dataclass(frozen=True)
class Permitted:
    """Where the caller holds a permission. One that is `asked` about may count in any team of the caller's own."""

    permission: Callable[[Run], str]
    asked: bool = False

    def __call__(self, run: Run) -> Fragment:
        """The values: whether the caller may on common ground, and the teams in which they may."""
        actor, permission = run.context.actor, self.permission(run)
        common = actor.may(permission, None)
        teams = actor.teams_where(permission)
        if self.asked and permission_named(permission).in_own_team:
            return noted("always" if teams != frozenset() else "never")
        if teams is None and common:
            return noted("always")
        return noted("everywhere" if teams is None else "in teams", values=[common, sorted(teams or ())])
