"""The policy in force in this process: read from the tables whole, held until its version is passed.

Two things tell that it was passed. Every request reads the version together with its token, in one statement, so that
no request is decided by an older policy than the database had then, with or without notices. And the triggers notify
`guildhall_policy`, so that this process has the new one ready, and so that what decides without a token (a stream that
stays open) follows too; while the channel is away, that asks the database for the version each time.

Policies are read in transactions of their own: inside a mutation's they would show what may yet be rolled back.
"""

import asyncio
import contextlib
import logging
from uuid import UUID

from sqlalchemy import JSON, BigInteger, Row, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.casbin_policy import disagreements
from guildhall.auth.policy import NOTHING, Binding, PolicyRules, PolicySnapshot, RoleRules
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.db.notify import Listener, listen
from guildhall.db.transaction import Database
from guildhall.errors import Unavailable

CHANNEL = "guildhall_policy"
RETRY_SECONDS = 1.0

logger = logging.getLogger(__name__)

_VERSION = text("SELECT version FROM policy_state").columns(version=BigInteger)

# One statement, so that it sees one moment: never half of a change, and the version that belongs to the lines.
_RULES = text("""
    SELECT
        (SELECT version FROM policy_state) AS version,
        (SELECT coalesce(json_agg(json_build_array(role, permission, effect)), '[]') FROM role_permissions) AS lines,
        (SELECT coalesce(json_agg(json_build_array(subject_kind, subject_id, role, team_id)), '[]')
            FROM role_bindings) AS bindings,
        (SELECT coalesce(json_agg(id), '[]') FROM users WHERE deactivated_at IS NULL) AS users,
        (SELECT coalesce(json_agg(id), '[]') FROM service_accounts WHERE deactivated_at IS NULL) AS service_accounts,
        (SELECT coalesce(json_object_agg(id, name), '{}') FROM teams) AS teams
""").columns(version=BigInteger, lines=JSON, bindings=JSON, users=JSON, service_accounts=JSON, teams=JSON)


class Policies:
    """Holds the newest snapshot that this process has seen. One for each process; `watch` runs beside the server."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: PolicySnapshot | None = None
        self._loading = asyncio.Lock()
        self._changed = asyncio.Event()
        self._listening = False
        self._connections = 0  # how often the channel came up, to tell a check before a gap from one after it
        self._checked_connection = 0
        self._noticed_version = 0

    async def current(self) -> PolicySnapshot:
        """The policy in force: the one held while the channel vouches for it, else as the database says now."""
        held, connection = self._held, self._connections
        vouched = self._listening and self._checked_connection == connection
        if vouched and held is not None and held.version >= self._noticed_version:
            return held
        async with self._database.read() as session:
            version = await read_version(session)
        snapshot = await self.at_version(version)
        self._checked_connection = connection
        return snapshot

    async def at_version(self, version: int) -> PolicySnapshot:
        """The policy of that version or a later one; read from the database when this process does not hold it yet."""
        held = self._held
        if held is not None and held.version >= version:
            return held
        async with self._loading:  # callers who come together wait for one load, and hold no connection meanwhile
            if self._held is None or self._held.version < version:
                async with self._database.read() as session:
                    self._held = PolicySnapshot(await load_rules(session))
            return self._held

    async def watch(self) -> None:
        """Follow the notices until cancelled, and have each new version at hand before the next request asks."""
        listener = Listener(channel=CHANNEL, noticed=self._on_notice, connected=self._on_connected, lost=self._on_lost)
        listening = asyncio.create_task(listen(self._database.url, listener))
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._prepare()
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening

    async def _prepare(self) -> None:
        try:
            snapshot = await self.current()
        except (Unavailable, SQLAlchemyError) as error:
            # Requests read the version themselves; here we only wait for the database to be back.
            logger.warning("The new policy could not be read yet: %s", error)
            await asyncio.sleep(RETRY_SECONDS)
            self._changed.set()
            return
        for question in await asyncio.to_thread(disagreements, snapshot):
            logger.error("Compiled policy %s and casbin disagree on %s.", snapshot.version, question)

    def _on_notice(self, payload: str) -> None:
        self._noticed_version = max(self._noticed_version, int(payload))
        self._changed.set()

    def _on_connected(self) -> None:
        self._connections += 1
        self._listening = True
        self._changed.set()

    def _on_lost(self) -> None:
        self._listening = False


async def read_version(session: AsyncSession) -> int:
    """The version of the policy as the database has it now."""
    version: int = (await session.execute(_VERSION)).scalar_one()
    return version


async def load_rules(session: AsyncSession) -> PolicyRules:
    """The rules in force, all of one moment."""
    row = (await session.execute(_RULES)).one()
    bindings: dict[Subject, list[Binding]] = {
        **{Subject(ActorKind.USER, UUID(key)): [] for key in row.users},
        **{Subject(ActorKind.SERVICE_ACCOUNT, UUID(key)): [] for key in row.service_accounts},
    }
    for kind, key, role, team in row.bindings:
        held = bindings.get(Subject(ActorKind(kind), UUID(key)))
        if held is not None:  # who is deactivated has no entry, and so no permission
            held.append(Binding(role, None if team is None else UUID(team)))
    return PolicyRules(
        version=row.version,
        roles=_role_rules(row),
        bindings={subject: tuple(held) for subject, held in bindings.items()},
        teams={UUID(key): name for key, name in row.teams.items()},
    )


def _role_rules(row: Row[tuple[object, ...]]) -> dict[str, RoleRules]:
    rules: dict[str, RoleRules] = {}
    lines: dict[tuple[str, str], set[str]] = {}
    for role, permission, effect in row.lines:
        lines.setdefault((role, effect), set()).add(permission)
    for role in {role for role, _ in lines}:
        rules[role] = RoleRules(
            allowed=frozenset(lines.get((role, "allow"), NOTHING)), denied=frozenset(lines.get((role, "deny"), NOTHING))
        )
    return rules
