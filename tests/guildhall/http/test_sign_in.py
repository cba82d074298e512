"""Signing in and out over HTTP: tokens of the issuer, failures that are counted, proxies, and a clock set back."""

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import ECKey
from sqlalchemy import select, update

from guildhall.auth.tables import Session, Token, UserIdentity
from guildhall.db.transaction import Database
from guildhall.errors import Unavailable
from guildhall.http import signing_in
from guildhall.organisation.identities import admit_token
from guildhall.settings import Settings
from tests.conftest import MONDAY_MORNING
from tests.fake_issuer import BROWSER_CLIENT, FIRST, ISSUER, SECOND
from tests.house import OWN, SITE, VIEWER, House, ask, bearer

CURVE = ECKey.generate_key("P-256", {"kid": "curve"})
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


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

    async def test_a_page_of_others_clears_no_cookie(self, house: House, browser: httpx.AsyncClient) -> None:
        answer = await browser.post("/auth/logout", headers={"origin": "https://elsewhere.test"})
        assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
        assert "set-cookie" in (await browser.post("/auth/logout", headers=OWN)).headers

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

    async def test_it_ends_when_its_key_is_withdrawn(self, house: House, browser: httpx.AsyncClient) -> None:
        house.issuer.keys = [FIRST, SECOND]
        old, refused = house.issuer.token(), house.issuer.token(jti="another")
        kept = house.issuer.token("grace", key=SECOND)
        for text in (old, kept):
            assert (await ask(browser, **bearer(text)))[0] == 200
        house.issuer.keys = [SECOND]
        house.later(seconds=300)
        assert (await ask(browser, **bearer(old)))[0] == 200, "nobody has asked the issuer yet"
        house.later(seconds=10)
        house.issuer.keys = [SECOND, CURVE]
        assert (await ask(browser, **bearer(refused)))[0] == 200, "its key is known for ten minutes"
        assert (await ask(browser, **bearer(house.issuer.token(key=CURVE, header={"alg": "ES256"}))))[0] == 200
        for text in (old, refused):
            assert await ask(browser, **bearer(text)) == (401, "TOKEN_REFUSED")
        assert (await ask(browser, **bearer(kept)))[0] == 200

    async def test_a_withdrawn_key_is_noticed_though_no_new_token_comes(
        self, house: House, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(signing_in, "KEYS_SECONDS", 0.01)
        house.issuer.keys = [FIRST, SECOND]
        old, kept = house.issuer.token(), house.issuer.token("grace", key=SECOND)
        for text in (old, kept):
            assert (await ask(browser, **bearer(text)))[0] == 200
        house.issuer.keys = [SECOND]
        house.later(seconds=11)
        assert (await ask(browser, **bearer(old)))[0] == 200, "a token that is known asks nobody"
        looking = asyncio.create_task(house.signing_in().keep_keys())
        async with asyncio.timeout(120):
            while (await ask(browser, **bearer(old)))[0] == 200:
                await asyncio.sleep(0.01)
        assert await ask(browser, **bearer(old)) == (401, "TOKEN_REFUSED")
        assert (await ask(browser, **bearer(kept)))[0] == 200
        looking.cancel()
        await asyncio.wait([looking])

    async def test_looking_for_keys_goes_on_when_the_database_is_back(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(signing_in, "KEYS_SECONDS", 0.01)
        ended = asyncio.Event()

        async def away_once(*_: Any, **__: Any) -> int:
            monkeypatch.setattr(signing_in, "end_tokens_of_other_keys", back)
            raise Unavailable("The database is away.")

        async def back(*_: Any, **__: Any) -> int:
            ended.set()
            return 0

        monkeypatch.setattr(signing_in, "end_tokens_of_other_keys", away_once)
        looking = asyncio.create_task(house.signing_in().keep_keys())
        async with asyncio.timeout(120):
            await ended.wait()
        looking.cancel()
        await asyncio.wait([looking])

    async def test_without_an_issuer_nobody_looks(self, fresh_database: Database, tmp_path: Path) -> None:
        nothing = {"oidc_issuer": None, "oidc_client_id": None, "oidc_cli_client_id": None}
        await House(fresh_database, tmp_path, **nothing).signing_in().keep_keys()

    async def test_a_key_that_goes_while_its_token_is_admitted(
        self, house: House, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another request reads the keys anew, and ends what is known by then, just before this token is known."""
        house.issuer.keys = [FIRST, SECOND]
        assert (await ask(browser, **bearer(house.issuer.token("grace", key=SECOND))))[0] == 200

        async def meanwhile(*given: Any, **named: Any) -> None:
            monkeypatch.undo()
            house.issuer.keys = [SECOND, CURVE]
            house.later(seconds=10)
            assert (await ask(browser, **bearer(house.issuer.token(key=CURVE, header={"alg": "ES256"}))))[0] == 200
            await admit_token(*given, **named)

        monkeypatch.setattr(signing_in, "admit_token", meanwhile)
        assert await ask(browser, **bearer(house.issuer.token(jti="late"))) == (401, "TOKEN_REFUSED")

    async def test_a_withdrawn_one_stays_withdrawn_in_another_spelling(
        self, house: House, browser: httpx.AsyncClient
    ) -> None:
        house.issuer.keys = [CURVE]
        token = house.issuer.token(key=CURVE, header={"alg": "ES256"})
        signed, _, signature = token.rpartition(".")
        raw = urlsafe_b64decode(signature + "==")  # r and s, of which -s is as good
        mirrored = raw[:32] + (P256_ORDER - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
        other = f"{signed}.{urlsafe_b64encode(mirrored).decode().rstrip('=')}"
        assert (await ask(browser, **bearer(token)))[0] == 200
        assert (await browser.post("/auth/logout", headers=bearer(token))).status_code == 200
        assert await ask(browser, **bearer(token)) == (401, "TOKEN_REFUSED")
        assert await ask(browser, **bearer(other)) == (401, "TOKEN_REFUSED")

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

    async def test_without_an_issuer_texts_of_the_shape_of_its_tokens_are_guesses(
        self, fresh_database: Database, tmp_path: Path
    ) -> None:
        nothing = {"oidc_issuer": None, "oidc_client_id": None, "oidc_cli_client_id": None}
        house = House(fresh_database, tmp_path, failed_sign_ins_per_minute=2, **nothing)
        async with house.browser() as browser:
            told = [await ask(browser, **bearer(f"{number}.b.c")) for number in range(3)]
        assert told == [(401, "TOKEN_REFUSED")] * 2 + [(429, "TOO_MANY_ATTEMPTS")]

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
