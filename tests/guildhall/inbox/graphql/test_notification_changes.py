"""Following one's own inbox over both transports: each notification once, resumed, and for nobody else."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from guildhall.auth.actor import system_actor
from guildhall.auth.subjects import ActorKind
from guildhall.clock import new_id
from guildhall.db.transaction import Database
from guildhall.organisation.tokens import issue_token
from tests.guildhall.inbox.office import Office
from tests.streaming import connected, events, served

ADDED = """
subscription ($after: String) { notificationAdded(after: $after) {
  cursor notification { title kind readAt team { name } }
} }
"""


class Followed(Office):
    """An office whose people have tokens."""

    url: str

    async def token(self, name: str, roles: list[str] | None = None) -> str:
        at = self.clock.now()
        async with self.database.transaction() as session:
            issued = await issue_token(
                session, system_actor("tests"), subject_kind=ActorKind.USER, subject_id=self.people[name],
                label="tests", expires_at=at + timedelta(days=1), at=at, new_id=new_id, roles=roles,
            )  # fmt: skip
        return issued.text


@pytest.fixture
async def office(fresh_database: Database, tmp_path: Any) -> AsyncIterator[Followed]:
    made = Followed(fresh_database, tmp_path)
    await made.furnish()
    async with served(made.database, made.settings, made.clock) as url:
        made.url = url
        yield made


class TestNotificationAdded:
    async def test_each_as_it_comes_and_from_a_cursor_on(self, office: Followed) -> None:
        mia = await office.token("mia")
        await office.tell("mia", job="before")
        async with events(office.url, mia, ADDED) as stream:
            begun = await stream.data()
            assert begun["notification"] is None
            await office.tell("vera", job="another's")
            await office.tell("mia", job="first")
            first = await stream.data()
            assert first["notification"] == {
                "title": "Job first failed", "kind": "JOB_ENDED", "readAt": None, "team": {"name": "press"},
            }  # fmt: skip
        await office.tell("mia", job="second")
        for cursor, titles in (
            (begun["cursor"], ["Job first failed", "Job second failed"]),
            (first["cursor"], ["Job second failed"]),
        ):
            async with events(office.url, mia, ADDED, {"after": cursor}) as stream:
                assert [(await stream.data())["notification"]["title"] for _ in titles] == titles

    async def test_over_a_websocket(self, office: Followed) -> None:
        async with connected(office.url) as socket:
            await socket.initialise(await office.token("mia"))
            await socket.send(id="1", type="subscribe", payload={"query": ADDED})
            begun = await socket.read()
            assert begun["payload"]["data"]["notificationAdded"]["notification"] is None
            await office.tell("mia")
            told = await socket.read()
        assert told["payload"]["data"]["notificationAdded"]["notification"]["title"] == "Job train failed"

    async def test_another_s_cursor_is_none(self, office: Followed) -> None:
        async with events(office.url, await office.token("mia"), ADDED) as stream:
            cursor = (await stream.data())["cursor"]
        async with events(office.url, await office.token("vera"), ADDED, {"after": cursor}) as stream:
            (refusal,) = await stream.rest()
        assert [error["extensions"]["code"] for error in refusal["errors"]] == ["INVALID_CURSOR"]
