"""One's own inbox through the API: listed, counted, marked; nobody else's is there."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import Actor, TokenUse
from guildhall.auth.narrowing import narrowed
from guildhall.auth.resources import ResourceRef
from guildhall.clock import new_id
from guildhall.db.transaction import Database
from guildhall.graphql.ids import encode_id
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.telling import tell
from tests.registry.asking import Asking
from tests.registry.estate import asked, dataset_ref, registered

INBOX = """query ($unreadOnly: Boolean, $kinds: [EventKind!], $first: Int = 10, $after: String) { viewer {
    unreadNotifications
    notifications(first: $first, after: $after, unreadOnly: $unreadOnly, kinds: $kinds) {
        totalCount
        nodes {
            id kind title text createdAt readAt team { name }
            subject { __typename id ... on AccessRequest { state } }
        }
        pageInfo { hasNextPage endCursor }
    }
} }"""
TITLES = "{ viewer { unreadNotifications notifications(first: 10) { totalCount nodes { title readAt } } } }"
READ = """mutation ($input: MarkNotificationsReadInput!) { markNotificationsRead(input: $input) {
    marked unreadNotifications notifications { title readAt } errors { code field } } }"""
UNREAD = """mutation ($input: MarkNotificationsUnreadInput!) { markNotificationsUnread(input: $input) {
    marked unreadNotifications notifications { title readAt } errors { code field } } }"""
NODE = "query ($id: ID!) { node(id: $id) { ... on Notification { title } } }"
MARK = "guildhall:notification:mark"


@pytest.fixture
async def request_id(ask: Asking) -> UUID:
    """Quinn asked for gauges, of which Mia is the steward; Vera stewards nothing."""
    async with ask.house() as house:
        return await asked(house, [dataset_ref(await registered(house))])


async def told(ask: Asking, person: str, *jobs: str) -> None:
    """A job of each name has ended, one after the other, a minute apart."""
    async with ask.house() as house:
        for number, job in enumerate(jobs, start=1):
            await tell(
                house.session,
                EventKind.JOB_ENDED,
                subject=ResourceRef("Job", new_id()),
                team_id=house.teams["quality"],
                recipients=[house.people[person]],
                facts={"job": job, "state": "SUCCEEDED", "message": "the command ended well", "captured": "1"},
                at=ask.clock.now() + timedelta(minutes=number),
                new_id=new_id,
            )


def limited(ask: Asking, who: str, *roles: str) -> Actor:
    """One of the people, who shows a token that is limited to these roles."""
    actor, token = ask.actor(who), TokenUse(id=new_id(), last_used_at=None, roles=roles)
    return replace(actor, policy=narrowed(actor.policy, actor.subject, roles), token=token)


async def alarmed(ask: Asking, person: str) -> None:
    """Somebody read unusually much, later than all else."""
    async with ask.house() as house:
        await tell(
            house.session, EventKind.ACCESS_ALERT, subject=ResourceRef("AccessAlert", new_id()), team_id=None,
            recipients=[house.people[person]], facts={"dataset": "a/b", "action": "read", "message": "much"},
            at=ask.clock.now() + timedelta(hours=1), new_id=new_id,
        )  # fmt: skip


async def inbox(ask: Asking, who: str | Actor, **variables: Any) -> Mapping[str, Any]:
    viewer: Mapping[str, Any] = (await ask(who, INBOX, **variables))["viewer"]
    return viewer


async def events(database: Database) -> list[AuditEvent]:
    async with database.read() as session:
        return list(await session.scalars(select(AuditEvent).where(AuditEvent.action == MARK).order_by(AuditEvent.id)))


class TestList:
    async def test_shows_what_happened_to_what_and_when(self, ask: Asking, request_id: UUID) -> None:
        viewer = await inbox(ask, "mia")
        (node,) = viewer["notifications"]["nodes"]
        assert node.pop("id").startswith("Notification_")
        assert node == {
            "kind": "ACCESS_ASKED",
            "title": "Quinn asks for access to maintenance/gauge-digits",
            "text": "For the team quality, for the purpose quality, for a day: We compare gauges.",
            "createdAt": "2026-03-02T08:00:00.000000Z",
            "readAt": None,
            "team": {"name": "maintenance"},
            "subject": {
                "__typename": "AccessRequest",
                "id": encode_id("AccessRequest", request_id),
                "state": "PENDING",
            },
        }
        assert (viewer["unreadNotifications"], viewer["notifications"]["totalCount"]) == (1, 1)

    async def test_is_one_s_own_alone(self, ask: Asking, request_id: UUID) -> None:
        (node,) = (await inbox(ask, "mia"))["notifications"]["nodes"]
        for who in ("quinn", "vera"):
            viewer = await inbox(ask, who)
            assert (viewer["unreadNotifications"], viewer["notifications"]["totalCount"]) == (0, 0)
            assert (await ask(who, NODE, id=node["id"]))["node"] is None
        assert (await ask("mia", NODE, id=node["id"]))["node"] == {"title": node["title"]}

    async def test_what_it_is_about_is_shown_only_to_who_may_still_see_it(self, ask: Asking, request_id: UUID) -> None:
        await told(ask, "vera", "train")  # of a team that she is not in: there is no such job for her
        (node,) = (await inbox(ask, "vera"))["notifications"]["nodes"]
        assert (node["title"], node["subject"]) == ("Job train succeeded", None)

    async def test_newest_first_page_after_page_and_by_kind(self, ask: Asking, request_id: UUID) -> None:
        await told(ask, "mia", "first", "second")
        page = (await inbox(ask, "mia", first=2))["notifications"]
        assert [node["title"] for node in page["nodes"]] == ["Job second succeeded", "Job first succeeded"]
        assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (3, True)
        rest = (await inbox(ask, "mia", first=2, after=page["pageInfo"]["endCursor"]))["notifications"]
        assert [node["kind"] for node in rest["nodes"]] == ["ACCESS_ASKED"]
        jobs = (await inbox(ask, "mia", kinds=["JOB_ENDED", "HOLD_RELEASED"]))["notifications"]
        assert (jobs["totalCount"], [node["kind"] for node in jobs["nodes"]]) == (2, ["JOB_ENDED", "JOB_ENDED"])
        assert (await inbox(ask, "mia", kinds=[]))["notifications"]["totalCount"] == 0

    async def test_a_job_has_none_and_may_not_ask(self, ask: Asking, request_id: UUID) -> None:
        async with ask.house() as house:
            job = house.job("quality", "quinn")
        body = await ask.body(job, TITLES)
        assert {error["extensions"]["code"] for error in body["errors"]} == {"FORBIDDEN"}
        assert await ask.refused(job, READ, input={"upTo": "2027-01-01T00:00:00Z"}) == ["PERMISSION_REFUSED"]


class TestALimitedToken:
    """Mia is asked as a steward, a job of hers has ended, and there is an alert: it is told what its roles may read."""

    @pytest.mark.parametrize(
        ("roles", "kinds"),
        [
            (["viewer"], ["JOB_ENDED"]),
            (["contributor"], ["JOB_ENDED", "ACCESS_ASKED"]),
            (["steward"], ["ACCESS_ALERT", "ACCESS_ASKED"]),
            (["steward", "viewer"], ["ACCESS_ALERT", "JOB_ENDED", "ACCESS_ASKED"]),
            ([], []),
        ],
    )
    async def test_lists_and_counts_no_more(
        self, ask: Asking, request_id: UUID, roles: list[str], kinds: list[str]
    ) -> None:
        await told(ask, "mia", "train")
        await alarmed(ask, "mia")
        for who, shown in (
            ("mia", ["ACCESS_ALERT", "JOB_ENDED", "ACCESS_ASKED"]),
            (limited(ask, "mia", *roles), kinds),
        ):
            viewer = await inbox(ask, who)
            assert [node["kind"] for node in viewer["notifications"]["nodes"]] == shown
            assert viewer["unreadNotifications"] == viewer["notifications"]["totalCount"] == len(shown)

    async def test_marks_no_more(self, ask: Asking, request_id: UUID) -> None:
        await told(ask, "mia", "train")
        token = limited(ask, "mia", "viewer")
        job, access = (await inbox(ask, "mia"))["notifications"]["nodes"]
        assert (await ask(token, NODE, id=access["id"]))["node"] is None
        for document, field in ((READ, "markNotificationsRead"), (UNREAD, "markNotificationsUnread")):
            answer = (await ask(token, document, input={"ids": [job["id"], access["id"]]}))[field]
            assert answer["errors"] == [{"code": "NOT_FOUND", "field": "ids[1]"}]
        assert await events(ask.database) == []
        done = (await ask(token, READ, input={"upTo": "2026-03-02T09:00:00Z"}))["markNotificationsRead"]
        assert (done["marked"], done["unreadNotifications"]) == (1, 0)
        assert (await inbox(ask, "mia"))["unreadNotifications"] == 1


class TestMark:
    async def test_as_read_by_id_and_back(self, ask: Asking, request_id: UUID) -> None:
        await told(ask, "mia", "train")
        newest, oldest = (await inbox(ask, "mia"))["notifications"]["nodes"]
        ask.clock.advance(seconds=60)
        done = (await ask("mia", READ, input={"ids": [oldest["id"]]}))["markNotificationsRead"]
        assert done == {
            "marked": 1,
            "unreadNotifications": 1,
            "notifications": [{"title": oldest["title"], "readAt": "2026-03-02T08:01:00.000000Z"}],
            "errors": [],
        }
        unread = (await inbox(ask, "mia", unreadOnly=True))["notifications"]
        assert [node["id"] for node in unread["nodes"]] == [newest["id"]]
        again = (await ask("mia", READ, input={"ids": [oldest["id"]]}))["markNotificationsRead"]
        assert (again["marked"], again["unreadNotifications"]) == (0, 1)
        back = (await ask("mia", UNREAD, input={"ids": [oldest["id"], newest["id"]]}))["markNotificationsUnread"]
        assert (back["marked"], back["unreadNotifications"]) == (1, 2)
        assert [each["readAt"] for each in back["notifications"]] == [None, None]
        assert [(event.after, len(event.resource_ids)) for event in await events(ask.database)] == [
            ({"read": True, "notifications": 1}, 1),
            ({"read": False, "notifications": 1}, 1),
        ]

    async def test_all_up_to_a_moment(self, ask: Asking, request_id: UUID) -> None:
        await told(ask, "mia", "first", "second")
        done = (await ask("mia", READ, input={"upTo": "2026-03-02T08:01:00Z"}))["markNotificationsRead"]
        assert (done["marked"], done["unreadNotifications"], done["notifications"]) == (2, 1, [])
        nodes = (await inbox(ask, "mia", unreadOnly=True))["notifications"]["nodes"]
        assert [node["title"] for node in nodes] == ["Job second succeeded"]
        (event,) = await events(ask.database)
        assert event.after == {"upTo": "2026-03-02T08:01:00+00:00", "read": True, "notifications": 2}

    async def test_of_somebody_else_is_not_there_and_nothing_changes(self, ask: Asking, request_id: UUID) -> None:
        await told(ask, "vera", "train")
        (theirs,) = (await inbox(ask, "mia"))["notifications"]["nodes"]
        (own,) = (await inbox(ask, "vera"))["notifications"]["nodes"]
        for document, field in ((READ, "markNotificationsRead"), (UNREAD, "markNotificationsUnread")):
            answer = (await ask("vera", document, input={"ids": [own["id"], theirs["id"]]}))[field]
            assert answer["errors"] == [{"code": "NOT_FOUND", "field": "ids[1]"}]
        answer = (await ask("vera", READ, input={"ids": ["Job_1"]}))["markNotificationsRead"]
        assert answer["errors"] == [{"code": "NOT_FOUND", "field": "ids[0]"}]
        assert (
            (await inbox(ask, "mia"))["unreadNotifications"],
            (await inbox(ask, "vera"))["unreadNotifications"],
        ) == (1, 1)
        assert await events(ask.database) == []

    @pytest.mark.parametrize("given", [{}, {"ids": [], "upTo": "2026-03-02T08:01:00Z"}])
    async def test_ids_and_a_moment_exclude_each_other(
        self, ask: Asking, request_id: UUID, given: dict[str, Any]
    ) -> None:
        answer = (await ask("mia", READ, input=given))["markNotificationsRead"]
        assert [error["code"] for error in answer["errors"]] == ["ONE_OF_TWO"]
        assert (await inbox(ask, "mia"))["unreadNotifications"] == 1

    async def test_more_than_one_call_names_are_refused(self, ask: Asking, request_id: UUID) -> None:
        ids = [encode_id("Notification", new_id()) for _ in range(101)]
        assert await ask.refused("mia", READ, input={"ids": ids}) == ["TOO_MANY_NOTIFICATIONS"]
