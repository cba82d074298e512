"""Webhooks and deliveries through the API: registered, tested, listed, sent again; those of others are not there."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from guildhall.auth.actor import Actor
from guildhall.clock import new_id
from guildhall.graphql.ids import encode_id
from guildhall.inbox.tables import Webhook
from tests.guildhall.inbox.office import Office
from tests.guildhall.inbox.receivers import FAILS, OK, receiving
from tests.registry.asking import Asking

Run = Callable[..., Awaitable[Any]]

REGISTER = """mutation ($input: RegisterWebhookInput!) { registerWebhook(input: $input) {
    webhook { id label url kinds team { name } pausedAt pauseReason { code } previousSecretExpiresAt }
    secret errors { code field message } } }"""
UPDATE = """mutation ($input: UpdateWebhookInput!) { updateWebhook(input: $input) {
    webhook { label url kinds } errors { code field } } }"""
ROTATE = """mutation ($input: RotateWebhookSecretInput!) { rotateWebhookSecret(input: $input) {
    webhook { previousSecretExpiresAt } secret errors { code field } } }"""
PAUSE = """mutation ($input: PauseWebhookInput!) { pauseWebhook(input: $input) {
    webhook { pausedAt pauseReason { code message } } errors { code field } } }"""
RESUME = """mutation ($input: ResumeWebhookInput!) { resumeWebhook(input: $input) {
    webhook { pausedAt restsUntil } errors { code field } } }"""
DELETE = """mutation ($input: DeleteWebhookInput!) { deleteWebhook(input: $input) {
    deletedId errors { code field } } }"""
TEST = """mutation ($input: TestWebhookInput!) { testWebhook(input: $input) {
    delivery { id channel state kind attempts nextAttemptAt messageId webhook { label } recipient { name } }
    errors { code field } } }"""
REDELIVER = """mutation ($input: RedeliverInput!) { redeliver(input: $input) {
    delivery { state attempts } errors { code field } } }"""
WEBHOOKS = """query ($filter: WebhookFilter, $first: Int = 10, $after: String) {
    webhooks(filter: $filter, first: $first, after: $after) {
        totalCount nodes { label deliveries(first: 5) { totalCount nodes { state } } }
        pageInfo { hasNextPage endCursor } } }"""
DELIVERIES = """query ($filter: DeliveryFilter, $first: Int = 10, $after: String) {
    deliveries(filter: $filter, first: $first, after: $after) {
        totalCount nodes { id state kind status problem { code message } webhook { label } recipient { name } endedAt }
        pageInfo { hasNextPage endCursor } } }"""
SETTINGS = "{ viewer { inboxSettings { mail } } }"
SET = """mutation ($input: UpdateInboxSettingsInput!) { updateInboxSettings(input: $input) {
    settings { mail } errors { code } } }"""


@pytest.fixture
def run(office: Office) -> Run:
    """Asks as one of the office, by name; `errors` of the answer are a failure."""
    asking = Asking(office.database, office.settings, office.clock)

    async def ask(who: str | Actor, document: str, **given: Any) -> Any:
        actor = await office.actor(who) if isinstance(who, str) else who
        return await asking(actor, document, **given)

    return ask


async def refused(office: Office, who: str, document: str, **given: Any) -> list[str]:
    asking = Asking(office.database, office.settings, office.clock)
    return await asking.refused(await office.actor(who), document, **given)


async def registered(run: Run, url: str, who: str = "mia", **given: Any) -> Any:
    values = {"label": "chat", "url": url, "kinds": ["JOB_ENDED"], "team": "press", **given}
    return (await run(who, REGISTER, input=values))["registerWebhook"]


async def number(office: Office) -> int:
    async with office.database.read() as session:
        return (await session.scalars(select(func.count()).select_from(Webhook))).one()


class TestRegister:
    async def test_answers_the_secret_once(self, office: Office, run: Run) -> None:
        async with receiving() as receiver:
            first = await registered(run, receiver.url, idempotencyKey="k1")
            again = await registered(run, receiver.url, idempotencyKey="k1")
        assert first["secret"].startswith("whsec_")
        assert (again["secret"], again["webhook"]) == (None, first["webhook"])
        assert first["webhook"] == {
            "id": first["webhook"]["id"], "label": "chat", "url": receiver.url, "kinds": ["JOB_ENDED"],
            "team": {"name": "press"}, "pausedAt": None, "pauseReason": None, "previousSecretExpiresAt": None,
        }  # fmt: skip
        assert await number(office) == 1

    @pytest.mark.parametrize(
        ("given", "code", "field"),
        [
            ({"url": "http://10.0.0.1/"}, "WEBHOOK_ADDRESS_REFUSED", "url"),
            ({"url": "http://169.254.169.254/latest"}, "WEBHOOK_ADDRESS_REFUSED", "url"),
            ({"url": "http://[::1]:8321/"}, "WEBHOOK_ADDRESS_REFUSED", "url"),
            ({"url": "gopher://example.org"}, "INVALID_WEBHOOK_URL", "url"),
            ({"label": ""}, "INVALID_INPUT", "label"),
            ({"kinds": []}, "INVALID_INPUT", "kinds"),
            ({"team": "nobody"}, "UNKNOWN_TEAM", "team"),
        ],
    )
    async def test_says_what_is_wrong(
        self, office: Office, run: Run, given: dict[str, Any], code: str, field: str
    ) -> None:
        answer = await registered(run, **{"url": "http://127.0.0.1/", **given})
        assert (answer["webhook"], answer["secret"]) == (None, None)
        assert [(each["code"], each["field"]) for each in answer["errors"]] == [(code, field)]
        assert await number(office) == 0

    async def test_who_may_not_makes_us_look_nowhere(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        async def looked(*_given: object, **_more: object) -> None:
            raise AssertionError

        monkeypatch.setattr("guildhall.inbox.graphql.webhooks.require_allowed", looked)
        values = {"label": "chat", "url": "http://10.0.0.1/", "kinds": ["JOB_ENDED"], "team": "press"}
        assert await refused(office, "vera", REGISTER, input=values) == ["PERMISSION_REFUSED"]
        assert await number(office) == 0


class TestChange:
    async def test_each_answers_what_it_is_like_now(self, office: Office, run: Run) -> None:
        async with receiving() as receiver:
            made = await registered(run, receiver.url)
            key = made["webhook"]["id"]
            changed = {"webhookId": key, "label": "pager", "url": f"{receiver.url}/2", "kinds": ["HOLD_RELEASED"]}
            updated = (await run("mia", UPDATE, input=changed))["updateWebhook"]
            assert updated["webhook"] == {name: changed[name] for name in ("label", "url", "kinds")}
        rotated = (await run("mia", ROTATE, input={"webhookId": key, "overlapSeconds": 60}))["rotateWebhookSecret"]
        assert rotated["webhook"] == {"previousSecretExpiresAt": "2026-03-02T08:01:00.000000Z"}
        assert rotated["secret"] not in {None, made["secret"]}
        paused = (await run("mia", PAUSE, input={"webhookId": key}))["pauseWebhook"]["webhook"]
        assert paused == {
            "pausedAt": "2026-03-02T08:00:00.000000Z", "pauseReason": {"code": "PAUSED", "message": "was paused"},
        }  # fmt: skip
        resumed = (await run("mia", RESUME, input={"webhookId": key}))["resumeWebhook"]["webhook"]
        assert resumed == {"pausedAt": None, "restsUntil": None}
        assert (await run("mia", DELETE, input={"webhookId": key}))["deleteWebhook"]["deletedId"] == key
        assert await number(office) == 0

    async def test_not_that_of_others(self, office: Office, run: Run) -> None:
        made = await office.register("http://127.0.0.1/")
        given = {"webhookId": encode_id("Webhook", made.id)}
        for document, name in ((PAUSE, "pauseWebhook"), (DELETE, "deleteWebhook"), (TEST, "testWebhook")):
            answer = (await run("nils", document, input=given))[name]
            assert answer["errors"] == [{"code": "NOT_FOUND", "field": "webhookId"}]
        update = {**given, "label": "x", "url": "http://127.0.0.1/", "kinds": ["JOB_ENDED"]}
        answer = (await run("nils", UPDATE, input=update))["updateWebhook"]
        assert answer["errors"] == [{"code": "NOT_FOUND", "field": "webhookId"}]
        assert (await office.webhook(made.id)).label == "chat"


class TestLists:
    async def test_pages_of_what_is_visible(self, office: Office, run: Run) -> None:
        assert (await run("mia", WEBHOOKS))["webhooks"] == {
            "totalCount": 0, "nodes": [], "pageInfo": {"hasNextPage": False, "endCursor": None},
        }  # fmt: skip
        for _ in range(3):
            await office.register("http://127.0.0.1/")
        await office.register("http://127.0.0.1/", by="nils", team="sales")
        await office.register("http://127.0.0.1/", by="ada", team=None)
        first = (await run("mia", WEBHOOKS, first=2))["webhooks"]
        assert (first["totalCount"], len(first["nodes"]), first["pageInfo"]["hasNextPage"]) == (3, 2, True)
        second = (await run("mia", WEBHOOKS, first=2, after=first["pageInfo"]["endCursor"]))["webhooks"]
        assert (len(second["nodes"]), second["pageInfo"]["hasNextPage"]) == (1, False)
        assert (await run("ada", WEBHOOKS))["webhooks"]["totalCount"] == 5
        sales = await run("ada", WEBHOOKS, filter={"team": {"eq": "sales"}})
        assert sales["webhooks"]["totalCount"] == 1
        assert await refused(office, "vera", WEBHOOKS) == ["FORBIDDEN"]

    async def test_deliveries_by_state_and_the_dead_sent_again(self, office: Office, run: Run) -> None:
        async with receiving(FAILS, OK) as receiver:
            key = (await registered(run, receiver.url))["webhook"]["id"]
            tested = (await run("mia", TEST, input={"webhookId": key}))["testWebhook"]["delivery"]
            assert tested == {
                "id": tested["id"], "channel": "WEBHOOK", "state": "WAITING", "kind": None, "attempts": 0,
                "nextAttemptAt": "2026-03-02T08:00:00.000000Z", "webhook": {"label": "chat"}, "recipient": None,
                "messageId": tested["messageId"],
            }  # fmt: skip
            await office.send()
            event = await office.tell("mia")
            await office.send()
            assert receiver.taken[0].id == tested["messageId"]
            assert receiver.taken[1].id == str(event)
            everything = (await run("mia", DELIVERIES))["deliveries"]
            assert [(each["state"], each["kind"]) for each in everything["nodes"]] == [
                ("DELIVERED", "JOB_ENDED"), ("DEAD", None),
            ]  # fmt: skip
            dead = (await run("mia", DELIVERIES, filter={"state": {"eq": "DEAD"}, "webhookId": key}))["deliveries"]
            assert dead["nodes"] == [
                {
                    "id": tested["id"], "state": "DEAD", "kind": None, "status": 500, "webhook": {"label": "chat"},
                    "problem": {"code": "REFUSED", "message": "the receiver answered 500"}, "recipient": None,
                    "endedAt": "2026-03-02T08:00:00.000000Z",
                }
            ]  # fmt: skip
            again = (await run("mia", REDELIVER, input={"deliveryId": tested["id"]}))["redeliver"]
            assert again == {"delivery": {"state": "WAITING", "attempts": 0}, "errors": []}
            await office.send()
        listed = (await run("mia", WEBHOOKS))["webhooks"]["nodes"][0]["deliveries"]
        assert (listed["totalCount"], {each["state"] for each in listed["nodes"]}) == (2, {"DELIVERED"})
        assert (await run("nils", DELIVERIES))["deliveries"]["totalCount"] == 0
        unknown = {"deliveryId": encode_id("Delivery", new_id())}
        assert (await run("mia", REDELIVER, input=unknown))["redeliver"]["errors"] == [
            {"code": "NOT_FOUND", "field": "deliveryId"}
        ]


class TestInboxSettings:
    async def test_no_mail_until_somebody_says_so(self, run: Run) -> None:
        assert (await run("vera", SETTINGS))["viewer"]["inboxSettings"] == {"mail": "NONE"}
        said = (await run("vera", SET, input={"mail": "ALL"}))["updateInboxSettings"]
        assert said == {"settings": {"mail": "ALL"}, "errors": []}
        assert (await run("vera", SETTINGS))["viewer"]["inboxSettings"] == {"mail": "ALL"}
        assert (await run("mia", SETTINGS))["viewer"]["inboxSettings"] == {"mail": "NONE"}
