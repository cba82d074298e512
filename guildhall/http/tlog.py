"""The sealed record as others check it: C2SP tlog-tiles under /audit/log. Nothing here says what an event was about.

Full tiles never change, so caches may keep them for ever; the checkpoint and what is not full are asked for anew.
"""

import re

from litestar import Response, get
from litestar.datastructures import State
from litestar.params import FromPath

from guildhall.audit.merkle import LEVELS_MAX, TILE_HASHES
from guildhall.audit.tiles import NoSuchTile, read_checkpoint, read_entries, read_tile
from guildhall.db.transaction import Database
from guildhall.http.health import DATABASE_KEY

FOR_EVER = "public, max-age=31536000, immutable"
ANEW = "no-cache"
_PATH = re.compile(r"/?(?P<level>entries|\d{1,2})/(?P<number>(?:x\d{3}/){0,6}\d{3})(?:\.p/(?P<width>\d{1,3}))?")


@get("/audit/log/checkpoint", include_in_schema=False)
async def checkpoint_route(state: State) -> Response[str]:
    """The newest signed head."""
    try:
        async with _database(state).read() as session:
            note = await read_checkpoint(session)
    except NoSuchTile as error:
        return _missing(error)
    return Response(note, media_type="text/plain", headers={"cache-control": ANEW})


@get("/audit/log/tile/{path:path}", include_in_schema=False)
async def tile_route(state: State, path: FromPath[str]) -> Response[bytes] | Response[str]:
    """A tile of hashes, or a bundle of entries; with `.p/W` its first W."""
    try:
        level, number, width = _place(path)
        async with _database(state).read() as session:
            content = await (
                read_entries(session, number, width) if level is None else read_tile(session, level, number, width)
            )
    except NoSuchTile as error:
        return _missing(error)
    caching = FOR_EVER if width == TILE_HASHES else ANEW
    return Response(content, media_type="application/octet-stream", headers={"cache-control": caching})


def _place(path: str) -> tuple[int | None, int, int]:
    """Level (None for entries), number and width of a tile's address."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise NoSuchTile("An address of a tile is level/number or entries/number, as in C2SP tlog-tiles.")
    level = None if found["level"] == "entries" else int(found["level"])
    width = TILE_HASHES if found["width"] is None else int(found["width"])
    if not 1 <= width <= TILE_HASHES or (found["width"] is not None and width == TILE_HASHES):
        raise NoSuchTile("A part of a tile is from 1 to 255 wide.")
    if level is not None and level >= LEVELS_MAX:
        raise NoSuchTile(f"The levels of the tree go from 0 to {LEVELS_MAX - 1}.")
    return level, int(found["number"].replace("x", "").replace("/", "")), width


def _database(state: State) -> Database:
    database = state[DATABASE_KEY]
    assert isinstance(database, Database)
    return database


def _missing(error: NoSuchTile) -> Response[str]:
    return Response(error.message + "\n", status_code=404, media_type="text/plain")


ROUTES = [checkpoint_route, tile_route]
