"""The page is carried out as it stands: its commands by a shell, its Python block by block in one session."""

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.faults.processes import REPOSITORY, Site, make_site, running

PAGE = (REPOSITORY / "docs" / "first-hour.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SHELL = [block for kind, block in BLOCKS if kind == "sh"]
ADDRESS = "http://127.0.0.1:8321"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The installation that the page's commands make; what they do besides is the Makefile's.

    Not below pytest's own folder: every start of pytest closes that to PostgreSQL's user.
    """
    install, bootstrap, serve = SHELL[0].strip().splitlines()
    assert (install, serve) == ("make install", "make serve")
    bootstrap = bootstrap.replace(".venv/bin/python", str(REPOSITORY / ".venv" / "bin" / "python"))
    with tempfile.TemporaryDirectory(prefix="gh-first-hour-") as folder:
        made = make_site(Path(folder) / "data")
        environment = {**made.environment, "PYTHONPATH": str(REPOSITORY)}
        subprocess.run(["sh", "-ec", bootstrap], cwd=folder, env=environment, check=True, timeout=120)
        with running(made, "all"):
            yield made


@pytest.fixture(scope="module")
def said(site: Site) -> list[str]:
    """What each block of Python printed."""
    session: dict[str, Any] = {}
    printed = []
    with contextlib.chdir(site.folder.parent), contextlib.ExitStack() as left:
        left.callback(lambda: session.pop("guildhall").close())  # also where a block fails
        for code in (block for kind, block in BLOCKS if kind == "python"):
            out = StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(code.replace(ADDRESS, site.url), "first-hour.md", "exec"), session)  # noqa: S102 -- ours
            printed.append(out.getvalue())
    return printed


class TestFirstHour:
    def test_every_block_does_what_the_page_says(self, said: list[str]) -> None:
        viewer, team, model, refused, published, found = said
        assert viewer == "{'viewer': {'__typename': 'Viewer'}}\n"
        assert "maintenance CREATED" in team
        assert model == "version 1\n"
        assert "CARD" in refused
        assert published == "PUBLISHED\n"
        assert "'name': 'gauge-reader'" in found
        assert "registry:model:publish ALLOWED" in found

    @pytest.mark.usefixtures("said")
    def test_the_command_shows_it(self, site: Site) -> None:
        folder = site.folder.parent
        program = str(REPOSITORY / ".venv" / "bin" / "guildhall")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GUILDHALL_", "XDG_"))}
        shown = subprocess.run(
            ["sh", "-ec", SHELL[1].replace(".venv/bin/guildhall", program).replace(ADDRESS, site.url)],
            cwd=folder,
            env={**kept, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config")},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        assert shown.startswith(f"Signed in at {site.url} as You;")
        assert shown.count("maintenance/gauge-reader") > 1

    def test_nothing_of_it_is_left_out(self) -> None:
        assert len(SHELL) == 2
        assert {kind for kind, _ in BLOCKS} == {"sh", "python"}
