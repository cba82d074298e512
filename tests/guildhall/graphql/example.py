"""A small house of rooms, guests and notes: the worked example of guildhall/graphql/README.md, on tables of its own."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, ForeignKey, MetaData, Uuid, func, select, true, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import visible_rows
from guildhall.db.base import Id, MicroCredits, Timestamp
from guildhall.errors import Conflict, Invalid
from guildhall.graphql.context import Call, Context
from guildhall.graphql.declare import (
    SIGNED_IN,
    batched,
    calculated,
    column,
    connection,
    embedded,
    extend,
    find,
    json_list,
    many,
    many_by_ids,
    node,
    object_type,
    one,
    payload,
    reference,
    references,
    resolver,
)
from guildhall.graphql.filters import filters, matches, matching
from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import AnswerAndRollBack, mutation
from guildhall.graphql.scalars import ID, BigInt, Credits
from guildhall.graphql.sources import Clauses, Orders, Scope
from guildhall.graphql.viewing import Viewing

DISCOVER = "registry:model:discover"
WALLET = "marketplace:wallet:read"


class ExampleBase(DeclarativeBase):
    metadata = MetaData()


class RoomKind(StrEnum):
    SMALL = "SMALL"
    LARGE = "LARGE"


class House(ExampleBase):
    __tablename__ = "example_houses"
    id: Mapped[Id]
    name: Mapped[str]
    team_id: Mapped[UUID]
    visibility: Mapped[str]
    created_at: Mapped[Timestamp]
    doors: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    favourite_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid(as_uuid=True)))
    price: Mapped[MicroCredits]
    bytes: Mapped[int] = mapped_column(BigInteger)
    opens_at: Mapped[str]
    closes_at: Mapped[str]


class Room(ExampleBase):
    __tablename__ = "example_rooms"
    id: Mapped[Id]
    house_id: Mapped[UUID] = mapped_column(ForeignKey("example_houses.id"))
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    created_at: Mapped[Timestamp]


class Guest(ExampleBase):
    __tablename__ = "example_guests"
    id: Mapped[Id]
    name: Mapped[str]


class Stay(ExampleBase):
    __tablename__ = "example_stays"
    house_id: Mapped[UUID] = mapped_column(primary_key=True)
    guest_id: Mapped[UUID] = mapped_column(primary_key=True)


class Note(ExampleBase):
    __tablename__ = "example_notes"
    id: Mapped[Id]
    text: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    author_id: Mapped[UUID | None]


SUBJECTS = {"HOUSE": "House", "ROOM": "Room"}


def visible_houses(actor: Actor) -> Any:
    return visible_rows(actor, visibility_column=House.visibility, team_column=House.team_id, permission=DISCOVER)


def visible_rooms(actor: Actor) -> Any:
    return select(House.id).where(House.id == Room.house_id, visible_houses(actor)).exists()


@filters("RoomFilter")
class RoomFilter:
    kind: RoomKind = matches(Room.kind)
    created_at: datetime = matches(Room.created_at)
    house: str = matches(House.name, via=lambda clause: Room.house_id.in_(select(House.id).where(clause)))
    text: str = matching(lambda value, _context: Room.name.contains(value, autoescape=True))


ROOM_ORDERS = Orders("Room", {"CREATED_AT": Room.created_at, "NAME": Room.name})


@object_type("Door")
class DoorType:
    """A value in JSON: bare annotations read the key of their own name."""

    colour: str
    width: float = column("width_m")


@object_type("Hours", table=House)
class HoursType:
    """A part of a house's own row."""

    opens_at: str = column(House.opens_at)
    closes_at: str = column(House.closes_at)
    rooms = many("Room", local=House.id, remote=Room.house_id, order_by=[Room.name], maximum=3)


@node("House", table=House, visible=visible_houses, permission=DISCOVER, team=House.team_id)
class HouseType:
    """A house of a team."""

    name: str = column(House.name)
    created_at: datetime = column(House.created_at)
    price: Credits | None = column(House.price, permission=WALLET)
    bytes_: BigInt = column(House.bytes)
    room_count: int = column(
        select(func.count())
        .select_from(Room)
        .where(Room.house_id == House.id)
        .correlate(House.__table__)
        .scalar_subquery()
    )
    doors = json_list("Door", House.doors)
    hours = embedded("Hours", when=House.opens_at != "")
    rooms = connection(
        "Room",
        local=House.id,
        remote=Room.house_id,
        filter=RoomFilter,
        orders=ROOM_ORDERS,
        default_order=[Room.created_at.desc()],
    )
    guests = many(
        "Guest",
        local=House.id,
        remote=Stay.house_id,
        through=(Stay, Stay.guest_id == Guest.id),
        order_by=[Guest.name],
        maximum=10,
    )
    favourites = many_by_ids("Room", House.favourite_ids)
    notes = references(
        Note.subject_kind,
        Note.subject_id,
        types=SUBJECTS,
        table=Note,
        local=House.id,
        remote=Note.author_id,
        order_by=[Note.id],
    )

    @resolver(needs={"name": House.name})
    def shouted(_context: Context, values: Mapping[str, Any], *, marks: int = 1) -> str:
        """The name, loud."""
        return str(values["name"]).upper() + "!" * marks

    @calculated(key=House.id, returns="Weather", nullable=False)
    def forecast(viewing: Viewing, *, days: int = 1) -> ColumnElement[Any]:
        """The first room that exists for the caller, as JSON."""
        room = Room.__table__.alias("room")
        best = select(room.c.id).where(room.c.house_id == House.id, viewing.exists("Room", room.c.id, room))
        best = best.order_by(room.c.name).limit(1).correlate(House.__table__)
        return func.jsonb_build_object("days", days, "best_room", best.scalar_subquery(), type_=JSONB)

    @calculated(key=House.id, value=int | None)
    def letters(viewing: Viewing, *, times: int = 1) -> ColumnElement[Any]:
        """Of the names of house and caller; negative `times` are refused."""
        if times < 0:
            raise Invalid("`times` cannot be negative.", field="times")
        return func.length(House.name) * times + len(viewing.actor.name)

    @batched(key=House.id, returns="Weather", nullable=False)
    async def weather(_context: Context, keys: Sequence[UUID], *, days: int = 1) -> Mapping[UUID, Any]:
        """One call for all houses of a level."""
        return {key: {"days": days, "best_room": None} for key in keys}


