"""The code flow: each part of a sign-in is bound to the browser that began it, and its end is the issuer's word."""

import hashlib
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from guildhall.auth.claims import NotOfIssuer, Rules
from guildhall.auth.code_flow import BrowserClient, Grant, GrantEnded, SignIn, SignInFailed
from guildhall.auth.issuer import Issuer, IssuerUnavailable
from tests.fake_issuer import AUDIENCE, BROWSER_CLIENT, ISSUER, FakeIssuer

AT = datetime(2026, 3, 2, 8, tzinfo=UTC)
DISCOVERY = "/.well-known/openid-configuration"
REDIRECT = f"{AUDIENCE}/auth/callback"


@pytest.fixture
def fake() -> FakeIssuer:
    return FakeIssuer(AT)


def client_of(fake: FakeIssuer, *, secret: str | None = None, key: bytes = b"k" * 32) -> BrowserClient:
    rules = Rules(
        issuer=ISSUER, audience=AUDIENCE, client_id=BROWSER_CLIENT, groups_claim="groups", emails_verified=False,
        skew=timedelta(seconds=60),
    )  # fmt: skip
    issuer = Issuer(rules, keys_kept=timedelta(hours=1), transport=fake.transport)
    return BrowserClient(issuer, BROWSER_CLIENT, secret, REDIRECT, ("openid", "email"), key)


@pytest.fixture
def client(fake: FakeIssuer) -> BrowserClient:
    return client_of(fake)


async def begun(client: BrowserClient, path: str = "/models") -> tuple[dict[str, str], str, SignIn]:
    """What the browser is sent to, what it keeps, and what that says."""
    address, sealed = await client.begin(path, at=AT)
    assert address.startswith(f"{ISSUER}/authorize?")
    asked = {name: value[0] for name, value in parse_qs(urlsplit(address).query).items()}
    sign_in = client.resumed(sealed, {"state": asked["state"], "code": "c"}, at=AT)
    return asked, sealed, sign_in


class TestBegin:
    async def test_what_is_asked(self, client: BrowserClient) -> None:
        asked, _, sign_in = await begun(client)
        proof = urlsafe_b64encode(hashlib.sha256(sign_in.verifier.encode()).digest()).rstrip(b"=").decode()
        assert asked == {
            "response_type": "code", "client_id": BROWSER_CLIENT, "redirect_uri": REDIRECT, "scope": "openid email",
            "state": sign_in.state, "nonce": sign_in.nonce, "code_challenge": proof, "code_challenge_method": "S256",
        }  # fmt: skip
        assert len({sign_in.state, sign_in.nonce, sign_in.verifier}) == 3
        assert len(sign_in.verifier) >= 43

    @pytest.mark.parametrize(
        ("path", "kept"),
        [
            ("/models?x=1", "/models?x=1"), ("https://evil.test/", "/"), ("//evil.test", "/"), ("/\\evil.test", "/"),
            ("", "/"), ("/a\nb", "/"), ("/é", "/"), ("/" * 2_001, "/"),
        ],
    )  # fmt: skip
    async def test_it_comes_back_to_a_path_of_ours(self, client: BrowserClient, path: str, kept: str) -> None:
        assert (await begun(client, path))[2].next_path == kept

    async def test_an_issuer_without_browsers(self, fake: FakeIssuer, client: BrowserClient) -> None:
        fake.answers[DISCOVERY] = {**fake.metadata(), "authorization_endpoint": None}
        with pytest.raises(IssuerUnavailable, match="no address to sign in"):
            await client.begin("/", at=AT)


class TestResumed:
    @pytest.mark.parametrize("sealed", [None, "", "AAAA", "not base64!", "é"])
    async def test_a_browser_that_began_nothing(self, client: BrowserClient, sealed: str | None) -> None:
        with pytest.raises(SignInFailed, match="began no sign-in"):
            client.resumed(sealed, {"state": "s", "code": "c"}, at=AT)

    async def test_a_cookie_of_another_installation(self, fake: FakeIssuer, client: BrowserClient) -> None:
        asked, sealed, _ = await begun(client_of(fake, key=b"o" * 32))
        with pytest.raises(SignInFailed, match="began no sign-in"):
            client.resumed(sealed, {"state": asked["state"], "code": "c"}, at=AT)

    @pytest.mark.parametrize("minutes", [-1, 10])
    async def test_another_time(self, client: BrowserClient, minutes: int) -> None:
        asked, sealed, _ = await begun(client)
        with pytest.raises(SignInFailed, match="within the last 10 minutes"):
            client.resumed(sealed, {"state": asked["state"], "code": "c"}, at=AT + timedelta(minutes=minutes))

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            ({"code": "c"}, "another sign-in"),
            ({"state": "made up", "code": "c"}, "another sign-in"),
            ({"state": "STATE", "error": "access_denied"}, "refused the sign-in: access_denied"),
            ({"state": "STATE"}, "refused the sign-in: no code"),
        ],
    )
    async def test_another_answer(self, client: BrowserClient, answer: dict[str, str], why: str) -> None:
        asked, sealed, _ = await begun(client)
        given = {name: value.replace("STATE", asked["state"]) for name, value in answer.items()}
        with pytest.raises(SignInFailed, match=why):
            client.resumed(sealed, given, at=AT)


