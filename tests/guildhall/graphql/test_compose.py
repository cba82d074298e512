"""Composing declarations, and the small parts that it rests on."""

import base64
from uuid import UUID

import pytest
from sqlalchemy import Dialect
from sqlalchemy.dialects import postgresql

from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.compose import compose
from guildhall.graphql.context import Services
from guildhall.graphql.cursors import CursorSigner, InvalidCursor
from guildhall.graphql.declare import column, extend, object_type, one
from guildhall.graphql.record import Record
from guildhall.graphql.statements import Order, after_clause
from tests.guildhall.graphql.example import DISCOVER, TYPES, House, Room

DIALECT: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own


@object_type("Orphan")
class Orphan:
    """Leads to a type that nobody declares."""

    name: str
    castle = one("Castle", local="castle_id")


@extend("Query", permission=DISCOVER)
class OrphanQueries:
    """A way to it."""

    orphan = one("Orphan", local="orphan")


@extend("Moat")
class MoatFields:
    """Extends what is not there."""

    depth: int = column("depth")


class TestCompose:
    def test_partial_leaves_out_what_leads_nowhere(self) -> None:
        text = compose([*TYPES, Orphan, OrphanQueries, MoatFields], partial=True).text
        assert "type Orphan {\n  name: String!\n}" in text
        assert "Moat" not in text

    def test_two_types_of_one_name_are_refused(self) -> None:
        with pytest.raises(AssertionError, match="two types are named House"):
            compose([*TYPES, TYPES[2]])

    def test_a_field_that_two_extensions_add_is_refused(self) -> None:
        with pytest.raises(AssertionError, match=r"Query\.houses is declared twice"):
            compose([*TYPES, TYPES[8]])

    def test_a_refusable_field_is_nullable_by_itself(self) -> None:
        text = compose(TYPES).text
        assert "houses(first: Int, after: String): HouseConnection\n" in text


class TestAfterClause:
    def test_orders_of_one_direction_are_one_comparison_of_rows(self) -> None:
        orders = [Order(House.name.expression, descending=True), Order(House.id.expression, descending=True)]
        clause = after_clause(orders, ["a", UUID(int=1)]).compile(
            dialect=DIALECT, compile_kwargs={"literal_binds": True}
        )
        assert str(clause) == (
            "(example_houses.name, example_houses.id) < ('a', '00000000-0000-0000-0000-000000000001')"
        )

    @pytest.mark.parametrize(("descending", "within", "beyond"), [(True, "<=", "<"), (False, ">=", ">")])
    def test_an_order_that_parts_the_table_is_a_limit_by_itself(
        self, descending: bool, within: str, beyond: str
    ) -> None:
        orders = [
            Order(House.name.expression, descending, partitioned=True),
            Order(House.id.expression, descending),
        ]
        clause = after_clause(orders, ["a", UUID(int=1)]).compile(
            dialect=DIALECT, compile_kwargs={"literal_binds": True}
        )
        assert str(clause) == (
            f"example_houses.name {within} 'a' AND (example_houses.name != 'a' OR "
            f"(example_houses.id) {beyond} ('00000000-0000-0000-0000-000000000001'))"
        )

    def test_mixed_directions_are_told_apart(self) -> None:
        orders = [Order(Room.kind.expression, descending=True), Order(Room.name.expression, descending=False)]
        clause = after_clause(orders, ["LARGE", "x"]).compile(dialect=DIALECT, compile_kwargs={"literal_binds": True})
        assert str(clause) == (
            "example_rooms.kind < 'LARGE' OR example_rooms.kind = 'LARGE' AND example_rooms.name > 'x'"
        )


class TestCursorSigner:
    def test_another_key_does_not_open(self) -> None:
        cursor = CursorSigner(b"a" * 32).sign(b"list", [1, "x", None, 2.5, True])
        assert CursorSigner(b"a" * 32).open(b"list", cursor) == [1, "x", None, 2.5, True]
        with pytest.raises(InvalidCursor):
            CursorSigner(b"b" * 32).open(b"list", cursor)

    def test_a_list_below_an_object_is_another_list(self) -> None:
        signer = CursorSigner(b"a" * 32)
        cursor = signer.sign(b"list", [1], "1")
        assert signer.open(b"list", cursor, "1") == [1]
        for binding, parent in ((b"list", None), (b"list", "2"), (b"list", "11"), (b"other", "1")):
            with pytest.raises(InvalidCursor):
                signer.open(binding, cursor, parent)

    def test_keys_of_one_list_are_of_no_other(self) -> None:
        signer = CursorSigner(b"a" * 32)
        keys = [*signer.keys(b"list"), *signer.keys(b"other")]
        assert [len(key) for key in keys] == [64] * 4
        assert len(set(keys)) == 4

    @pytest.mark.parametrize(
        "body", [b"1", b"{", b"[[]]", b'[["u",1]]', b'[["u","x"]]', b'[["f","00"]]', b'[["f","x"]]', b'[["?","x"]]',
                 b'[["n","x"]]', b"[" * 1_400, b"\xff"]
    )  # fmt: skip
    def test_what_anybody_writes_is_no_cursor(self, body: bytes) -> None:
        cursor = base64.urlsafe_b64encode(b"m" * 16 + body).rstrip(b"=").decode()
        with pytest.raises(InvalidCursor):
            CursorSigner(b"a" * 32).read(cursor)


class TestServices:
    def test_a_service_is_found_by_its_type(self) -> None:
        services = Services().add(dict, {"a": 1})
        assert services.get(dict) == {"a": 1}
        with pytest.raises(AssertionError, match="without a list"):
            services.get(list)


class TestRecord:
    def test_it_shows_what_it_is(self) -> None:
        assert repr(Record("House", {"name": "x"})) == "Record('House', {'name': 'x'})"


def test_the_catalogue_knows_every_operand() -> None:
    catalogue: Catalogue = compose(TYPES).catalogue
    assert {"House.name", "House.hours.when", "Hours.opensAt", "Room.house.local"} <= catalogue.operands.keys()
