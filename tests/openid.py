"""A real OpenID issuer on loopback (npm's oidc-provider), and a browser that signs in at it."""

import asyncio
import json
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

FOLDER = Path(__file__).parent / "clients"
READY_SECONDS_MAX = 60
STEPS_MAX = 20

_FORM = re.compile(r'<form[^>]*action="([^"]+)"[^>]*>(.*?)</form>', re.DOTALL)
_INPUT = re.compile(r"<(?:input|button)([^>]*)>")
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')


@dataclass
class RunningIssuer:
    """The program and its address; `order` changes it while it runs, see clients/issuer.mjs."""

    url: str
    process: asyncio.subprocess.Process

    async def order(self, **what: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(what).encode() + b"\n")
        await self.process.stdin.drain()
        return json.loads(await self.process.stdout.readline())

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def running_issuer(*, redirect_uri: str, audience: str, port: int | None = None) -> AsyncIterator[RunningIssuer]:
    """Skips where node or its programs are missing, except on CI."""
    if shutil.which("node") is None or not (FOLDER / "node_modules" / "oidc-provider").exists():
        missing = "node and npm are needed for these: `make client-programs` installs what they run"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    port = port or free_port()
    process = await asyncio.create_subprocess_exec(
        "node", "issuer.mjs", str(port), redirect_uri, audience,
        cwd=FOLDER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    issuer = RunningIssuer(f"http://127.0.0.1:{port}", process)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY_SECONDS_MAX):
            assert json.loads(await process.stdout.readline()) == {"ready": issuer.url}
        yield issuer
    finally:
        await issuer.stop()


async def go_through(browser: httpx.AsyncClient, address: str, *, login: str) -> httpx.Response:
    """Follow redirects and send each form as a person does, until there is no form any more."""
    answer = await browser.get(address, follow_redirects=False)
    for _ in range(STEPS_MAX):
        if answer.is_redirect:
            answer = await browser.get(urljoin(str(answer.url), answer.headers["location"]), follow_redirects=False)
            continue
        form = _FORM.search(answer.text)
        if form is None:
            return answer
        fields = {}
        for attributes in _INPUT.findall(form[2]):
            about = dict(_ATTRIBUTE.findall(attributes))
            if "name" in about:
                fields[about["name"]] = about.get("value", "")
        fields |= {name: value for name, value in {"login": login, "password": "any"}.items() if name in fields}
        answer = await browser.post(urljoin(str(answer.url), form[1]), data=fields, follow_redirects=False)
    raise AssertionError("the sign-in does not come to an end")


async def device_tokens(browser: httpx.AsyncClient, issuer: RunningIssuer, *, login: str) -> Any:
    """The tokens that a command line gets by the device flow once somebody has agreed with their browser."""
    browser.cookies.clear()  # somebody else may have signed in with it before
    scope = "openid profile email groups offline_access"
    begun = (
        await browser.post(f"{issuer.url}/device/auth", data={"client_id": "guildhall-cli", "scope": scope})
    ).json()
    await go_through(browser, begun["verification_uri_complete"], login=login)
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "client_id": "guildhall-cli",
        "device_code": begun["device_code"],
    }
    return (await browser.post(f"{issuer.url}/token", data=form)).json()


async def refreshed_tokens(browser: httpx.AsyncClient, issuer: RunningIssuer, refresh_token: str) -> Any:
    form = {"grant_type": "refresh_token", "client_id": "guildhall-cli", "refresh_token": refresh_token}
    return (await browser.post(f"{issuer.url}/token", data=form)).json()
