"""Signing in over HTTP: sessions and their ends, the issuer asked again, and what a page elsewhere cannot do."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.app import create_app
from guildhall.auth.actor import system_actor
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import Session, Token, User, UserIdentity
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database
from guildhall.organisation.groups import set_group_mapping
from guildhall.organisation.tokens import issue_token
from guildhall.settings import Settings
from tests.conftest import MONDAY_MORNING
from tests.fake_issuer import AUDIENCE, BROWSER_CLIENT, ISSUER, SECOND, FakeIssuer
from tests.people import actor_of, make_service_account, make_team, make_user

SITE = AUDIENCE
VIEWER = "{ viewer { actor { ... on User { email } } memberships { roles } } }"
OWN = {"origin": SITE}


class House:
    """Guildhall with an issuer, both at one time; `settings` may differ from test to test."""

    def __init__(self, database: Database, folder: Path, **changed: Any) -> None:
        self.database = database
        self.clock = SimulatedClock(MONDAY_MORNING)
        self.issuer = FakeIssuer(MONDAY_MORNING)
        known = {"oidc_issuer": ISSUER, "oidc_client_id": BROWSER_CLIENT, "oidc_cli_client_id": "guildhall-cli"}
        self.settings = Settings(data_dir=folder, database_url=database.url, **{"public_url": SITE, **known, **changed})
        self.app: Any = create_app(self.settings, database, self.clock, issuer_transport=self.issuer.transport)

    def browser(self, address: str = "192.0.2.1") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.app, client=(address, 4711))
        return httpx.AsyncClient(transport=transport, base_url=SITE, headers={"user-agent": "A browser"})

    def later(self, **duration: float) -> None:
        step = timedelta(**duration)
        self.clock.advance(step)
        self.issuer.at += step

    def answer_with(self, name: str = "ada", **changed: Any) -> None:
        """What the issuer's token endpoint says from now on."""
        self.issuer.answers["/token"] = {
            "id_token": self.issuer.identity_token(name, **changed), "refresh_token": "refresh", "expires_in": 300,
        }  # fmt: skip

    async def sign_in(
        self, browser: httpx.AsyncClient, name: str = "ada", path: str = "/", **changed: Any
    ) -> httpx.Response:
        begun = await browser.get("/auth/login", params={"next": path})
        assert begun.status_code == 303, begun.text
        asked = parse_qs(urlsplit(begun.headers["location"]).query)
        self.answer_with(name, nonce=asked["nonce"][0], **changed)
        return await browser.get("/auth/callback", params={"state": asked["state"][0], "code": "c", "iss": ISSUER})

    async def token_of(self, name: str) -> str:
        async with self.database.transaction() as session:
            return await self._issue(session, ActorKind.USER, await make_user(session, name))

    async def token_of_program(self, name: str) -> str:
        async with self.database.transaction() as session:
            team = await make_team(session, f"team-{new_id().hex[-8:]}")
            key = await make_service_account(session, name, team)
            return await self._issue(session, ActorKind.SERVICE_ACCOUNT, key)

    async def _issue(self, session: AsyncSession, kind: ActorKind, key: UUID) -> str:
        issued = await issue_token(
            session, system_actor("tests"), subject_kind=kind, subject_id=key, label="tests",
            expires_at=MONDAY_MORNING + timedelta(days=30), at=MONDAY_MORNING, new_id=new_id,
        )  # fmt: skip
        return issued.text


@pytest.fixture
async def house(fresh_database: Database, tmp_path: Path) -> House:
    made = House(fresh_database, tmp_path)
    async with fresh_database.transaction() as session:
        await make_team(session, "press")
        root = await actor_of(session, await make_user(session, "root", roles={"administrator": [None]}))
        await set_group_mapping(
            session, root, group="printers", team="press", role="maintainer", at=MONDAY_MORNING, new_id=new_id
        )
    return made


