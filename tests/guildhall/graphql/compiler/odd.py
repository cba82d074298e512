"""What the example house has no use for: every kind of value, Python in every place, records of what is read."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Date,
    DateTime,
    Double,
    Integer,
    Numeric,
    String,
    Text,
    Uuid,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, INTERVAL, JSONB, array

from guildhall.auth.actor import Actor
from guildhall.graphql.context import Context
from guildhall.graphql.declare import (
    SIGNED_IN,
    batched,
    calculated,
    column,
    connection,
    embedded,
    extend,
    json_list,
    json_object,
    many,
    many_by_ids,
    node,
    object_type,
    one,
    reference,
    references,
    resolver,
)
from guildhall.graphql.recording import Recorded
from guildhall.graphql.scalars import ID, JSON, BigInt, Credits
from guildhall.graphql.sources import Scope
from tests.guildhall.graphql.example import (
    DISCOVER,
    SUBJECTS,
    WALLET,
    Guest,
    House,
    Note,
    Room,
    RoomKind,
    visible_houses,
    visible_rooms,
)
from tests.guildhall.graphql.example import TYPES as EXAMPLE

NEVER = House.name == ""
AT = datetime(2026, 1, 31, 9, 30, 0, 5, tzinfo=UTC)


class Suit(StrEnum):
    HEARTS = "HEARTS"
    SPADES = "SPADES"


class Shade(StrEnum):
    """Stored as it is not named."""

    DARK = "dark"


class Side(Enum):
    HEADS = "HEADS"


JSON_OF_ALL = {
    "text": 'a "quoted" \\ text\n\u2028 \u00fc',
    "whole": 7,
    "real": 0.25,
    "truth": True,
    "suit": "HEARTS",
    "texts": ["a", "b"],
    "any": {"z": [1, None], "a": {}},
    "big": 2**40,
    "credits": 12_500_000,
    "nothing": None,
    "room_ids": [str(UUID(int=1001)), str(UUID(int=9)), str(UUID(int=1000))],
    "room": str(UUID(int=1002)),
    "kind": "ROOM",
    "inner": {"text": "inner"},
    "id": "x",
}
WRONG = {"text": 1, "whole": 2**40, "texts": [1], "suit": "NONE", "credits": "x", "big": 1.5}


@object_type("Values")
class ValuesType:
    """A JSON object with a value of every kind."""

    text: str
    id_: ID | None = column("id")
    counted = calculated(key=House.id, value=int)(lambda _viewing: func.length(House.name))
    whole: int
    real: float
    truth: bool
    suit: Suit
    texts: list[str]
    any_: JSON | None = column("any")
    big: BigInt
    credits: Credits
    nothing: str | None
    rooms = many_by_ids("Room", "room_ids")
    room = one("Room", local="room")
    node = reference("kind", "room", types=SUBJECTS)
    seen = reference("kind", "room", types=SUBJECTS, seen=True)
    inner = json_object("Values", "inner")
    moment: datetime | None = column("text")
    secret: str | None = column("text", permission=WALLET)

    @resolver(needs={"text": "text"})
    def shouted(_context: Context, values: Mapping[str, Any]) -> str:
        return str(values["text"]).upper()


@object_type("Moments")
class MomentsType:
    """Made by Python: moments are not JSON of the database."""

    at: datetime
    day: date | None
    suit: Suit
    key: str
    house = one("House", local="house")


@object_type("Coin")
class CoinType:
    side: Side


def caller_name(context: Context) -> ColumnElement[str]:
    return literal(context.actor.name, String)


@object_type("Scalars", table=House)
class ScalarsType:
    real: float = column(literal_column("0.1", Double) * 3)
    exact: float | None = column(cast(literal("0.125"), Numeric))
    day: date = column(cast(literal("2026-01-31"), Date))
    last_day: date = column(cast(literal("infinity"), Date))
    forever: datetime = column(cast(literal("infinity"), DateTime(timezone=True)))
    ever: datetime | None = column(cast(literal("-infinity"), DateTime(timezone=True)))
    truth: bool = column(House.opens_at != "")
    no_truth: bool | None = column(case((NEVER, House.opens_at != "")))
    at: datetime = column(literal(AT, DateTime(timezone=True)))
    no_time: datetime | None = column(case((NEVER, House.created_at)))
    asked_at: datetime = column(lambda context: literal(context.at, DateTime(timezone=True)))
    asked_of: str = column(lambda context: literal(context.settings.public_url, String))
    asked_by: str = column(caller_name)
    asked_by_whom: str = column(caller_name)
    suit: Suit = column(literal("SPADES", String))
    shade: Shade = column(literal("dark", String))
    texts: list[str] = column(array([House.name, House.opens_at]))
    no_texts: list[str] | None = column(case((NEVER, array([House.name]))))
    any_: JSON = column(House.doors)
    small: int = column(cast(literal("7"), Integer))
    credits: Credits = column(cast(literal("-12500001"), BigInteger))
    values = json_object("Values", literal(JSON_OF_ALL, JSONB), nullable=False)
    no_values = json_object("Values", case((NEVER, House.doors)))
    several = json_list("Values", func.jsonb_build_array(literal(JSON_OF_ALL, JSONB)))
    pairs = references(
        literal(["HOUSE", "GARDEN", "ROOM"], ARRAY(Text)),
        literal([UUID(int=100), UUID(int=1), UUID(int=1000)], ARRAY(Uuid)),
        types=SUBJECTS,
    )
    some = many(
        "Room",
        local=House.id,
        remote=Room.house_id,
        order_by=[Room.name],
        where=lambda context: [Room.created_at < context.at, Room.kind.not_in([context.actor.name])],
    )
    never = many("Room", local=None, remote=None, order_by=[Room.name], where=[Room.kind.not_in(["SMALL"])])


@object_type("Mistakes", table=House)
class MistakesType:
    """Each is refused by graphql-core, and so by the statement."""

    no_number: float | None = column(cast(literal("NaN"), Double))
    too_big: int | None = column(literal(2**40, BigInteger))
    many_bytes: int | None = column(House.bytes)
    no_suit: Suit | None = column(literal("NONE", String))
    no_shade: Shade | None = column(literal("DARK", String))
    missing: str = column(case((NEVER, House.name)))
    values = json_object("Values", literal(WRONG, JSONB))
    no_object = json_object("Values", case((NEVER, House.doors)), nullable=False)
    room = one("Room", local=case((NEVER, House.id)), nullable=False)
    needed = embedded("Scalars", when=NEVER, permission=WALLET)


@object_type("Uncompiled", table=House)
class UncompiledType:
    """No statement writes these."""

    number: int = column(cast(House.price, INTERVAL))
    texts: list[str] = column(cast(House.price, Integer))
    suit: Suit = column(cast(House.price, Integer))


@node(
    "Secret",
    table=Room,
    visible=None,
    permission=DISCOVER,
    recorded=Recorded(Room.kind == "LARGE", [("Secret", Room.id), ("House", Room.house_id)]),
)
class SecretType:
    name: str = column(Room.name)
    kind: RoomKind = column(Room.kind)


def visible_memos(actor: Actor) -> ColumnElement[bool]:
    """Memos exist where what they are about does, in one of two ways."""
    house = exists().where(House.id == Note.subject_id, visible_houses(actor))
    room = exists().where(Room.id == Note.subject_id, visible_rooms(actor))
    return or_(and_(Note.subject_kind == "HOUSE", house), and_(Note.subject_kind == "ROOM", room))


@node("Memo", table=Note, visible=visible_memos, permission=DISCOVER)
class MemoType:
    text: str = column(Note.text)


@node("Keeper", table=Guest, visible=None, permission=WALLET)
class KeeperType:
    name: str = column(Guest.name)


@extend("House")
class OddHouse:
    memos = connection(
        "Memo",
        local=House.id,
        remote=Note.subject_id,
        where=[Note.subject_kind == "HOUSE"],
        default_order=[Note.text],
    )
    loose_memos = many("Memo", local=House.id, remote=Note.subject_id, order_by=[Note.text])
    keeper = one("Keeper", local=literal(UUID(int=500), Uuid), nullable=False)
    lost_keeper = one("Keeper", local=literal(UUID(int=9), Uuid), nullable=False)
    scalars = embedded("Scalars")
    mistakes = embedded("Mistakes")
    uncompiled = embedded("Uncompiled")
    secrets = connection("Secret", local=House.id, remote=Room.house_id, default_order=[Room.name])

    @resolver(needs={"at": House.created_at, "ids": House.favourite_ids}, returns="Moments")
    def moments(_context: Context, values: Mapping[str, Any], *, none: bool = False) -> Any:
        if none:
            return None
        assert all(isinstance(key, UUID) for key in values["ids"])
        return {"at": values["at"], "day": values["at"].date(), "suit": Suit.HEARTS, "key": UUID(int=1), "house": None}

    @resolver(needs={"id": House.id}, returns="Moments", many=True)
    async def several(_context: Context, values: Mapping[str, Any], *, count: int = 2) -> Any:
        made = {"at": AT, "day": None, "suit": Suit.SPADES, "key": "k", "house": values["id"]}
        return None if count < 0 else [made] * count

    @resolver(needs={"id": House.id}, returns="Moments", nullable=False)
    def never(_context: Context, _values: Mapping[str, Any]) -> Any:
        return None

    @resolver(needs={"id": House.id}, returns="House")
    def itself(_context: Context, values: Mapping[str, Any]) -> Any:
        return values["id"]

    @resolver(needs={"id": House.id})
    def days(_context: Context, _values: Mapping[str, Any], *, none: bool = False) -> list[Suit]:
        return None if none else [Suit.HEARTS, Suit.SPADES]  # type: ignore[return-value]

    keyed_text = embedded("Found")
    strange = reference(literal("SHED", String), House.id, types={"SHED": "Shed"})
    kept = reference(
        literal("ROOM", String), literal(UUID(int=1000), Uuid), types={"ROOM": "Secret", "HOUSE": "House"}, seen=True
    )

    @resolver(needs={"id": House.id}, returns="Values")
    def keyed(_context: Context, values: Mapping[str, Any]) -> Any:
        return values["id"]

    @resolver(needs={"id": House.id}, returns="Coin")
    def coin(_context: Context, _values: Mapping[str, Any]) -> Any:
        return {"side": Side.HEADS}

    @resolver(needs={"id": House.id})
    def wrong(_context: Context, _values: Mapping[str, Any]) -> int:
        return "no number"  # type: ignore[return-value]

    @resolver(needs={"id": House.id}, returns="Values")
    def unwritable(_context: Context, _values: Mapping[str, Any]) -> Any:
        return {"text": object()}

    @batched(key=House.id, permission=WALLET)
    async def balances(_context: Context, keys: Sequence[UUID]) -> Mapping[UUID, int]:
        return {key: key.int for key in keys}

    @batched(key=case((House.opens_at != "", House.id)))
    async def opened(_context: Context, keys: Sequence[UUID]) -> Mapping[UUID, str | None]:
        return dict.fromkeys(keys, "open")


@object_type("Someone")
class SomeoneType:
    name: str
    favourites = connection("Room", default_order=[Room.name])

    @resolver()
    def badges(context: Context, _values: Mapping[str, Any]) -> list[str]:
        return [context.actor.name, "guest"]


def ranked(context: Context, *, words: list[str]) -> Scope:
    rows = select(Room.id.label("id"), func.length(Room.name, type_=Integer).label("score")).subquery()
    edge = {"score": rows.c.score, "found": func.jsonb_build_array(func.jsonb_build_object("text", Room.name))}
    where = [Room.name.not_in(words), Room.created_at < context.at]
    return Scope(rows=rows, where=where, order_by=[rows.c.score.desc()], edge=edge)


def sought(_context: Context, *, name: str) -> Scope:
    rows = select(House.id).where(House.name.contains(name)).subquery()
    return Scope(rows=rows, order_by=[House.name.asc()])


@object_type("Found")
class FoundType:
    text: str


@object_type("RankedEdgeFields")
class RankedEdgeType:
    score: int
    found = json_list("Found", "found")


@object_type("StrangeEdgeFields")
class StrangeEdgeType:
    room = one("Room", local="room")


@object_type("StrangeFactsFields")
class StrangeFactsType:
    rooms = json_list("Found", "rooms")


@extend("Query", permission=DISCOVER)
class OddQueries:
    prices = connection("House", name="Price", default_order=[House.price.desc(), House.name], permission=WALLET)
    ranked = connection("Room", name="Ranked", scope=ranked, edge=RankedEdgeType)
    sought = connection("House", name="Sought", scope=sought)
    strange = connection(
        "Room", name="Strange", default_order=[Room.name], edge=StrangeEdgeType, facts=StrangeFactsType
    )

    @resolver(returns="Someone", nullable=False, permission=SIGNED_IN)
    async def me(context: Context, _values: Mapping[str, Any]) -> Any:
        return {"name": context.actor.name}

    @resolver(returns="Someone", many=True)
    def people(_context: Context, _values: Mapping[str, Any], *, count: int = 1) -> Any:
        return None if count < 0 else [{"name": f"person {number}"} for number in range(count)]

    @resolver(returns="Someone")
    def nobody(_context: Context, _values: Mapping[str, Any]) -> Any:
        return None


TYPES = [
    *EXAMPLE, CoinType, ValuesType, MomentsType, ScalarsType, MistakesType, UncompiledType, SecretType, MemoType,
    KeeperType, OddHouse, SomeoneType, FoundType, RankedEdgeType, StrangeEdgeType, StrangeFactsType, OddQueries,
]  # fmt: skip
