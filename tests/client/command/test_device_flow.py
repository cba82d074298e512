"""The device flow with a real issuer (npm's oidc-provider) and a real server that trusts it."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from demo.server import bootstrap_token, running_server
from tests.client.command.conftest import PROGRAM, SECONDS_MAX, Command
from tests.openid import go_through, refreshed_tokens, running_issuer

AUDIENCE = "https://guildhall.example"


async def test_from_the_code_to_a_renewed_token(
    stranger: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_issuer(redirect_uri="http://127.0.0.1:1/auth/callback", audience=AUDIENCE) as issuer:
        monkeypatch.setenv("GUILDHALL_OIDC_ISSUER", issuer.url)
        monkeypatch.setenv("GUILDHALL_OIDC_AUDIENCE", AUDIENCE)
        monkeypatch.setenv("GUILDHALL_OIDC_CLI_CLIENT_ID", "guildhall-cli")
        data_dir = tmp_path / "data"
        data_dir.mkdir()
        await asyncio.to_thread(bootstrap_token, data_dir)
        with running_server(data_dir, tmp_path / "server.log") as url:
            login = await asyncio.create_subprocess_exec(
                PROGRAM, "login", url,
                cwd=stranger.folder, env=stranger.environment, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            assert login.stderr is not None
            async with asyncio.timeout(SECONDS_MAX):
                asked = (await login.stderr.readline()).decode()
                assert asked.startswith(f"Open {issuer.url}/device?user_code="), asked
                async with httpx.AsyncClient() as browser:
                    await go_through(browser, asked.split()[1], login="ada")
                out, err = await login.communicate()
            assert login.returncode == 0, err
            assert out.decode().startswith(f"Signed in at {url} as ada;")
            kept = Path(stranger.environment["XDG_CONFIG_HOME"]) / "guildhall" / "tokens.json"
            tokens = json.loads(kept.read_text())
            first = tokens["default"]["token"]
            kept.write_text(json.dumps({"default": {**tokens["default"], "expires_at": 0}}))
            told = await asyncio.to_thread(stranger.ok, "whoami", "--json")
            assert told.json["actor"]["email"] == "ada@example.org"
            renewed = json.loads(kept.read_text())["default"]
            assert renewed["token"] != first
            assert renewed["refresh_token"] != tokens["default"]["refresh_token"]
            assert kept.stat().st_mode & 0o777 == 0o600
            ended = await asyncio.to_thread(stranger.ok, "logout")
            assert ended.out == f"Signed out of {url}; the token has ended.\n"
            async with httpx.AsyncClient() as browser:
                assert (await refreshed_tokens(browser, issuer, renewed["refresh_token"]))["error"] == "invalid_grant"
            shown = {"GUILDHALL_URL": url, "GUILDHALL_TOKEN": renewed["token"]}
            assert (await asyncio.to_thread(stranger, "whoami", **shown)).code == 4
