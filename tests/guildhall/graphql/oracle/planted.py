"""Mistakes that a compiler can make, put into ours for a while: each must be seen by comparing answers."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from graphql import DocumentNode
from sqlalchemy import Integer

from guildhall.graphql.compiler import compile as compiling
from guildhall.graphql.compiler import keeping, leaves, selections, slots, switches, texts, writer
from guildhall.graphql.compiler.fragments import fragment, noted
from guildhall.graphql.compiler.levels import Levels, Parameters
from guildhall.graphql.compiler.pieces import Piece, Sql
from guildhall.graphql.compiler.result import Marks

Plant = Callable[[pytest.MonkeyPatch], None]
BUGS: dict[str, Plant] = {}


def bug(plant: Plant) -> Plant:
    """Name a mistake after its function."""
    BUGS[plant.__name__] = plant
    return plant


def plant(name: str, patch: pytest.MonkeyPatch) -> None:
    """One of the mistakes, with caches of its own.

    What was made without it would hide it, and what is made with it must not be met when it is gone.
    """
    patch.setattr(texts, "_kept", OrderedDict())
    patch.setattr(keeping, "_kept", OrderedDict())
    patch.setattr(keeping, "_callers", WeakKeyDictionary())
    BUGS[name](patch)


@bug
def lost_visibility(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(slots.Visible, "__call__", lambda _self, _run: noted("everybody sees all"))


@bug
def lost_visibility_of_a_count(patch: pytest.MonkeyPatch) -> None:
    counted = Levels.counted
    patch.setattr(Levels, "counted", lambda self, level, maximum: counted(self, replace(level, visible=None), maximum))


@bug
def lost_join(patch: pytest.MonkeyPatch) -> None:
    """Rows of all parents under each."""
    where = Levels._where
    patch.setattr(Levels, "_where", lambda self, level: where(self, replace(level, link=None)))


@bug
def null_for_an_empty_list(patch: pytest.MonkeyPatch) -> None:
    def as_list(items: str) -> list[Piece]:
        return [Sql(f"coalesce('[' || ({items}) || ']', 'null')")]

    patch.setattr(writer, "_list", as_list)


@bug
def dropped_order(patch: pytest.MonkeyPatch) -> None:
    """All lists ascending, whatever was asked."""
    order = Levels._order

    patch.setattr(Levels, "_order", lambda self, level: [each.element.asc() for each in order(self, level)])


@bug
def one_text_for_all_rules(patch: pytest.MonkeyPatch) -> None:
    """The SELECT of whoever asked first, whatever the next one may see, filter or order by."""
    template = texts.template

    def careless(key: Any, *rest: Any) -> Any:
        shapes = next((index for index, part in enumerate(key) if index > 0 and part == "shapes"), None)
        return template(key if shapes is None else (*key[:shapes], *key[shapes + 2 :]), *rest)

    patch.setattr("guildhall.graphql.compiler.levels.template", careless)


@bug
def one_value_for_all_aliases(patch: pytest.MonkeyPatch) -> None:
    """Aliases that were asked for the same first are answered alike ever after."""
    value = Parameters.value

    def last(self: Parameters, slot: int, *rest: Any) -> str:
        made = self.fragments[slot]
        return value(self, max(n for n, each in enumerate(self.fragments) if each is made), *rest)

    patch.setattr(Parameters, "value", last)


@bug
def page_one_row_short(patch: pytest.MonkeyPatch) -> None:
    """Nothing tells any more that there is a next page."""
    patch.setattr(
        Levels, "limit", lambda self, level: str(level.limit) if isinstance(level.limit, int) else self.first(level)
    )


@bug
def page_one_row_long(patch: pytest.MonkeyPatch) -> None:
    first = Levels.first
    patch.setattr(Levels, "first", lambda self, level: first(self, level) + " + 1")


@bug
def swapped_keys(patch: pytest.MonkeyPatch) -> None:
    """The second field's value under the first one's key, and the other way round."""
    entries = selections._entries

    def swapped(grouped: Any) -> Any:
        found = list(entries(grouped))
        if len(found) > 1:
            one, other = found[:2]
            found[:2] = [(other[0], *one[1:]), (one[0], *other[1:])]
        return iter(found)

    patch.setattr(selections, "_entries", swapped)


@bug
def lost_skip(patch: pytest.MonkeyPatch) -> None:
    """Directives read as if they were not there."""
    plan = compiling.CompiledDocument._plan

    def all_of_it(self: Any, document: DocumentNode, operation: Any, run: Any) -> Any:
        stripped = switches.without_switches(document)
        name = None if operation.name is None else operation.name.value
        found = compiling.operation_named(stripped, name)
        assert found is not None, "the same operation as before"
        return plan(self, stripped, found, run)

    patch.setattr(compiling.CompiledDocument, "_plan", all_of_it)


@bug
def lost_cursor(patch: pytest.MonkeyPatch) -> None:
    """Every page is the first."""
    listing = slots.Listing.__call__

    def first_page(self: slots.Listing, run: Any) -> Any:
        made = listing(self, run)
        parts = {name: clauses for name, clauses in made.parts.items() if name != "after"}
        return fragment(parts, *made.notes)

    patch.setattr(slots.Listing, "__call__", first_page)


@bug
def cursor_of_anybody(patch: pytest.MonkeyPatch) -> None:
    """A cursor that is well made is good for every list and caller."""

    def place(_self: slots.Listing, run: Any, given: Any) -> Any:
        return () if given.get("after") is None else run.context.signer.read(given["after"])

    patch.setattr(slots.Listing, "_place", place)
    patch.setattr(Marks, "_checked", lambda _self, _rest: "")


@bug
def lost_filter(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(slots, "filter_clauses", lambda *_: [])


@bug
def lost_field_permission(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(writer._Writer, "_guarded", lambda self, member: self._pieces(member.member))


@bug
def permission_of_any_team(patch: pytest.MonkeyPatch) -> None:
    """Who may somewhere may everywhere."""
    condition = writer._Writer._condition

    def somewhere(self: Any, member: Any) -> str:
        found: str = condition(self, member)
        return found if found in {"true", "false"} else f"({found} OR true)"

    patch.setattr(writer._Writer, "_condition", somewhere)


@bug
def number_without_quotes(patch: pytest.MonkeyPatch) -> None:
    """Whole numbers of 64 bits as JSON numbers, which JavaScript rounds."""
    patch.setitem(leaves._ROWS, "BigInt", ((Integer, lambda column, _about: f"{column}::text"),))


@bug
def credits_a_tenth(patch: pytest.MonkeyPatch) -> None:
    credits_row = leaves._ROWS["Credits"]
    (type_, write), *_ = credits_row

    def smaller(column: str, about: Any) -> str:
        return write(f"({column} / 10)", about)

    patch.setitem(leaves._ROWS, "Credits", ((type_, smaller), *((other, smaller) for other, _ in credits_row[1:])))


@bug
def wrong_enum(patch: pytest.MonkeyPatch) -> None:
    """As some other convention would write it."""
    known = leaves._known
    patch.setattr(leaves, "_known", lambda kind, text: f"lower({known(kind, text)})")


@bug
def lost_record(patch: pytest.MonkeyPatch) -> None:
    """Closed records read without a trace."""
    patch.setattr(Marks, "_noted", lambda _self, _rest: "")
