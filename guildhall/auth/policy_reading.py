"""Reading the rules from their tables: all of them, or what has changed since a version. Each is one statement."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, Boolean, String, text
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.bindings import Binding, BindingsOfSubjects
from guildhall.auth.policy import NOTHING, PolicyRules, RoleRules
from guildhall.auth.subjects import ActorKind, Subject

ROWS_TOGETHER = 2_000
"""How many rows are fetched and taken in before the event loop has a turn."""

_VERSION = text("SELECT version FROM policy_state").columns(version=BigInteger)

# One statement, so that it sees one moment: never half of a change, and the version that belongs to the lines.
_RULES = text("""
    WITH held AS (
        SELECT subject_id, json_agg(json_build_array(role, team_id, starts_at, ends_at) ORDER BY id) AS roles
        FROM role_bindings GROUP BY subject_id
    )
    SELECT 'version' AS kind, version::text AS key, NULL::json AS value FROM policy_state
    UNION ALL SELECT 'line', role, json_build_array(permission, effect) FROM role_permissions
    UNION ALL SELECT 'team', id::text, json_build_array(name, parent_id) FROM teams
    UNION ALL SELECT 'USER', id::text, held.roles FROM users LEFT JOIN held ON held.subject_id = id
        WHERE deactivated_at IS NULL
    UNION ALL SELECT 'SERVICE_ACCOUNT', id::text, held.roles FROM service_accounts
        LEFT JOIN held ON held.subject_id = id WHERE deactivated_at IS NULL
""").columns(kind=String, key=String, value=JSON)

_CHANGES = text("""
    WITH changed AS MATERIALIZED (SELECT DISTINCT kind, key FROM policy_changes WHERE version > :held),
    touched AS MATERIALIZED (SELECT key FROM changed WHERE kind = 'SUBJECT'),
    active AS (
        SELECT 'USER' AS kind, id FROM users JOIN touched ON id = key WHERE deactivated_at IS NULL
        UNION ALL
        SELECT 'SERVICE_ACCOUNT', id FROM service_accounts JOIN touched ON id = key WHERE deactivated_at IS NULL
    )
    SELECT (SELECT version FROM policy_state) AS version,
        (SELECT min(version) <= :held + 1 FROM policy_changes)
            AND NOT EXISTS (SELECT FROM changed WHERE kind = 'ALL') AS known,
        (SELECT json_agg(key) FROM touched) AS touched,
        (SELECT json_agg(json_build_array(kind, active.id, (
            SELECT json_agg(json_build_array(role, team_id, starts_at, ends_at) ORDER BY id)
            FROM role_bindings WHERE subject_id = active.id))) FROM active) AS active,
        (SELECT json_agg(json_build_array(role, permission, effect)) FROM role_permissions
            WHERE EXISTS (SELECT FROM changed WHERE kind = 'ROLES')) AS lines,
        (SELECT json_agg(json_build_array(id, name, parent_id)) FROM teams
            JOIN changed ON changed.kind = 'TEAM' AND changed.key = id) AS teams
""").columns(version=BigInteger, known=Boolean, touched=JSON, active=JSON, lines=JSON, teams=JSON)


async def read_version(session: AsyncSession) -> int:
    """The version of the policy as the database has it now."""
    version: int = (await session.execute(_VERSION)).scalar_one()
    return version


async def load_rules(session: AsyncSession) -> PolicyRules:
    """The rules in force, all of one moment; read in parts, so that nobody waits for a million lines."""
    version = 0
    lines: list[tuple[str, str, str]] = []
    teams: list[tuple[str, str, str | None]] = []
    bindings: dict[Subject, tuple[Binding, ...]] = {}
    read_bindings = _bindings_reader()
    result = await session.stream(_RULES, execution_options={"yield_per": ROWS_TOGETHER})
    async for kind, key, value in result:
        match kind:
            case "version":
                version = int(key)
            case "line":
                lines.append((key, *value))
            case "team":
                teams.append((key, *value))
            case _:
                bindings[Subject(ActorKind(kind), UUID(key))] = read_bindings(value)
    return PolicyRules(
        version=version,
        roles=_roles(lines),
        bindings=BindingsOfSubjects.of(bindings),
        teams={UUID(key): name for key, name, _ in teams},
        parents={UUID(key): UUID(above) for key, _, above in teams if above is not None},
    )


async def load_changes(session: AsyncSession, held: PolicyRules) -> PolicyRules | None:
    """The rules in force, of which only what has changed was read; None where not all of that was written down."""
    row = (await session.execute(_CHANGES, {"held": held.version})).one()
    if row.version == held.version:
        return held
    if not row.known:
        return None
    assert isinstance(held.bindings, BindingsOfSubjects), "rules that were read, and not made up"
    read_bindings = _bindings_reader()
    now = {Subject(ActorKind(kind), UUID(key)): read_bindings(value) for kind, key, value in row.active or ()}
    bindings = held.bindings.changed([UUID(key) for key in row.touched], now) if row.touched else held.bindings
    teams, parents = held.teams, held.parents
    if row.teams:
        teams = {**teams, **{UUID(key): name for key, name, _ in row.teams}}
        moved = {UUID(key): None if above is None else UUID(above) for key, _, above in row.teams}
        if any(parents.get(team) != above for team, above in moved.items()):
            parents = {team: above for team, above in {**parents, **moved}.items() if above is not None}
    return PolicyRules(
        version=row.version,
        roles=held.roles if row.lines is None else _roles(row.lines),
        bindings=bindings,
        teams=teams,
        parents=parents,
    )


def _bindings_reader() -> Callable[[Sequence[Sequence[str | None]] | None], tuple[Binding, ...]]:
    """Reads bindings, of which those that are the same to many people are kept once."""
    known: dict[tuple[str | None, ...], Binding] = {}
    moment = cache(datetime.fromisoformat)
    key_of = cache(UUID)

    def read_one(row: Sequence[Any]) -> Binding:
        key = tuple(row)
        if key not in known:
            role, team, starts_at, ends_at = row
            known[key] = Binding(
                role=role,
                team_id=None if team is None else key_of(team),
                starts_at=None if starts_at is None else moment(starts_at),
                ends_at=None if ends_at is None else moment(ends_at),
            )
        return known[key]

    return lambda rows: tuple(map(read_one, rows or ()))


def _roles(lines: Iterable[tuple[str, str, str]]) -> Mapping[str, RoleRules]:
    found: dict[str, dict[str, set[str]]] = {}
    for role, permission, effect in lines:
        found.setdefault(role, {}).setdefault(effect, set()).add(permission)
    return {
        role: RoleRules(
            allowed=frozenset(effects.get("allow", NOTHING)), denied=frozenset(effects.get("deny", NOTHING))
        )
        for role, effects in found.items()
    }
