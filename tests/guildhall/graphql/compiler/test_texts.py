"""Texts of SELECTs are written once for all documents, and what a request gives stays out of them."""

from collections import OrderedDict
from typing import Any

import pytest
from sqlalchemy import ClauseElement, column, literal, select, table
from sqlalchemy.types import NullType

from guildhall.auth.actor import Actor
from guildhall.graphql.compiler import texts
from guildhall.graphql.compiler.fragments import fragment
from guildhall.graphql.compiler.selects import Places, select_text
from guildhall.graphql.compiler.texts import Constant, Given, Hole, Named, Written, named, template


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What SQLAlchemy was asked to write, from nothing on."""
    found: list[str] = []

    def noted(statement: ClauseElement, places: Places) -> str:
        found.append(select_text(statement, places))
        return found[-1]

    monkeypatch.setattr(texts, "select_text", noted)
    monkeypatch.setattr(texts, "_kept", OrderedDict())
    return found


def told(hole: Hole) -> str:
    match hole:
        case Given(number, place, _):
            return f"<{number}.{place}>"
        case Constant(value):
            return f"<{value}>"
        case Named(name):
            return f"<{name}>"


ROOMS = table("rooms", column("name"))


class TestTemplate:
    def test_what_differs_is_a_hole(self, written: list[str]) -> None:
        given = fragment({"where": [ROOMS.c.name == "of a caller"]})

        def write() -> Written:
            strange = literal("what no literal writes", NullType())
            clauses = (*given.parts["where"], ROOMS.c.name == named("above"), ROOMS.c.name == "of ours")
            return Written(select(named("columns"), strange.label("s")).select_from(ROOMS).where(*clauses), "about it")

        made = template("key", None, [given], write)
        assert " ".join(made.filled(told).split()) == (
            "SELECT <columns>, <what no literal writes> AS s FROM rooms "
            "WHERE rooms.name = <0.0>::VARCHAR AND rooms.name = <above> AND rooms.name = 'of ours'"
        )
        assert made.about == "about it"
        assert template("key", None, [given], write) is made
        assert len(written) == 1

    def test_without_a_hole_it_is_the_text(self, written: list[str]) -> None:
        made = template("key", None, [], lambda: Written(select(ROOMS.c.name)))
        assert made.filled(told).split() == ["SELECT", "rooms.name", "FROM", "rooms"]

    def test_a_column_stands_alone(self, written: list[str]) -> None:
        def write() -> Written:
            statement = select(named("begin"), ROOMS.c.name.label("c"), named("end"))
            return Written(statement, between=("begin", "c", "end"))

        assert template("key", None, [], write).filled(told) == "rooms.name"

    def test_the_one_unused_for_longest_goes(self, written: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(texts, "TEXTS_MAX", 2)

        def ask(key: str) -> None:
            template(key, None, [], lambda: Written(select(ROOMS.c.name)))

        for key in ("one", "two", "one", "three"):
            ask(key)
        assert list(texts._kept) == ["one", "three"]
        ask("two")
        assert len(written) == 4


class TestDocuments:
    async def test_the_second_one_is_put_together_from_what_there_is(
        self, both: Any, anna: Actor, written: list[str]
    ) -> None:
        page = "{ houses(first: 2) { nodes { %s rooms(first: 1) { nodes { %s } } } } }"
        await both.ours(anna, page % ("id name createdAt", "name kind"))
        count = len(written)
        assert count > 0
        data = await both(anna, page % ("at: createdAt mine: name", "kind it: name"))
        assert list(data["houses"]["nodes"][0]) == ["at", "mine", "rooms"]
        assert len(written) == count
        await both(anna, page % ("bytes", "id"))
        assert len(written) > count
