"""Callers that were recognised before, and how a statement makes sure that nothing has changed since.

Who holds a token is found out once and remembered. That it still counts, that its holder is still active and that the
policy is still the same is never remembered: the statement that reads for the caller asks for it in the same moment,
and reads nothing where the answer is another. A token that was withdrawn is refused by the next statement.

Bytes that leave are announced in a transaction, which has the caller's standing held until its commit.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, exists, select, text

from guildhall.auth.actor import Actor, RequestContext
from guildhall.auth.networks import is_inside
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import PolicyState, Token
from guildhall.auth.tokens import LAST_USED_EVERY, hash_token
from guildhall.clock import Clock
from guildhall.db.transaction import WriteSession

CALLERS_MAX = 10_000
"""How many are remembered; who has not called for longest is forgotten first."""

STATEMENTS_MAX = 1_000
"""How many statements are kept with their guard."""

STILL_SECONDS_MAX = 5
"""How long a read that is being announced may stand still, or wait for a row: all that ends access waits for it."""
HELD_SECONDS_MAX = 8
"""How long it may take from here to its commit: less than those who wait for it wait (`LOCK_WAIT_SECONDS_MAX`)."""

# Of the holder no more is read than their kind has: each table that a statement names costs it a lock and a look-up.
_STANDING = """
SELECT FROM tokens AS token JOIN policy_state AS policy ON policy.id = 1 {holder}
    WHERE token.hash = {hash} AND token.revoked_at IS NULL AND (token.expires_at IS NULL OR token.expires_at > {at})
        AND policy.version = {version}
"""
_HOLDERS = {
    ActorKind.USER: """JOIN users AS holder ON holder.id = token.user_id
        AND holder.deactivated_at IS NULL AND holder.name = {0}::text""",
    ActorKind.SERVICE_ACCOUNT: """JOIN service_accounts AS holder ON holder.id = token.service_account_id
        AND holder.deactivated_at IS NULL AND holder.name = {0}::text AND holder.team_id = {1}::uuid""",
    ActorKind.JOB: "",  # its name is made of its id, and its team is for good
}

# The lock first: waiting for it, a read holds nobody up yet. PostgreSQL 16 has no limit for a whole transaction; where
# it has one, and an operator set their own, that was armed at the beginning: only from 0 is it armed anew.
_HOLD = text("""
    SELECT pg_advisory_xact_lock_shared(hashtextextended('guildhall policy', 0)),
        set_config('idle_in_transaction_session_timeout', :still, true),
        set_config('lock_timeout', :still, true),
        CASE WHEN current_setting('statement_timeout')::interval NOT BETWEEN '1 ms' AND CAST(:held AS text)::interval
            THEN set_config('statement_timeout', :held, true) END,
        CASE WHEN current_setting('server_version_num')::int >= 170000
            THEN set_config('transaction_timeout', '0', true) END,
        CASE WHEN current_setting('server_version_num')::int >= 170000
            THEN set_config('transaction_timeout', :held, true) END
""")


async def hold_standing(session: WriteSession, actor: Actor, *, clock: Clock) -> datetime | None:
    """Keep all that a read rests on as it is until the commit; the moment from which on, or None.

    None where the caller's token and policy are not as found. Held are the policy, tokens, access grants and what is
    said of data: whatever changes one of them waits for us at its commit. What was withdrawn by then is seen here; what
    is withdrawn after comes after all that this transaction writes. Deactivating the holder is a change of the policy.
    Who waits is before whoever comes later, so that a stream of reads holds no withdrawal off; and a read that is
    stopped here loses its connection within `HELD_SECONDS_MAX` (before PostgreSQL 17 that goes for each of its
    statements and pauses alone, not for all of them together).
    """
    await session.execute(_HOLD, {"still": f"{STILL_SECONDS_MAX}s", "held": f"{HELD_SECONDS_MAX}s"})
    at = clock.now()  # not before: a role or a grant may have come to its end while this waited
    # A statement of its own: the one above saw the database before it waited.
    stands = await session.scalar(select(is_standing(actor)))
    return at if stands and actor.policy.covers(at) else None


def is_standing(actor: Actor) -> ColumnElement[bool]:
    """SQL: whether token and policy are as the caller was found with them. A token that has expired since is no matter.

    Deactivating the holder is a change of the policy.
    """
    same = exists().where(PolicyState.version == actor.policy.version)
    if actor.token is None:
        return same
    return same & exists().where(Token.id == actor.token.id, Token.revoked_at.is_(None))


@dataclass(frozen=True)
class Standing:
    """A caller as remembered, not yet proven: a statement reads for them only if they stand as they did."""

    actor: Actor
    token_hash: bytes

    @property
    def expected(self) -> tuple[object, ...]:
        """What the statement must find of the holder: their name, and a service account's team."""
        actor = self.actor
        if actor.kind is ActorKind.JOB:
            return ()
        return (actor.name,) if actor.kind is ActorKind.USER else (actor.name, actor.team_id)

    def guard(self, sql: str, arguments: Sequence[Any], at: datetime) -> tuple[str, list[Any]]:
        """The statement of one row and column as one of two: whether the caller stands, and if so, what it reads."""
        actor = self.actor
        proof = (self.token_hash, at, actor.policy.version, *self.expected)
        return _guarded(sql, len(arguments), actor.kind), [*arguments, *proof]


@lru_cache(maxsize=STATEMENTS_MAX)
def _guarded(sql: str, arguments: int, kind: ActorKind) -> str:
    hash_, at, version, *holder = (f"${arguments + place}" for place in range(1, 6))
    standing = _STANDING.format(
        hash=f"{hash_}::bytea", at=f"{at}::timestamptz", version=f"{version}::bigint",
        holder=_HOLDERS[kind].format(*holder),
    )  # fmt: skip
    return (  # kept apart by OFFSET, or it would be asked once for each time that it is named
        f"SELECT caller.stands, CASE WHEN caller.stands THEN ({sql}) END "  # noqa: S608 -- texts of ours
        f"FROM (SELECT EXISTS ({standing}) AS stands OFFSET 0) AS caller"
    )


class Recognised:
    """The callers of one process by their tokens' hashes."""

    def __init__(self) -> None:
        self._held: OrderedDict[bytes, Actor] = OrderedDict()

    def standing(self, token: str, at: datetime, request: RequestContext) -> Standing | None:
        """Who it was, for this request; None where that is not known, or where the use of the token is to be noted."""
        digest = hash_token(token)
        actor = self._held.get(digest)
        if actor is None:
            return None
        assert actor.token is not None, "who is recognised by a token has one"
        used_at = actor.token.last_used_at
        if used_at is None or not timedelta(0) <= at - used_at < LAST_USED_EVERY:
            return None
        if not actor.policy.covers(at):
            return None  # since then, a temporary role has begun or ended
        if actor.token.networks is not None and not is_inside(request.address, actor.token.networks):
            return None
        self._held.move_to_end(digest)
        return Standing(actor.asking(request), digest)

    def keep(self, token: str, actor: Actor, at: datetime) -> None:
        """Who was just identified by the token, which was noted as used."""
        if actor.token is None:
            return
        digest = hash_token(token)
        self._held[digest] = replace(actor, token=replace(actor.token, last_used_at=at))
        self._held.move_to_end(digest)
        if len(self._held) > CALLERS_MAX:
            self._held.popitem(last=False)
