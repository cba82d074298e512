"""The issuer is asked seldom, believed only about itself, and its absence is told apart from a bad token."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from joserfc.jwk import RSAKey

from guildhall.auth import issuer as module
from guildhall.auth.claims import NotOfIssuer, Rules
from guildhall.auth.issuer import ANSWER_BYTES_MAX, REFRESH_EVERY, RETRY_EVERY, Issuer, IssuerUnavailable
from guildhall.settings import Settings
from tests.fake_issuer import AUDIENCE, BROWSER_CLIENT, FIRST, ISSUER, SECOND, FakeIssuer

AT = datetime(2026, 3, 2, 8, tzinfo=UTC)
KEPT = timedelta(hours=1)
HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"
DISCOVERY = "/.well-known/openid-configuration"


def rules(issuer: str = ISSUER) -> Rules:
    return Rules(
        issuer=issuer, audience=AUDIENCE, client_id=BROWSER_CLIENT, groups_claim="groups", emails_verified=False,
        skew=timedelta(seconds=60),
    )  # fmt: skip


@pytest.fixture
def fake() -> FakeIssuer:
    return FakeIssuer(AT)


@pytest.fixture
def issuer(fake: FakeIssuer) -> Issuer:
    return Issuer(rules(), keys_kept=KEPT, transport=fake.transport)


class TestFromSettings:
    def test_none_is_none(self) -> None:
        assert Issuer.from_settings(Settings()) is None

    def test_what_it_expects(self) -> None:
        settings = Settings(
            oidc_issuer=ISSUER, oidc_audience=AUDIENCE, oidc_client_id="us", oidc_groups_claim="g",
            oidc_emails_verified=True, oidc_clock_skew_seconds=5,
        )  # fmt: skip
        found = Issuer.from_settings(settings)
        assert found is not None
        assert found.rules == Rules(
            issuer=ISSUER, audience=AUDIENCE, client_id="us", groups_claim="g", emails_verified=True,
            skew=timedelta(seconds=5),
        )  # fmt: skip


class TestKeys:
    async def test_they_are_asked_for_once(self, fake: FakeIssuer, issuer: Issuer) -> None:
        for name in ("ada", "grace"):
            assert (await issuer.access(fake.token(name), at=AT)).subject == f"sub-{name}"
        assert fake.calls == [DISCOVERY, "/keys"]

    async def test_and_again_when_they_are_old(self, fake: FakeIssuer, issuer: Issuer) -> None:
        await issuer.access(fake.token(), at=AT)
        fake.keys = [SECOND]
        fake.later(seconds=REFRESH_EVERY.total_seconds())
        with pytest.raises(NotOfIssuer, match="not signed by a key"):
            await issuer.access(fake.token(), at=fake.at)

    async def test_an_unknown_name_asks_at_most_every_ten_seconds(self, fake: FakeIssuer, issuer: Issuer) -> None:
        await issuer.access(fake.token(), at=AT)
        fake.keys = [SECOND, FIRST]
        for number in range(20):
            with pytest.raises(NotOfIssuer, match="not signed by a key"):
                await issuer.access(fake.token(header={"kid": f"made up {number}"}), at=AT)
        assert len(fake.calls) == 2
        fake.later(seconds=RETRY_EVERY.total_seconds())
        assert (await issuer.access(fake.token(key=SECOND), at=fake.at)).subject == "sub-ada"
        for number in range(20):
            with pytest.raises(NotOfIssuer, match="not signed by a key"):
                await issuer.access(fake.token(header={"kid": f"made up {number}"}), at=fake.at)
        assert len(fake.calls) == 4

    async def test_a_clock_that_was_set_back_asks_again(self, fake: FakeIssuer, issuer: Issuer) -> None:
        await issuer.access(fake.token(), at=AT)
        fake.keys = [SECOND]
        fake.later(seconds=-5)
        assert (await issuer.access(fake.token(key=SECOND), at=fake.at)).subject == "sub-ada"

    async def test_a_token_that_names_no_key(self, fake: FakeIssuer, issuer: Issuer) -> None:
        assert (await issuer.access(fake.token(header={"kid": None}), at=AT)).subject == "sub-ada"
        fake.keys = [FIRST, SECOND]
        fake.later(seconds=REFRESH_EVERY.total_seconds())
        assert (await issuer.access(fake.token(key=SECOND, header={"kid": None}), at=fake.at)).subject == "sub-ada"
        stranger = RSAKey.import_key(SECOND.as_pem(private=True), {"kid": "first"})
        with pytest.raises(NotOfIssuer, match="not signed by a key"):
            await issuer.access(fake.token(key=stranger), at=fake.at)


class TestVouches:
    async def test_for_nobody_before_the_keys_are_known(self, fake: FakeIssuer, issuer: Issuer) -> None:
        assert not issuer.vouches(fake.token(), address=HERE, at=AT)
        assert fake.calls == []

    @pytest.mark.parametrize(
        ("token", "vouched"),
        [
            (lambda fake: fake.token("grace"), True),
            (lambda fake: fake.token(header={"kid": None}), True),
            (lambda fake: fake.token(key=SECOND), False),
            (lambda fake: fake.token(key=RSAKey.import_key(SECOND.as_pem(private=True), {"kid": "first"})), False),
            (lambda fake: fake.token(aud="somebody else"), False),
            (lambda fake: fake.token(exp=0), False),
            (lambda _: "a.b.c", False),
            (lambda _: "nonsense", False),
        ],
        ids=["good", "unnamed key", "unknown key", "another's signature", "for others", "over", "no token", "nonsense"],
    )
    async def test_for_tokens_of_the_known_keys_and_asks_nobody(
        self, fake: FakeIssuer, issuer: Issuer, token: Callable[[FakeIssuer], str], *, vouched: bool
    ) -> None:
        await issuer.access(fake.token(), at=AT)
        asked = list(fake.calls)
        assert issuer.vouches(token(fake), address=HERE, at=AT) is vouched
        assert fake.calls == asked

    async def test_for_as_long_as_the_keys_count(self, fake: FakeIssuer, issuer: Issuer) -> None:
        await issuer.access(fake.token(), at=AT)
        fake.later(seconds=KEPT.total_seconds() - 1)
        assert issuer.vouches(fake.token(), address=HERE, at=fake.at)
        fake.later(seconds=1)
        assert not issuer.vouches(fake.token(), address=HERE, at=fake.at)

    async def test_for_so_many_in_a_second(
        self, fake: FakeIssuer, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "VOUCHED_PER_SECOND_MAX", 4)
        await issuer.access(fake.token(), at=AT)
        moments = [0, 0.5, 0.9, 1, 1.5, 1.9, -1, -1, -1]
        vouched = [issuer.vouches(fake.token(), address=HERE, at=AT + timedelta(seconds=moment)) for moment in moments]
        assert vouched == [True, True, False] * 3

    async def test_for_one_address_half_of_them(
        self, fake: FakeIssuer, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "VOUCHED_PER_SECOND_MAX", 4)
        await issuer.access(fake.token(), at=AT)
        forged = fake.token(key=RSAKey.import_key(SECOND.as_pem(private=True), {"kid": "first"}))
        assert [issuer.vouches(forged, address="2001:db8::1", at=AT) for _ in range(9)] == [False] * 9
        assert not issuer.vouches(fake.token(), address="2001:db8::2", at=AT), "the same /64"
        callers = [HERE, ELSEWHERE, None]
        assert [issuer.vouches(fake.token(), address=caller, at=AT) for caller in callers] == [True, True, False]


class TestAway:
    async def test_known_keys_go_on_for_a_time(self, fake: FakeIssuer, issuer: Issuer) -> None:
        await issuer.access(fake.token(), at=AT)
        fake.away = True
        fake.later(seconds=KEPT.total_seconds() - 1)
        assert (await issuer.access(fake.token(), at=fake.at)).subject == "sub-ada"
        fake.later(seconds=1)
        with pytest.raises(IssuerUnavailable, match=r"Who you are cannot be checked now.*ConnectError.*still count"):
            await issuer.access(fake.token(), at=fake.at)
        fake.away = False
        fake.later(seconds=RETRY_EVERY.total_seconds())
        assert (await issuer.access(fake.token(), at=fake.at)).subject == "sub-ada"

    async def test_an_unknown_key_is_neither_believed_nor_refused(self, fake: FakeIssuer, issuer: Issuer) -> None:
        await issuer.access(fake.token(), at=AT)
        fake.away = True
        fake.later(seconds=RETRY_EVERY.total_seconds())
        with pytest.raises(IssuerUnavailable):
            await issuer.access(fake.token(key=SECOND), at=fake.at)

    async def test_nothing_known_at_all(self, fake: FakeIssuer, issuer: Issuer) -> None:
        fake.away = True
        with pytest.raises(IssuerUnavailable):
            await issuer.access(fake.token(), at=AT)
        with pytest.raises(IssuerUnavailable):
            await issuer.metadata(at=AT)
        assert fake.calls == [DISCOVERY]

    async def test_keys_that_grew_too_old_without_trouble(self, fake: FakeIssuer) -> None:
        issuer = Issuer(rules(), keys_kept=timedelta(0), transport=fake.transport)
        with pytest.raises(IssuerUnavailable, match="Its keys are too old"):
            await issuer.access(fake.token(), at=AT)

    @pytest.mark.parametrize(
        ("path", "answer", "why"),
        [
            (DISCOVERY, httpx.Response(500), "answers with 500"),
            (DISCOVERY, httpx.Response(302, headers={"location": "https://evil.test"}), "answers with 302"),
            (DISCOVERY, httpx.Response(200, text="<html>"), "not JSON"),
            (DISCOVERY, [], "not of this issuer"),
            (DISCOVERY, {"issuer": "https://evil.test"}, "not of this issuer"),
            (DISCOVERY, {"issuer": ISSUER, "jwks_uri": "http://issuer.test/keys"}, "an address for jwks_uri"),
            (DISCOVERY, {"issuer": ISSUER, "jwks_uri": 5}, "an address for jwks_uri"),
            (DISCOVERY, {"issuer": ISSUER}, "names no address to ask at"),
            ("/keys", {"keys": []}, "publishes no key"),
            ("/keys", httpx.Response(200, content=b" " * (ANSWER_BYTES_MAX + 1)), "more than 1048576 bytes"),
        ],
    )
    async def test_what_it_says_cannot_be_used(
        self, fake: FakeIssuer, issuer: Issuer, path: str, answer: Any, why: str
    ) -> None:
        fake.answers[path] = answer
        with pytest.raises(IssuerUnavailable, match=why):
            await issuer.access(fake.token(), at=AT)


class TestMetadata:
    async def test_it_is_kept_while_it_is_new(self, fake: FakeIssuer, issuer: Issuer) -> None:
        found = await issuer.metadata(at=AT)
        assert (found.token_endpoint, found.names_itself) == (f"{ISSUER}/token", True)
        assert await issuer.metadata(at=AT) is found
        fake.later(seconds=REFRESH_EVERY.total_seconds())
        assert await issuer.metadata(at=fake.at) == found
        assert fake.calls == [DISCOVERY, "/keys", DISCOVERY, "/keys"]

    async def test_an_issuer_on_this_machine_may_be_unguarded(self, fake: FakeIssuer) -> None:
        own = "http://127.0.0.1:3000"
        fake.answers[DISCOVERY] = {"issuer": own, "jwks_uri": f"{own}/keys"}
        issuer = Issuer(rules(own), keys_kept=KEPT, transport=fake.transport)
        assert (await issuer.metadata(at=AT)).jwks_uri == f"{own}/keys"
