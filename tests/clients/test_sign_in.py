"""People sign in at a real OpenID issuer: with browsers, by the device flow, while keys change, while it is away."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from guildhall.app import create_app
from guildhall.auth.issuer import RETRY_EVERY
from guildhall.auth.tables import RoleBinding, User
from guildhall.clock import SystemClock, new_id
from guildhall.db.transaction import Database
from guildhall.organisation.groups import set_group_mapping
from guildhall.settings import Settings
from tests.openid import RunningIssuer, device_tokens, go_through, refreshed_tokens, running_issuer
from tests.people import actor_of, make_team, make_user

SITE = "https://guildhall.test"
VIEWER = "{ viewer { actor { ... on User { email } } memberships { team { name } roles } } }"


@pytest.fixture(scope="module")
async def issuer() -> AsyncIterator[RunningIssuer]:
    async with running_issuer(redirect_uri=f"{SITE}/auth/callback", audience=SITE) as running:
        yield running


@pytest.fixture(scope="module")
async def people(database: Database) -> UUID:
    """Root governs; who is in the issuer's group `printers` maintains in the team `press`."""
    at = SystemClock().now()
    async with database.transaction() as session:
        root = await make_user(session, "root", roles={"administrator": [None]})
        await make_team(session, "press")
        actor = await actor_of(session, root)
        await set_group_mapping(session, actor, group="printers", team="press", role="maintainer", at=at, new_id=new_id)
    return root


class LaterClock(SystemClock):
    """The machine's time and a little more, within what the issuer's clock may differ."""

    ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.ahead


def app_for(
    database: Database, folder: Path, issuer: RunningIssuer, *, clock: SystemClock | None = None, **changed: Any
) -> Any:
    settings = Settings(
        data_dir=folder, database_url=database.url, public_url=SITE, oidc_issuer=issuer.url,
        oidc_client_id="guildhall-browser", oidc_client_secret="a secret of the tests",
        oidc_cli_client_id="guildhall-cli", oidc_scopes=("openid", "profile", "email", "groups", "offline_access"),
        **changed,
    )  # fmt: skip
    return create_app(settings, database, clock or SystemClock())


