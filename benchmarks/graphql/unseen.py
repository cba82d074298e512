"""Documents that nobody sent before: the CPU from text to SQL, for what pages ask and for what an attacker would.

No database is asked: a document costs the process this much before its statement runs, and known ones nothing of it.
Beside it stands what graphql-core takes to parse and validate the same document, which every server in Python pays.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from uuid import UUID

from graphql import GraphQLSchema, parse, validate

from benchmarks.graphql.questions import DOCUMENTS, PAGE, contract_document
from benchmarks.report import Figure, at_most
from guildhall.auth.actor import Actor
from guildhall.auth.bindings import Binding
from guildhall.auth.policy import PolicyRules, PolicySnapshot, RoleRules
from guildhall.auth.roles import ROLES
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.clock import SystemClock, new_id
from guildhall.db.migrating import load_tables
from guildhall.db.transaction import connect_database
from guildhall.graphql.compiler.compile import CompiledDocument
from guildhall.graphql.context import Context, Services
from guildhall.graphql.cursors import CursorSigner
from guildhall.graphql.documents import Documents
from guildhall.graphql.ids import encode_id
from guildhall.schema.root import composed_schema
from guildhall.settings import Settings

TRIES, TRIES_FIRST = 12, 3
MILLISECONDS_MAX = 15.0
NOWHERE = "postgresql+asyncpg://nobody@127.0.0.1:1/nothing"
NODE = encode_id("Model", UUID(int=1))
RESOURCES = "resources { id ... on ModelVersion { lessons(first: 1) { nodes { subject { id } } } } }"

Variables = dict[str, object]
ASKED: dict[str, tuple[str, Variables]] = {
    "page of 1": (PAGE, {"first": 1}),
    "ModelPage": (contract_document("ModelPage"), DOCUMENTS["ModelPage"]),
    "50 nodes by id": ("{ " + " ".join(f'n{index}: node(id: "{NODE}") {{ id }}' for index in range(49)) + " }", {}),
    "references to 20 types, the most tables": (
        "{ auditEvents(first: 1) { nodes { " + " ".join(f"r{index}: {RESOURCES}" for index in range(9)) + " } } }",
        {},
    ),
    "49 lists, the most aliases": (
        "{ models(first: 1) { nodes { "
        + " ".join(f"v{index}: versions(first: 1) {{ nodes {{ id number status }} }}" for index in range(48))
        + " } } }",
        {},
    ),
}


class _Written(Exception):
    """Ends a request where its statement would run."""


def unseen() -> list[Figure]:
    """CPU milliseconds of each document, the least of several, beside graphql-core's parsing and validation."""
    load_tables()
    composed = composed_schema()
    documents = Documents(composed, Settings(data_dir=Path("/unused")), new_id, compiling=True)
    figures = []
    for name, (text, variables) in ASKED.items():
        fresh = [text.replace("{", f"{{ x{index}: __typename", 1) for index in range(TRIES_FIRST + TRIES)]
        ours = [_milliseconds(partial(_written, documents, each, variables)) for each in fresh]
        peer = [_milliseconds(partial(_validated, composed.schema, each)) for each in fresh]
        own = min(ours[TRIES_FIRST:])
        compared = at_most(f"never seen: {name}", own, min(peer[TRIES_FIRST:]))
        wanted = MILLISECONDS_MAX if name in {"page of 1", "ModelPage"} else None
        holds = None if wanted is None else own <= wanted
        figures.append(Figure(compared.figure, own, compared.peer, compared.ratio, wanted, holds))
    return figures


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000


def _validated(schema: GraphQLSchema, text: str) -> None:
    assert validate(schema, parse(text)) == [], "the document fits the schema"


def _written(documents: Documents, text: str, variables: Variables) -> None:
    _, operation = documents.prepare(text, None, variables)
    compiled = operation.compiled
    assert isinstance(compiled, CompiledDocument), "all of it can be compiled"

    async def fetch(_sql: str, _arguments: Sequence[object]) -> str:
        raise _Written

    try:
        asyncio.run(compiled.answer(_context(), variables, fetch))
    except _Written:
        return
    raise AssertionError("a statement was written")


def _context() -> Context:
    clock = SystemClock()
    return Context(
        database=_NO_DATABASE,
        actor_or_none=_CALLER,
        clock=clock,
        new_id=new_id,
        settings=Settings(data_dir=Path("/unused")),
        services=Services(),
        signer=CursorSigner(b"k" * 32),
        at=clock.now(),
        request_id="measured",
    )


def _caller() -> Actor:
    """Somebody who may see everything, so that nothing of a statement is left out."""
    key = new_id()
    roles = {name: RoleRules(frozenset(allowed), frozenset()) for name, allowed in ROLES.items()}
    held = tuple(Binding(name, None) for name in ROLES)
    rules = PolicyRules(1, roles, {Subject(ActorKind.USER, key): held}, {})
    return Actor(kind=ActorKind.USER, id=key, name="measured", policy=PolicySnapshot(rules))


_CALLER, _NO_DATABASE = _caller(), connect_database(NOWHERE)
