"""Programs that look for holes, against a real server: Schemathesis for answers, clairvoyance for what is hidden."""

import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from guildhall.db.transaction import Database
from tests.clients.conftest import Live, live_server, output_of

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = ROOT / ".fuzzers" / "bin"
SCHEMA = ROOT / "guildhall" / "schema.graphql"
FIELDS = re.compile(r"^  ([a-zA-Z]+)", re.MULTILINE)
OPERATIONS = 55
LONG_CASES_MIN = 10_000


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    if not PROGRAMS.exists():
        missing = "`make fuzzers` installs what these need"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)


@pytest.fixture(scope="module")
async def open_server(database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Live]:
    """As on a laptop, but without introspection."""
    folder = tmp_path_factory.mktemp("open")
    async with live_server(database, folder, team="open", graphql_introspection=False) as live:
        yield live


@pytest.fixture(scope="module")
async def closed_server(database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Live]:
    """As in production."""
    folder = tmp_path_factory.mktemp("closed")
    hidden = {"graphql_introspection": False, "graphql_suggestions": False, "graphql_graphiql": False}
    async with live_server(database, folder, team="closed", **hidden) as live:
        yield live


class TestSchemathesis:
    async def honest(self, live: Live, folder: Path, examples: int) -> int:
        """How many cases it has made, all answered as `hooks.py` says an honest server does."""
        report = folder / "report.json"
        arguments = [
            *("run", str(SCHEMA), "--url", live.url, "-H", f"Authorization: Bearer {live.token}", "--no-color"),
            *("--phases", "fuzzing", "--checks", "honest_answer", "-n", str(examples), "--generation-deterministic"),
            *("--no-shrink", "--continue-on-failure", "--report", "json", "--report-json-path", str(report)),
        ]
        hooks = Path(__file__).parent / "hooks.py"
        environment = {"GUILDHALL_SCHEMA": str(SCHEMA), "SCHEMATHESIS_HOOKS": str(hooks)}
        out = await output_of(str(PROGRAMS / "schemathesis"), *arguments, cwd=folder, **environment)
        found = re.search(r"(\d[\d,]*) generated", out)
        assert found is not None, out
        return int(found[1].replace(",", ""))

    async def test_every_answer_is_honest(self, open_server: Live, tmp_path: Path) -> None:
        assert await self.honest(open_server, tmp_path, 2) >= 2 * OPERATIONS

    @pytest.mark.long
    async def test_ten_thousand_answers_are_honest(self, open_server: Live, tmp_path: Path) -> None:
        assert await self.honest(open_server, tmp_path, LONG_CASES_MIN // OPERATIONS + 20) >= LONG_CASES_MIN


class TestClairvoyance:
    async def names_found(self, live: Live, folder: Path, token: str | None) -> set[str]:
        """The types and fields that it brings to light, though it is told every name that there is."""
        words, found = folder / "words.txt", folder / "found.json"
        words.write_text("\n".join(sorted(set(FIELDS.findall(SCHEMA.read_text(encoding="utf-8"))))))
        arguments = ["-w", str(words), "-o", str(found), live.url]
        if token is not None:
            arguments = ["-H", f"Authorization: Bearer {token}", *arguments]
        shell = f'{PROGRAMS / "clairvoyance"} "$@" || true'  # it fails where it is told nothing
        await output_of("/bin/sh", "-c", shell, "sh", *arguments)
        if not found.exists():
            return set()
        types = json.loads(found.read_text())["data"]["__schema"]["types"]
        return {field["name"] for each in types if not each["name"].startswith("__") for field in each["fields"] or ()}

    @pytest.mark.parametrize("signed_in", [False, True], ids=["without a token", "with a token"])
    async def test_it_finds_nothing_in_production(self, closed_server: Live, tmp_path: Path, signed_in: bool) -> None:
        token = closed_server.token if signed_in else None
        assert await self.names_found(closed_server, tmp_path, token) == set()

    async def test_it_finds_nothing_without_a_token_anywhere(self, open_server: Live, tmp_path: Path) -> None:
        assert await self.names_found(open_server, tmp_path, None) == set()

    async def test_what_it_is_looking_for_is_there(self, closed_server: Live) -> None:
        headers = {"authorization": f"Bearer {closed_server.token}"}
        async with httpx.AsyncClient(headers=headers) as client:
            answer = await client.post(closed_server.url, json={"query": "{ viewer { permissions } }"})
        assert "registry:model:discover" in answer.json()["data"]["viewer"]["permissions"]

    @pytest.mark.long
    async def test_with_suggestions_it_finds_the_schema(self, open_server: Live, tmp_path: Path) -> None:
        assert {"viewer", "permissions"} <= await self.names_found(open_server, tmp_path, open_server.token)
