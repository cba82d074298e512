"""A browser's session: its cookie and its ends, the issuer asked again, and what a page elsewhere cannot do."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import select, update

from guildhall.auth.tables import Session, Token, User
from guildhall.db.transaction import Database
from tests.fake_issuer import AUDIENCE, ISSUER, SECOND
from tests.house import OWN, House, ask, bearer


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