@pytest.fixture(scope="module")
def app(database: Database, issuer: RunningIssuer, people: UUID, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return app_for(database, tmp_path_factory.mktemp("data"), issuer)


def opened(app: Any) -> httpx.AsyncClient:
    """A browser that reaches Guildhall without a network, and the issuer with one."""
    mounts = {SITE: httpx.ASGITransport(app=app)}
    return httpx.AsyncClient(mounts=mounts, headers={"user-agent": "A browser"})


@pytest.fixture
async def browser(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with opened(app) as client:
        yield client


async def ask(client: httpx.AsyncClient, document: str = VIEWER, **headers: str) -> Any:
    answer = await client.post(f"{SITE}/graphql", json={"query": document}, headers=headers)
    return answer.status_code, answer.json()


def viewer_of(name: str, *roles: str) -> tuple[int, Any]:
    memberships = [{"team": {"name": "press"}, "roles": list(roles)}] if roles else []
    viewer = {"actor": {"email": f"{name}@example.org"}, "memberships": memberships}
    return 200, {"data": {"viewer": viewer}}


class TestBrowser:
    async def test_somebody_signs_in_and_out(self, browser: httpx.AsyncClient, issuer: RunningIssuer) -> None:
        await issuer.order(groups={"ada": ["printers", "others"]})
        landed = await go_through(browser, f"{SITE}/auth/login?next=/healthz", login="ada")
        assert (str(landed.url), landed.json()) == (f"{SITE}/healthz", {"status": "alive"})
        assert [cookie.name for cookie in browser.cookies.jar if "guildhall" in cookie.name] == ["__Host-guildhall"]
        assert await ask(browser, origin=SITE) == viewer_of("ada", "maintainer")
        status, refused = await ask(browser, origin="https://elsewhere.test")
        assert (status, refused["errors"][0]["extensions"]["code"]) == (401, "CROSS_SITE")
        gone = await browser.post(f"{SITE}/auth/logout", headers={"origin": SITE})
        assert gone.json()["next"].startswith(f"{issuer.url}/session/end?client_id=guildhall-browser")
        status, refused = await ask(browser, origin=SITE)
        assert (status, refused["errors"][0]["extensions"]["code"]) == (401, "UNAUTHENTICATED")


class TestDeviceFlow:
    async def test_its_access_token_counts_and_groups_follow_the_newest(
        self, browser: httpx.AsyncClient, issuer: RunningIssuer
    ) -> None:
        await issuer.order(groups={"grace": ["printers"]})
        async with httpx.AsyncClient() as elsewhere:
            first = await device_tokens(elsewhere, issuer, login="grace")
            assert await ask(browser, authorization=f"Bearer {first['access_token']}") == viewer_of(
                "grace", "maintainer"
            )
            await issuer.order(groups={"grace": []})
            second = await refreshed_tokens(elsewhere, issuer, first["refresh_token"])
        assert await ask(browser, authorization=f"Bearer {second['access_token']}") == viewer_of("grace")
        assert await ask(browser, authorization=f"Bearer {first['access_token']}") == viewer_of("grace")


class TestKeys:
    async def test_a_new_key_is_learned_from_the_token_that_it_signed(
        self, database: Database, issuer: RunningIssuer, people: UUID, tmp_path: Path
    ) -> None:
        clock = LaterClock()
        app = app_for(database, tmp_path, issuer, clock=clock)
        async with httpx.AsyncClient() as elsewhere, opened(app) as browser:
            old = await device_tokens(elsewhere, issuer, login="hedy")
            unseen = await device_tokens(elsewhere, issuer, login="ida")
            assert await ask(browser, authorization=f"Bearer {old['access_token']}") == viewer_of("hedy")
            await issuer.order(rotate=True)
            new = await device_tokens(elsewhere, issuer, login="joy")
            status, refused = await ask(browser, authorization=f"Bearer {new['access_token']}")
            assert (status, refused["errors"][0]["extensions"]["code"]) == (401, "TOKEN_REFUSED")  # asked a moment ago
            clock.ahead = RETRY_EVERY
            assert await ask(browser, authorization=f"Bearer {new['access_token']}") == viewer_of("joy")
            assert await ask(browser, authorization=f"Bearer {unseen['access_token']}") == viewer_of("ida")
            await issuer.order(drop=True)
            clock.ahead += RETRY_EVERY
            late = await device_tokens(elsewhere, issuer, login="kit")
            assert await ask(browser, authorization=f"Bearer {late['access_token']}") == viewer_of("kit")

    async def test_while_the_issuer_is_away_known_tokens_and_ours_go_on(
        self, database: Database, people: UUID, tmp_path: Path
    ) -> None:
        async with running_issuer(redirect_uri=f"{SITE}/auth/callback", audience=SITE) as issuer:
            app = app_for(database, tmp_path, issuer)
            async with httpx.AsyncClient() as elsewhere, opened(app) as browser:
                known = await device_tokens(elsewhere, issuer, login="joan")
                unseen = await device_tokens(elsewhere, issuer, login="kay")
                assert await ask(browser, authorization=f"Bearer {known['access_token']}") == viewer_of("joan")
                await issuer.stop()
                assert await ask(browser, authorization=f"Bearer {known['access_token']}") == viewer_of("joan")
                assert await ask(browser, authorization=f"Bearer {unseen['access_token']}") == viewer_of("kay")
            async with opened(app_for(database, tmp_path, issuer)) as fresh:  # a process that knows no keys
                assert await ask(fresh, authorization=f"Bearer {known['access_token']}") == viewer_of("joan")
                stranger = unseen["access_token"][:-8] + "AAAAAAAA"
                status, refused = await ask(fresh, authorization=f"Bearer {stranger}")
                assert (status, refused["errors"][0]["extensions"]["code"]) == (503, "ISSUER_UNAVAILABLE")
                assert "tokens of Guildhall itself still count" in refused["errors"][0]["message"]
        async with database.read() as session:
            made = select(User.email).where(User.email.in_(["joan@example.org", "kay@example.org"]))
            assert len((await session.scalars(made)).all()) == 2
            by_group = (
                select(RoleBinding.id)
                .join(User, User.id == RoleBinding.user_id)
                .where(User.email == "joan@example.org")
            )
            assert (await session.scalars(by_group)).all() == []