@object_type("Weather")
class WeatherType:
    days: int
    best_room = one("Room", local="best_room")


@node("Room", table=Room, visible=visible_rooms, permission=DISCOVER)
class RoomType:
    """A room of a house."""

    name: str = column(Room.name)
    kind: RoomKind = column(Room.kind)
    created_at: datetime = column(Room.created_at)
    house = one("House", local=Room.house_id, nullable=False)


@node("Guest", table=Guest, visible=None, permission=SIGNED_IN)
class GuestType:
    name: str = column(Guest.name)


@object_type("Note", table=Note)
class NoteType:
    text: str = column(Note.text)
    subject = reference(Note.subject_kind, Note.subject_id, types=SUBJECTS)


@extend("Room")
class RoomNotes:
    """What an upper package adds."""

    notes = many("Note", local=Room.id, remote=Note.subject_id, order_by=[Note.id], maximum=5)


@object_type("RoomHit")
class RoomHit:
    """What an edge of a search has besides its node."""

    score: float


def search_scope(_context: Context, *, text: str) -> Scope:
    found = (
        select(Room.id, (func.length(Room.name) * 1.0).label("score"))
        .where(Room.name.contains(text, autoescape=True))
        .subquery("found")
    )
    return Scope(rows=found, order_by=[found.c.score.desc()], edge={"score": found.c.score})


def things_scope(_context: Context) -> Scope:
    rows = select(Note.subject_kind.label("kind"), Note.subject_id.label("id"), Note.text.label("text")).subquery(
        "things"
    )
    return Scope(
        rows=rows,
        order_by=[rows.c.text.asc()],
        edge={"text": rows.c.text},
        facts={"complete": select(true()).scalar_subquery()},
    )


@object_type("ThingEdgeFields")
class ThingEdge:
    text: str


@object_type("ThingFacts")
class ThingFacts:
    complete: bool


@extend("Query", permission=DISCOVER)
class Queries:
    houses = connection("House", default_order=[House.name])
    search_rooms = connection(
        "Room", name="RoomHit", scope=search_scope, edge=RoomHit, filter=RoomFilter, count_maximum=3
    )
    things = connection(
        "Node", name="Thing", scope=things_scope, edge=ThingEdge, facts=ThingFacts, reference=("kind", "id", SUBJECTS)
    )

    @find("House", permission=DISCOVER)
    def house(name: str) -> Clauses:
        """A house by its name."""
        return [House.name == name]


@input_type
class RenameHouseInput(MutationInput):
    house_id: ID
    name: str
    dry_run: bool = False


@payload
class RenameHousePayload:
    house = one("House", local="house")
    previous: str | None = column("previous")


class NameTaken(Conflict):
    code = "NAME_TAKEN"


RUNS: list[str] = []


@extend("Mutation")
class Mutations:
    @mutation(permission="registry:model:register", payload=RenameHousePayload)
    async def rename_house(call: Call, given: RenameHouseInput) -> Mapping[str, Any]:
        """Give a house another name."""
        key = decode_id(given.house_id, "House", field="houseId")
        RUNS.append(given.name)
        if given.name == "":
            raise Invalid("A house needs a name.", field="name")
        if given.name == "taken":
            raise NameTaken("Another house has this name.", field="name")
        previous = await call.session.scalar(select(House.name).where(House.id == key))
        await call.session.execute(update(House).where(House.id == key).values(name=given.name))
        if given.name == "broken":
            raise ZeroDivisionError("a fault of ours")
        answer = {"house": key, "previous": previous}
        if given.dry_run:
            raise AnswerAndRollBack(answer)
        return answer


TYPES = [
    DoorType, HoursType, HouseType, WeatherType, RoomType, GuestType, NoteType, RoomNotes, Queries,
    RenameHousePayload, Mutations,
]  # fmt: skip
