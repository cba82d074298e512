"""A caller behind an open connection: who they are under the policy in force, for as long as their token counts."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count

from guildhall.auth.actor import Actor
from guildhall.db.announcing import topic_of
from guildhall.errors import Unauthenticated, Unavailable
from guildhall.graphql.subscriptions.feed import POLICY_TOPIC, Feed
from guildhall.organisation.tokens import TOPIC as TOKEN_TOPIC

RETRY_SECONDS = 1.0
RECHECK_SECONDS = 60.0
"""A token that has expired ends what it opened within so long; one that was withdrawn, at once."""

_numbers = count(1)


class Presence:
    """`actor` changes with the policy; who waits for that follows `topic`."""

    def __init__(self, feed: Feed, actor: Actor, identify: Callable[[], Awaitable[Actor]]) -> None:
        self._feed = feed
        self._identify = identify
        self.actor = actor
        self.topic = f"presence:{next(_numbers)}"

    async def watch(self) -> Unauthenticated:
        """Ask again who calls when policy or token are noticed, and now and then; returns why they no longer count."""
        token = self.actor.token
        topics = [POLICY_TOPIC] if token is None else [POLICY_TOPIC, topic_of(TOKEN_TOPIC, token.id)]
        with self._feed.follow(topics) as follower:
            follower.mark()  # the caller was found before anybody followed
            while True:
                with suppress(TimeoutError):  # nobody announces that a token has come to its end
                    async with asyncio.timeout(RECHECK_SECONDS):
                        await follower.wait()
                follower.clear()
                try:
                    actor = await self._identify()
                except Unauthenticated as refusal:
                    return refusal
                except Unavailable:
                    # Nothing can be read either. As soon as it can, we must know who asks.
                    await asyncio.sleep(RETRY_SECONDS)
                    follower.mark()
                    continue
                if actor.policy is not self.actor.policy:
                    self.actor = actor
                    self._feed.notice(self.topic)
