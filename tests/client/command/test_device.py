"""The device flow against an issuer of our own making, which answers as it is told to."""

import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest

from guildhall_client.command import device
from guildhall_client.command.device import AuthSettings
from guildhall_client.command.exits import WHEN_UNREACHABLE
from tests.client.command.conftest import Command

PENDING = (400, {"error": "authorization_pending"})
DENIED = (400, {"error": "access_denied"})
REVOKED: dict[str, Any] = {"data": {"revokeToken": {"token": None, "errors": []}}}
WHO = {"data": {"viewer": {"actor": {"__typename": "User", "name": "Dora Device"}, "memberships": []}}}


class Issuer(ThreadingHTTPServer):
    """An issuer, and the server that names it; `answers` are those of the token endpoint, the last one for ever."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.issuer: str | None = self.url
        self.device_endpoint: str | None = f"{self.url}/device"
        self.token_endpoint = f"{self.url}/token"
        self.revocation_endpoint: str | None = f"{self.url}/revoke"
        self.revocations: list[tuple[int, Any]] = []
        self.device_answer: tuple[int, Any] = (
            200,
            {
                "device_code": "device-1", "user_code": "ABCD-EFGH", "verification_uri": "https://issuer.example/device",
                "expires_in": 60, "interval": 0.01,
            },
        )  # fmt: skip
        self.answers: list[tuple[int, Any]] = []
        self.forms: list[dict[str, list[str]]] = []
        self.bearers: list[str] = []

    def token_answer(self) -> tuple[int, Any]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Handler(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        if self.path == "/auth/settings":
            self._answer(200, {"issuer": self.server.issuer, "clientId": "cli", "scopes": ["openid"], "audience": "gh"})
        elif self.path == "/.well-known/openid-configuration":
            found = {"token_endpoint": self.server.token_endpoint}
            if self.server.revocation_endpoint:
                found["revocation_endpoint"] = self.server.revocation_endpoint
            if self.server.device_endpoint:
                found["device_authorization_endpoint"] = self.server.device_endpoint
            self._answer(200, found)
        else:
            self._answer(404, "not here")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/graphql":
            self.server.bearers.append(self.headers["Authorization"])
            self._answer(200, REVOKED if b'"idempotencyKey"' in body else WHO)
            return
        self.server.forms.append(parse_qs(body.decode()))
        match self.path:
            case "/device":
                self._answer(*self.server.device_answer)
            case "/revoke":
                self._answer(*self.server.revocations.pop(0))
            case _:
                self._answer(*self.server.token_answer())

    def log_message(self, *_arguments: Any) -> None:
        """Tests are quiet."""

    def _answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def granted(access: str, lasts: int = 3600, **more: str) -> tuple[int, Any]:
    return 200, {"access_token": access, "expires_in": lasts, "token_type": "Bearer", **more}


class TestLogin:
    def test_a_code_for_the_browser(self, issuer: Issuer, stranger: Command) -> None:
        issuer.answers = [PENDING, granted("access-1", refresh_token="refresh-1")]
        ended = stranger.ok("login", issuer.url)
        assert ended.err == "Open https://issuer.example/device in a browser and confirm the code ABCD-EFGH.\n"
        assert ended.out.startswith(f"Signed in at {issuer.url} as Dora Device;")
        assert issuer.bearers == ["Bearer access-1"]
        assert issuer.forms[0] == {"client_id": ["cli"], "scope": ["openid"], "audience": ["gh"]}
        assert issuer.forms[1]["grant_type"] == ["urn:ietf:params:oauth:grant-type:device_code"]
        assert issuer.forms[1]["device_code"] == ["device-1"]

    def test_a_token_is_renewed_before_it_ends(self, issuer: Issuer, stranger: Command) -> None:
        issuer.answers = [granted("access-1", lasts=5, refresh_token="refresh-1")]
        stranger.ok("login", issuer.url)
        issuer.answers = [granted("access-2", refresh_token="refresh-2")]
        issuer.forms.clear()
        stranger.ok("whoami")
        stranger.ok("whoami")
        assert issuer.bearers == ["Bearer access-1", "Bearer access-2", "Bearer access-2"]
        assert issuer.forms == [{"client_id": ["cli"], "grant_type": ["refresh_token"], "refresh_token": ["refresh-1"]}]

    def test_a_session_that_has_ended(self, issuer: Issuer, stranger: Command) -> None:
        issuer.answers = [granted("access-1", lasts=5, refresh_token="refresh-1")]
        stranger.ok("login", issuer.url)
        issuer.answers = [(400, {"error": "invalid_grant", "error_description": "signed out everywhere"})]
        ended = stranger("whoami")
        assert (ended.code, ended.out) == (4, "")
        assert ended.err == (
            "guildhall: Your session has ended (signed out everywhere). Sign in with `guildhall login`.\n"
        )

    def test_a_token_that_cannot_be_renewed(self, issuer: Issuer, stranger: Command) -> None:
        issuer.answers = [granted("access-1", lasts=5)]
        stranger.ok("login", issuer.url)
        ended = stranger("whoami")
        assert (ended.code, ended.err.startswith("guildhall: Your token for ")) == (4, True)

    @pytest.mark.parametrize(
        ("answer", "code", "sentence"),
        [
            (DENIED, 4, "The sign-in was refused at the issuer."),
            ((400, {"error": "expired_token"}), 4, "The code has ended before it was used"),
            ((400, {"error": "invalid_client"}), 4, "The issuer gave no token: invalid_client."),
            ((200, "<html>"), 4, "The issuer gave no token: it answered 200."),
            ((500, "oh"), 5, f"cannot answer at the moment (status 500). {WHEN_UNREACHABLE}"),
            ((429, "slowly"), 5, "cannot answer at the moment (status 429)."),
        ],
    )
    def test_no_token(
        self, issuer: Issuer, stranger: Command, answer: tuple[int, Any], code: int, sentence: str
    ) -> None:
        issuer.answers = [answer]
        ended = stranger("login", issuer.url)
        assert (ended.code, ended.out) == (code, "")
        assert sentence in ended.err
        assert not (Path(stranger.environment["XDG_CONFIG_HOME"]) / "guildhall").exists()

    def test_an_issuer_that_is_away_for_a_moment(self, issuer: Issuer, stranger: Command) -> None:
        away = (503, {"error": "temporarily_unavailable"})
        issuer.answers = [away, away, away, PENDING, away, away, away, granted("access-1")]
        stranger.ok("login", issuer.url)
        assert issuer.bearers == ["Bearer access-1"]

    def test_a_session_outlives_an_issuer_that_is_away(self, issuer: Issuer, stranger: Command) -> None:
        issuer.answers = [granted("access-1", refresh_token="refresh-1")]
        stranger.ok("login", issuer.url)
        kept = Path(stranger.environment["XDG_CONFIG_HOME"]) / "guildhall" / "tokens.json"
        kept.write_text(json.dumps({"default": {**json.loads(kept.read_text())["default"], "expires_at": 1.0}}))
        issuer.answers = [(503, "away")]
        ended = stranger("whoami")
        assert (ended.code, ended.out) == (5, "")
        assert "cannot answer at the moment (status 503)." in ended.err
        issuer.answers = [granted("access-2", refresh_token="refresh-2")]
        stranger.ok("whoami")
        assert issuer.bearers == ["Bearer access-1", "Bearer access-2"]

    def test_a_code_that_nobody_used(self, issuer: Issuer, stranger: Command) -> None:
        issuer.answers = [PENDING]
        issuer.device_answer[1]["expires_in"] = 1
        begun = time.monotonic()
        assert stranger("login", issuer.url).code == 4
        assert time.monotonic() - begun >= 1

    def test_an_issuer_that_wants_to_be_asked_more_slowly(self, issuer: Issuer, stranger: Command) -> None:
        issuer.answers = [(400, {"error": "slow_down"}), granted("access-1")]
        begun = time.monotonic()
        stranger.ok("login", issuer.url)
        assert time.monotonic() - begun >= 5

    @pytest.mark.parametrize(
        ("interval", "waits"),
        [(0.5, [0.5, 0.5, 1.0, 2.0, 0.5, 1.0, 0.5]), ("nonsense", [5.0, 5.0, 10.0, 20.0, 5.0, 10.0, 5.0])],
    )
    def test_waits_grow_while_it_is_away_and_are_short_again_when_it_is_back(
        self, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, interval: object, waits: list[float]
    ) -> None:
        waited: list[float] = []
        monkeypatch.setattr(device, "time", SimpleNamespace(monotonic=lambda: sum(waited), sleep=waited.append))
        away = (503, {"error": "temporarily_unavailable"})
        issuer.device_answer[1]["interval"] = interval
        issuer.answers = [PENDING, away, away, PENDING, away, PENDING, (200, {"access_token": "access-1"})]
        tokens = device.sign_in(AuthSettings(issuer.url, "cli", ("openid",)), lambda _address, _code: None)
        assert (tokens.access, tokens.expires_at, waited) == ("access-1", None, waits)

    def test_no_device_flow(self, issuer: Issuer, stranger: Command) -> None:
        issuer.device_endpoint = None
        ended = stranger("login", issuer.url)
        assert (ended.code, "offers no device flow" in ended.err) == (1, True)

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            ((401, {"error": "unauthorized_client"}), "unauthorized_client"),
            ((200, {"device_code": "1"}), "it answered 200"),
        ],
    )
    def test_no_code(self, issuer: Issuer, stranger: Command, answer: tuple[int, Any], why: str) -> None:
        issuer.device_answer = answer
        ended = stranger("login", issuer.url)
        assert (ended.code, f"gave no code to sign in with: {why}." in ended.err) == (1, True)

    def test_an_issuer_that_is_none(self, issuer: Issuer, stranger: Command) -> None:
        issuer.issuer = f"{issuer.url}/elsewhere"
        ended = stranger("login", issuer.url)
        assert (ended.code, "does not answer as an OpenID provider does (status 404)" in ended.err) == (1, True)

    def test_nothing_secret_goes_over_plain_http(self, issuer: Issuer, stranger: Command) -> None:
        issuer.device_endpoint = "http://issuer.example/device"
        ended = stranger("login", issuer.url)
        assert (ended.code, "is not https" in ended.err) == (1, True)
        assert issuer.forms == []


class TestLogout:
    @pytest.fixture(autouse=True)
    def signed_in(self, issuer: Issuer, stranger: Command) -> None:
        issuer.answers = [granted("access-1", refresh_token="refresh-1")]
        stranger.ok("login", issuer.url)
        issuer.forms.clear()
        issuer.bearers.clear()

    @pytest.mark.parametrize("access", [(200, ""), (400, {"error": "unsupported_token_type"})])
    def test_ends_both_tokens_at_the_issuer(self, issuer: Issuer, stranger: Command, access: tuple[int, Any]) -> None:
        issuer.revocations = [(200, ""), access]
        ended = stranger.ok("logout")
        assert (ended.out, ended.err) == (f"Signed out of {issuer.url}; the token has ended.\n", "")
        assert issuer.bearers == ["Bearer access-1"]
        assert issuer.forms == [
            {"client_id": ["cli"], "token": ["refresh-1"], "token_type_hint": ["refresh_token"]},
            {"client_id": ["cli"], "token": ["access-1"], "token_type_hint": ["access_token"]},
        ]

    def test_an_issuer_that_ends_none(self, issuer: Issuer, stranger: Command) -> None:
        issuer.revocation_endpoint = None
        ended = stranger.ok("logout")
        assert (
            ended.err == f"{issuer.url} lets nobody end a session from here; sign out there in your browser as well.\n"
        )
        assert issuer.forms == []

    @pytest.mark.parametrize(
        ("status", "code", "why"),
        [
            (400, 1, "http://{} did not end the session: invalid_client"),
            (503, 5, "{} cannot answer at the moment (status 503)"),
        ],
    )
    def test_an_issuer_that_does_not_end_it(
        self, issuer: Issuer, stranger: Command, status: int, code: int, why: str
    ) -> None:
        issuer.revocations = [(status, {"error": "invalid_client"})]
        ended = stranger("logout")
        assert (ended.code, ended.out) == (code, "")
        place = issuer.url.removeprefix("http://")
        assert re.fullmatch(
            r"guildhall: The token is forgotten here, but stays good until it ends by itself, because it "
            rf"could not be ended: {re.escape(why.format(place))}\.\n",
            ended.err,
        )
        assert stranger("whoami").code == 4


class TestForm:
    @pytest.mark.parametrize(
        ("audience", "scopes", "more"),
        [
            (None, ("openid",), {}),
            ("guildhall", ("openid",), {"audience": "guildhall"}),
            ("https://guildhall.example", ("openid",), {"resource": "https://guildhall.example"}),
            ("api://1", ("openid", "api://1/.default"), {}),
        ],
    )
    def test_how_the_audience_is_asked_for(
        self, audience: str | None, scopes: tuple[str, ...], more: dict[str, str]
    ) -> None:
        assert AuthSettings("https://issuer", "cli", scopes, audience).form == {"client_id": "cli", **more}
