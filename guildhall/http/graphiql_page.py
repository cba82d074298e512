"""GraphiQL for browsers, from files of our own: the page reaches nothing but this server."""

import hashlib
from functools import cache
from pathlib import Path

from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

FOLDER = Path(__file__).parent / "graphiql"
ASSETS = {
    "graphiql.min.js": "text/javascript; charset=utf-8",
    "graphiql.min.css": "text/css; charset=utf-8",
    "react.production.min.js": "text/javascript; charset=utf-8",
    "react-dom.production.min.js": "text/javascript; charset=utf-8",
    "boot.js": "text/javascript; charset=utf-8",
    "boot.css": "text/css; charset=utf-8",
}

# Styles may stand inline because the editor writes them so; scripts may not. Fonts lie in the style sheet as data.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src data:; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = (
    ("content-security-policy", CONTENT_POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
)


@cache
def graphiql_page() -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    """The page and its headers; assets carry their digest in the address, so that a browser may keep them."""
    styles = "".join(f'<link rel="stylesheet" href="{_address(name)}">' for name in ("graphiql.min.css", "boot.css"))
    order = ("react.production.min.js", "react-dom.production.min.js", "graphiql.min.js", "boot.js")
    scripts = "".join(f'<script src="{_address(name)}" defer></script>' for name in order)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Guildhall: GraphiQL</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f'{styles}</head><body><div id="root"></div><noscript>GraphiQL needs JavaScript; the API does not.'
        f"</noscript>{scripts}</body></html>"
    )
    return page.encode(), tuple((name.encode("ascii"), value.encode("ascii")) for name, value in PAGE_HEADERS)


@get("/graphql/assets/{digest:str}/{name:str}", include_in_schema=False, sync_to_thread=False)
def asset_route(digest: FromPath[str], name: FromPath[str]) -> Response[bytes]:
    """One of the named files under its digest; anything else is not found."""
    if name not in ASSETS or digest != _digest(name):
        raise NotFoundException
    return Response(
        _content(name),
        media_type=ASSETS[name],
        headers={"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"},
    )


@cache
def _content(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


@cache
def _digest(name: str) -> str:
    return hashlib.sha256(_content(name)).hexdigest()[:16]


def _address(name: str) -> str:
    return f"/graphql/assets/{_digest(name)}/{name}"