@pytest.fixture
async def browser(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with house.browser() as opened:
        yield opened


async def ask(browser: httpx.AsyncClient, document: str = VIEWER, **headers: str) -> tuple[int, Any]:
    answer = await browser.post("/graphql", json={"query": document}, headers=headers)
    body = answer.json()
    if "errors" in body:
        return answer.status_code, body["errors"][0]["extensions"]["code"]
    viewer = body["data"]["viewer"]
    if "actor" not in viewer:
        return answer.status_code, viewer
    return answer.status_code, (viewer["actor"]["email"], [entry["roles"] for entry in viewer["memberships"]])


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


class TestSettings:
    async def test_what_a_command_line_must_know(self, house: House, browser: httpx.AsyncClient) -> None:
        assert (await browser.get("/auth/settings")).json() == {
            "issuer": ISSUER, "clientId": "guildhall-cli", "audience": SITE, "browser": True,
            "scopes": ["openid", "profile", "email", "offline_access"],
        }  # fmt: skip

    async def test_without_an_issuer(self, fresh_database: Database, tmp_path: Path) -> None:
        nothing = {"oidc_issuer": None, "oidc_client_id": None, "oidc_cli_client_id": None}
        house = House(fresh_database, tmp_path, **nothing)
        async with house.browser() as browser:
            told = (await browser.get("/auth/settings")).json()
            assert (told["issuer"], told["clientId"], told["browser"]) == (None, None, False)
            for path in ("/auth/login", "/auth/callback"):
                refused = await browser.get(path)
                assert (refused.status_code, "GUILDHALL_OIDC_CLIENT_ID" in refused.text) == (404, True)
            assert await ask(browser, **bearer(house.issuer.token())) == (401, "TOKEN_REFUSED")
            cookie = f"__Host-guildhall={await house.token_of('eve')}"
            assert await ask(browser, cookie=cookie, **OWN) == (401, "TOKEN_REFUSED")


class TestSession:
    async def test_the_cookie_is_guarded(self, house: House, browser: httpx.AsyncClient) -> None:
        landed = await house.sign_in(browser, path="/models")
        assert landed.headers["location"] == "/models"
        kept, forgotten = sorted(landed.headers.get_list("set-cookie"))
        assert all(cookie.startswith("__Host-guildhall") for cookie in (kept, forgotten))
        for cookie in (kept, forgotten):
            assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure"} <= set(cookie.split("; "))
        assert await ask(browser, **OWN) == (200, ("ada@example.org", []))
        async with house.database.read() as session:
            held = (await session.scalars(select(Session))).one()
        assert (held.address, held.client) == ("192.0.2.1", "A browser")
        assert held.refresh_token is not None
        assert b"refresh" not in held.refresh_token

    async def test_on_this_machine_it_needs_no_guard(self, fresh_database: Database, tmp_path: Path) -> None:
        house = House(fresh_database, tmp_path, public_url="http://127.0.0.1:8321", oidc_audience=AUDIENCE)
        async with house.browser() as browser:
            begun = await browser.get("/auth/login")
        cookie = begun.headers["set-cookie"]
        assert cookie.startswith("guildhall-sign-in=")
        assert "Secure" not in cookie

    @pytest.mark.parametrize(
        "headers",
        [{"origin": "https://evil.test"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {}],
    )
    async def test_a_page_elsewhere_uses_it_for_nothing(
        self, house: House, browser: httpx.AsyncClient, headers: dict[str, str]
    ) -> None:
        await house.sign_in(browser)
        assert await ask(browser, **headers) == (401, "CROSS_SITE")
        assert (await browser.post("/auth/logout", headers=headers)).status_code == 401
        assert (await browser.post("/auth/logout-everywhere", headers=headers)).status_code == 401
        assert await ask(browser, **OWN) == (200, ("ada@example.org", []))

    @pytest.mark.parametrize("site", ["same-origin", "none"])
    async def test_a_page_of_ours_does(self, house: House, browser: httpx.AsyncClient, site: str) -> None:
        await house.sign_in(browser)
        assert (await ask(browser, **{"sec-fetch-site": site}))[0] == 200

    async def test_it_is_no_bearer_token_nor_the_other_way_round(
        self, house: House, browser: httpx.AsyncClient
    ) -> None:
        await house.sign_in(browser)
        text = browser.cookies["__Host-guildhall"]
        browser.cookies.clear()
        assert await ask(browser, **bearer(text)) == (401, "TOKEN_REFUSED")
        assert await ask(browser, cookie=f"__Host-guildhall={house.issuer.token()}", **OWN) == (401, "TOKEN_REFUSED")
        assert await ask(browser, cookie="other=1", **OWN) == (401, "UNAUTHENTICATED")
        assert await ask(browser, cookie="x__Host-guildhall=1; a", **OWN) == (401, "UNAUTHENTICATED")

    async def test_the_token_counts_before_the_cookie(self, house: House, browser: httpx.AsyncClient) -> None:
        await house.sign_in(browser)
        assert await ask(browser, **bearer(await house.token_of("bob"))) == (200, ("bob@example.org", []))

    async def test_it_ends_idle(self, house: House, browser: httpx.AsyncClient) -> None:
        await house.sign_in(browser)
        house.later(seconds=house.settings.session_idle_seconds)
        house.answer_with()
        assert await ask(browser, **OWN) == (401, "TOKEN_REFUSED")

    async def test_it_ends_at_last_however_busy(self, house: House, browser: httpx.AsyncClient) -> None:
        await house.sign_in(browser)
        for _ in range(house.settings.session_seconds // 3_600 - 1):
            house.later(hours=1)
            house.answer_with()
            assert (await ask(browser, **OWN))[0] == 200
        house.later(hours=1)
        house.answer_with()
        assert await ask(browser, **OWN) == (401, "TOKEN_REFUSED")

    async def test_who_was_deactivated_is_out(self, house: House, browser: httpx.AsyncClient) -> None:
        await house.sign_in(browser)
        async with house.database.transaction() as session:
            await session.execute(
                update(User).where(User.email == "ada@example.org").values(deactivated_at=house.clock.now())
            )
        assert await ask(browser, **OWN) == (401, "TOKEN_REFUSED")


class TestCallback:
    async def test_a_browser_that_began_nothing(self, house: House, browser: httpx.AsyncClient) -> None:
        refused = await browser.get("/auth/callback", params={"state": "s", "code": "c"})
        assert (refused.status_code, "began no sign-in" in refused.text) == (401, True)
        assert house.issuer.calls == []

    async def test_what_the_issuer_says_is_escaped(self, house: House, browser: httpx.AsyncClient) -> None:
        begun = await browser.get("/auth/login")
        state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
        refused = await browser.get("/auth/callback", params={"state": state, "error": "<script>"})
        assert "&lt;script&gt;" in refused.text
        assert "<script>" not in refused.text

    async def test_an_issuer_that_is_away(self, house: House, browser: httpx.AsyncClient) -> None:
        house.issuer.away = True
        assert (await browser.get("/auth/login")).status_code == 503


class TestRenewal:
    async def test_groups_are_asked_for_again_when_the_access_token_ended(
        self, house: House, browser: httpx.AsyncClient
    ) -> None:
        await house.sign_in(browser, groups=["printers"])
        assert await ask(browser, **OWN) == (200, ("ada@example.org", [["maintainer"]]))
        house.later(seconds=299)
        assert await ask(browser, **OWN) == (200, ("ada@example.org", [["maintainer"]]))
        assert len(house.issuer.forms) == 1
        house.later(seconds=1)
        house.answer_with(groups=[])
        assert await ask(browser, **OWN) == (200, ("ada@example.org", []))
        assert house.issuer.forms[-1]["refresh_token"] == "refresh"
        assert len(house.issuer.forms) == 2

    @pytest.mark.parametrize("how", ["ended", "somebody else", "a forged one", "no identity token"])
    async def test_the_session_ends_where_the_issuer_ends_it(
        self, house: House, browser: httpx.AsyncClient, how: str
    ) -> None:
        await house.sign_in(browser)
        house.later(seconds=300)
        if how == "ended":
            house.issuer.answers["/token"] = httpx.Response(400, json={"error": "invalid_grant"})
        elif how == "somebody else":
            house.answer_with("eve")
        elif how == "a forged one":
            house.issuer.answers["/token"] = {"id_token": house.issuer.identity_token(key=SECOND)}
        else:
            house.issuer.answers["/token"] = {}
        assert await ask(browser, **OWN) == (401, "TOKEN_REFUSED")
        house.answer_with()
        assert await ask(browser, **OWN) == (401, "TOKEN_REFUSED")
        async with house.database.read() as session:
            assert (await session.scalars(select(Token.revoked_at).where(Token.origin == "BROWSER"))).one() is not None

    async def test_without_a_refresh_token_it_ends_with_the_access_token(
        self, house: House, browser: httpx.AsyncClient
    ) -> None:
        begun = await browser.get("/auth/login")
        asked = parse_qs(urlsplit(begun.headers["location"]).query)
        house.issuer.answers["/token"] = {"id_token": house.issuer.identity_token(nonce=asked["nonce"][0])}
        await browser.get("/auth/callback", params={"state": asked["state"][0], "code": "c", "iss": ISSUER})
        assert (await ask(browser, **OWN))[0] == 200
        house.later(seconds=300)
        assert await ask(browser, **OWN) == (401, "TOKEN_REFUSED")

    async def test_while_the_issuer_is_away_it_goes_on_for_a_time(
        self, house: House, browser: httpx.AsyncClient
    ) -> None:
        await house.sign_in(browser)
        house.later(seconds=300)
        house.issuer.away = True
        asked = len(house.issuer.calls)
        assert (await ask(browser, **OWN))[0] == 200
        assert (await ask(browser, **OWN))[0] == 200
        assert len(house.issuer.calls) == asked + 1
        house.later(seconds=30)
        assert (await ask(browser, **OWN))[0] == 200
        house.later(seconds=house.settings.session_outage_seconds - 30)
        assert await ask(browser, **OWN) == (503, "ISSUER_UNAVAILABLE")
        assert await ask(browser, **OWN) == (503, "ISSUER_UNAVAILABLE")
        house.issuer.away = False
        house.later(seconds=30)
        house.answer_with()
        assert (await ask(browser, **OWN))[0] == 200

    async def test_another_request_that_asks_meanwhile_is_not_disturbed(
        self, house: House, browser: httpx.AsyncClient
    ) -> None:
        await house.sign_in(browser)
        house.later(seconds=300)
        async with house.database.transaction() as session:
            leased = house.clock.now() + timedelta(seconds=30)
            await session.execute(update(Session).values(refreshing_until=leased))
        assert (await ask(browser, **OWN))[0] == 200
        assert len(house.issuer.forms) == 1


class TestSigningOut:
    async def test_the_session_ends_and_the_issuers_is_next(self, house: House, browser: httpx.AsyncClient) -> None:
        await house.sign_in(browser)
        cookie = f"__Host-guildhall={browser.cookies['__Host-guildhall']}"
        gone = await browser.post("/auth/logout", headers=OWN)
        assert gone.json()["next"].startswith(f"{ISSUER}/end?from=us&client_id={BROWSER_CLIENT}")
        assert "__Host-guildhall" not in browser.cookies
        assert await ask(browser, cookie=cookie, **OWN) == (401, "TOKEN_REFUSED")
        assert (await browser.post("/auth/logout", headers={"cookie": cookie, **OWN})).status_code == 200

    async def test_a_person_with_a_page_is_sent_on(self, house: House, browser: httpx.AsyncClient) -> None:
        house.issuer.away = True
        gone = await browser.post("/auth/logout", headers={"accept": "text/html"})
        assert (gone.status_code, gone.headers["location"]) == (303, "/")

    async def test_everywhere(self, house: House, browser: httpx.AsyncClient) -> None:
        await house.sign_in(browser)
        known, unseen = house.issuer.token(groups=[]), house.issuer.token(jti="another")
        async with house.browser() as other:
            await house.sign_in(other)
            assert (await ask(other, **bearer(known)))[0] == 200
            assert (await browser.post("/auth/logout-everywhere", headers=OWN)).status_code == 200
            assert await ask(other, **OWN) == (401, "TOKEN_REFUSED")
            assert await ask(other, **bearer(known)) == (401, "TOKEN_REFUSED")
            assert await ask(other, **bearer(unseen)) == (401, "TOKEN_REFUSED")
            house.later(seconds=1)
            assert (await ask(other, **bearer(house.issuer.token())))[0] == 200

    async def test_it_is_for_people(self, house: House, browser: httpx.AsyncClient) -> None:
        assert (await browser.post("/auth/logout-everywhere")).status_code == 401
        robot = bearer(await house.token_of_program("robot"))
        assert (await browser.post("/auth/logout-everywhere", headers=robot)).status_code == 403
        assert (await ask(browser, "{ viewer { permissions } }", **robot))[0] == 200

    async def test_a_program_may_end_its_own_token(self, house: House, browser: httpx.AsyncClient) -> None:
        robot = bearer(await house.token_of_program("robot"))
        assert (await browser.post("/auth/logout", headers=robot)).status_code == 200
        assert await ask(browser, **robot) == (401, "TOKEN_REFUSED")


class TestBearer:
    async def test_a_token_is_verified_once(self, house: House, browser: httpx.AsyncClient) -> None:
        text = house.issuer.token(groups=["printers"])
        assert await ask(browser, **bearer(text)) == (200, ("ada@example.org", [["maintainer"]]))
        house.issuer.away = True
        house.later(seconds=359)
        assert (await ask(browser, **bearer(text)))[0] == 200
        house.later(seconds=1)
        assert await ask(browser, **bearer(text)) == (401, "TOKEN_REFUSED")

    async def test_who_left_a_group_loses_the_role_at_that_request(
        self, house: House, browser: httpx.AsyncClient
    ) -> None:
        old = house.issuer.token(groups=["printers"])
        assert await ask(browser, **bearer(old)) == (200, ("ada@example.org", [["maintainer"]]))
        house.later(seconds=1)
        assert await ask(browser, **bearer(house.issuer.token())) == (200, ("ada@example.org", []))
        assert await ask(browser, **bearer(old)) == (200, ("ada@example.org", []))

    async def test_an_issuer_that_is_away(self, house: House, browser: httpx.AsyncClient) -> None:
        house.issuer.away = True
        assert await ask(browser, **bearer(house.issuer.token())) == (503, "ISSUER_UNAVAILABLE")
        assert (await ask(browser, **bearer(await house.token_of("bob"))))[0] == 200
        async with house.database.read() as session:
            assert (await session.scalars(select(UserIdentity))).all() == []


class TestAttempts:
    async def test_who_fails_too_often_waits(self, fresh_database: Database, tmp_path: Path) -> None:
        house = House(fresh_database, tmp_path, failed_sign_ins_per_minute=3)
        good = await house.token_of("bob")
        async with house.browser() as browser, house.browser("192.0.2.2") as other:
            assert (await ask(browser, **bearer(good)))[0] == 200
            for text in ("nonsense", house.issuer.token(key=SECOND), "ghu_" + "a" * 38):
                assert (await ask(browser, **bearer(text)))[0] == 401
            refused = await browser.post("/graphql", json={"query": VIEWER}, headers=bearer("nonsense"))
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "61")
            assert refused.json()["errors"][0]["extensions"]["code"] == "TOO_MANY_ATTEMPTS"
            assert (await browser.get("/auth/login")).status_code == 429
            assert (await browser.get("/artifacts/x", headers=bearer("nonsense"))).status_code in {404, 429}
            assert (await ask(browser, **bearer(good)))[0] == 200
            assert (await ask(other, **bearer("nonsense")))[0] == 401
            house.later(seconds=61)
            assert (await ask(browser, **bearer("nonsense")))[0] == 401

    async def test_a_withdrawn_token_is_no_guess(self, fresh_database: Database, tmp_path: Path) -> None:
        house = House(fresh_database, tmp_path, failed_sign_ins_per_minute=1)
        good = await house.token_of("bob")
        async with house.database.transaction() as session:
            await session.execute(update(Token).values(revoked_at=MONDAY_MORNING))
        async with house.browser() as browser:
            for _ in range(3):
                assert await ask(browser, **bearer(good)) == (401, "TOKEN_REFUSED")

    async def test_failed_sign_ins_count(self, fresh_database: Database, tmp_path: Path) -> None:
        house = House(fresh_database, tmp_path, failed_sign_ins_per_minute=2)
        async with house.browser() as browser:
            statuses = [(await browser.get("/auth/callback")).status_code for _ in range(3)]
        assert statuses == [401, 401, 429]


class TestProxies:
    @pytest.mark.parametrize(
        ("trusted", "address"), [("", "10.0.0.7"), ("192.0.2.0/24", "10.0.0.7"), ("10.0.0.0/8", "198.51.100.1")]
    )
    async def test_only_a_configured_one_is_believed(
        self, fresh_database: Database, tmp_path: Path, trusted: str, address: str
    ) -> None:
        networks = Settings.from_environment({"HOME": "/", "GUILDHALL_TRUSTED_PROXIES": trusted}).trusted_proxies
        house = House(fresh_database, tmp_path, trusted_proxies=networks)
        async with house.browser("10.0.0.7") as browser:
            browser.headers["x-forwarded-for"] = "198.51.100.1"
            await house.sign_in(browser)
        async with fresh_database.read() as session:
            assert (await session.scalars(select(Session.address))).one() == address


class TestClock:
    async def test_what_ended_stays_ended_when_the_clock_is_set_back(
        self, house: House, browser: httpx.AsyncClient
    ) -> None:
        text = house.issuer.token()
        assert (await ask(browser, **bearer(text)))[0] == 200
        house.later(seconds=360)
        assert await ask(browser, **bearer(text)) == (401, "TOKEN_REFUSED")
        house.clock._now -= timedelta(hours=1)
        assert await ask(browser, **bearer(text)) == (401, "TOKEN_REFUSED")


class TestSessionsInGraphQL:
    async def test_they_are_listed_and_ended(self, house: House, browser: httpx.AsyncClient) -> None:
        await house.sign_in(browser)
        house.later(seconds=1)
        async with house.browser("192.0.2.9") as other:
            await house.sign_in(other)
            listed = "{ viewer { sessions(first: 9) { nodes { id address client current endedAt } } } }"
            _, viewer = await ask(browser, listed, **OWN)
            nodes = viewer["sessions"]["nodes"]
            assert [(node["address"], node["current"], node["endedAt"]) for node in nodes] == [
                ("192.0.2.9", False, None), ("192.0.2.1", True, None),
            ]  # fmt: skip
            end = "mutation($id: ID!) { endSession(input: {sessionId: $id}) { session { endedAt } errors { code } } }"
            body = {"query": end, "variables": {"id": nodes[0]["id"]}}
            ended = (await browser.post("/graphql", json=body, headers=OWN)).json()["data"]["endSession"]
            assert ended["errors"] == []
            assert ended["session"]["endedAt"] is not None
            assert await ask(other, **OWN) == (401, "TOKEN_REFUSED")
            await house.sign_in(other, "eve")
            body["variables"] = {"id": nodes[1]["id"]}
            refused = (await other.post("/graphql", json=body, headers=OWN)).json()["data"]["endSession"]
            assert [error["code"] for error in refused["errors"]] == ["NOT_FOUND"]
            assert (await ask(browser, **OWN))[0] == 200