class TestFinish:
    async def finish(self, fake: FakeIssuer, client: BrowserClient, given: Any = None, **answer: str) -> Grant:
        asked, _, sign_in = await begun(client)
        tokens = {"id_token": fake.identity_token(nonce=asked["nonce"]), "expires_in": 300, "refresh_token": "r"}
        fake.answers["/token"] = tokens if given is None else given
        return await client.finish(sign_in, {"code": "c", "iss": ISSUER, **answer}, at=AT)

    async def test_a_public_client_names_itself(self, fake: FakeIssuer, client: BrowserClient) -> None:
        grant = await self.finish(fake, client)
        assert (grant.claims.subject, grant.refresh_token) == ("sub-ada", "r")
        assert grant.fresh_until == AT + timedelta(seconds=300)
        (form,) = fake.forms
        assert form.pop("code_verifier")
        assert form == {
            "grant_type": "authorization_code", "code": "c", "redirect_uri": REDIRECT, "client_id": BROWSER_CLIENT,
        }  # fmt: skip

    async def test_a_client_with_a_secret_shows_it(self, fake: FakeIssuer) -> None:
        await self.finish(fake, client_of(fake, secret="geheim"))
        assert "client_id" not in fake.forms[0]

    @pytest.mark.parametrize(("lasts", "seconds"), [(1, 60), (99_999, 3_600), (None, 60)])
    async def test_how_long_it_rests_on_one_answer(
        self, fake: FakeIssuer, client: BrowserClient, lasts: int | None, seconds: int
    ) -> None:
        asked, _, sign_in = await begun(client)
        fake.answers["/token"] = {"id_token": fake.identity_token(nonce=asked["nonce"]), "expires_in": lasts}
        grant = await client.finish(sign_in, {"code": "c", "iss": ISSUER}, at=AT)
        assert (grant.fresh_until, grant.refresh_token) == (AT + timedelta(seconds=seconds), None)

    @pytest.mark.parametrize(
        ("given", "refusal", "why"),
        [
            (httpx.Response(400, json={"error": "invalid_grant"}), SignInFailed, "invalid_grant"),
            (httpx.Response(401, json={}), SignInFailed, "does not say why"),
            ([], IssuerUnavailable, "no JSON object"),
            ({"access_token": "x"}, GrantEnded, "no identity token"),
            ({"id_token": "x"}, NotOfIssuer, "three parts"),
        ],
    )
    async def test_what_does_not_end_well(
        self, fake: FakeIssuer, client: BrowserClient, given: Any, refusal: type[Exception], why: str
    ) -> None:
        with pytest.raises(refusal, match=why):
            await self.finish(fake, client, given)

    async def test_an_answer_of_another_issuer(self, fake: FakeIssuer, client: BrowserClient) -> None:
        with pytest.raises(SignInFailed, match="of another issuer"):
            await self.finish(fake, client, iss="https://evil.test")
        assert fake.forms == []

    async def test_an_issuer_that_says_it_names_itself_must(self, fake: FakeIssuer, client: BrowserClient) -> None:
        _, _, sign_in = await begun(client)
        with pytest.raises(SignInFailed, match="of another issuer"):
            await client.finish(sign_in, {"code": "c"}, at=AT)

    async def test_one_that_does_not_need_not(self, fake: FakeIssuer, client: BrowserClient) -> None:
        fake.answers[DISCOVERY] = {**fake.metadata(), "authorization_response_iss_parameter_supported": None}
        asked, _, sign_in = await begun(client)
        fake.answers["/token"] = {"id_token": fake.identity_token(nonce=asked["nonce"])}
        assert (await client.finish(sign_in, {"code": "c"}, at=AT)).claims.subject == "sub-ada"


class TestRenew:
    async def test_a_refresh_token_that_is_not_rotated_stays(self, fake: FakeIssuer, client: BrowserClient) -> None:
        fake.answers["/token"] = {"id_token": fake.identity_token(groups=["g"])}
        grant = await client.renew("old", at=AT)
        assert (grant.refresh_token, grant.claims.groups) == ("old", frozenset({"g"}))
        fake.answers["/token"] = {"id_token": fake.identity_token(), "refresh_token": "new"}
        assert (await client.renew("old", at=AT)).refresh_token == "new"

    async def test_what_the_issuer_ended(self, fake: FakeIssuer, client: BrowserClient) -> None:
        fake.answers["/token"] = httpx.Response(400, json={"error": "invalid_grant"})
        with pytest.raises(GrantEnded, match="ended this sign-in: invalid_grant"):
            await client.renew("old", at=AT)


class TestFarewell:
    async def test_where_the_issuer_ends_its_own_session(self, client: BrowserClient) -> None:
        address = await client.farewell(AUDIENCE, at=AT)
        back = "post_logout_redirect_uri=https%3A%2F%2Fguildhall.test%2F"
        assert address == f"{ISSUER}/end?from=us&client_id={BROWSER_CLIENT}&{back}"

    async def test_an_issuer_without_such_a_place(self, fake: FakeIssuer, client: BrowserClient) -> None:
        fake.answers[DISCOVERY] = {**fake.metadata(), "end_session_endpoint": None}
        assert await client.farewell(AUDIENCE, at=AT) == "/"
