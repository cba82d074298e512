"""One ear for the process: notices come in on one connection and wake, in memory, whoever follows their topic.

A notice only says "look". It is kept as a mark, not in a queue, so that no number of them takes memory; a look that was
begun before a mark is followed by another. Notices get lost while the channel is away, and when a process dies between
its commit and its notice: followers look by themselves every `IDLE_SECONDS`, and while the channel is away every
`DEAF_SECONDS`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from guildhall.auth.policies import CHANNEL as POLICY_CHANNEL
from guildhall.db.announcing import CHANGES_CHANNEL
from guildhall.db.notify import Listener, listen

IDLE_SECONDS = 20.0
DEAF_SECONDS = 1.0
SHARED_SECONDS_MAX = 0.5
"""For how long those who look by themselves share one look."""

POLICY_TOPIC = "policy"
"""The topic of every change of roles, members and accounts."""

Result = TypeVar("Result")


class Follower:
    """Somebody who waits for one of some topics to be noticed."""

    def __init__(self, feed: "Feed") -> None:
        self._feed = feed
        self._marked = asyncio.Event()

    def mark(self) -> None:
        """Something was noticed."""
        self._marked.set()

    def clear(self) -> None:
        """Forget what was noticed so far; called right before a look."""
        self._marked.clear()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until something is noticed (true) or it is time to look anyway (false)."""
        patience = IDLE_SECONDS if self._feed.listening else DEAF_SECONDS
        try:
            async with asyncio.timeout(patience if seconds is None else min(patience, seconds)):
                await self._marked.wait()
        except TimeoutError:
            return False
        return True


class Feed:
    """Holds the followers of one process by topic; `run` listens beside the server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._followers: dict[str, set[Follower]] = {}
        self._looks: dict[str, _Shared] = {}
        self.listening = False

    async def run(self) -> None:
        """Listen until cancelled."""
        changes = Listener(
            channel=CHANGES_CHANNEL, noticed=self.notice, connected=self._on_connected, lost=self._on_lost
        )
        policy = Listener(
            channel=POLICY_CHANNEL,
            noticed=lambda _version: self.notice(POLICY_TOPIC),
            connected=lambda: None,
            lost=lambda: None,
        )
        await listen(self._url, changes, policy)

    @contextmanager
    def follow(self, topics: Sequence[str]) -> Iterator[Follower]:
        """Be woken by notices of the topics."""
        follower = Follower(self)
        for topic in topics:
            self._followers.setdefault(topic, set()).add(follower)
        try:
            yield follower
        finally:
            for topic in topics:
                followers = self._followers[topic]
                followers.remove(follower)
                if not followers:
                    del self._followers[topic]
                    self._looks.pop(topic, None)

    def notice(self, topic: str) -> None:
        """Something of the topic has changed: what was looked at before is old."""
        self._looks.pop(topic, None)
        for follower in self._followers.get(topic, ()):
            follower.mark()

    def look_anew(self, topic: str) -> None:
        """Share no look that was begun a while ago: it is time to look without a notice."""
        held = self._looks.get(topic)
        if held is not None and held.begun < asyncio.get_running_loop().time() - SHARED_SECONDS_MAX:
            del self._looks[topic]

    async def shared(self, topic: str, place: Hashable, look: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The result of `look`, which followers who stand at the same place share until the next notice."""
        held = self._looks.get(topic)
        if held is None or held.place != place or held.failed():
            task = asyncio.create_task(look())
            task.add_done_callback(_retrieve)
            held = _Shared(place, asyncio.get_running_loop().time(), task)
            if topic in self._followers:
                self._looks[topic] = held
        found: Result = await asyncio.shield(held.task)
        return found

    def _on_connected(self) -> None:
        self.listening = True
        self._wake_all()

    def _on_lost(self) -> None:
        self.listening = False
        self._wake_all()

    def _wake_all(self) -> None:
        self._looks.clear()
        for followers in self._followers.values():
            for follower in followers:
                follower.mark()


@dataclass(frozen=True)
class _Shared:
    """One look: from which place, when it was begun, and its task."""

    place: Hashable
    begun: float
    task: asyncio.Task[Any]

    def failed(self) -> bool:
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Followers may all have gone before their look failed; then nobody is left to be told."""
    if not task.cancelled():
        task.exception()
