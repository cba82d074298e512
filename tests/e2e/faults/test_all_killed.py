"""Everything in one process is killed while a job runs, its database with it, and brought up again."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from guildhall.db.embedded_system import find_server_user, socket_folder
from guildhall.graphql.ids import decode_id
from tests.e2e.faults.house import House
from tests.e2e.faults.ledger_book import Book
from tests.e2e.faults.processes import Site, bootstrap, end, kill, make_site, start, wait_until_ready


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    made = make_site(tmp_path_factory.mktemp("laptop") / "data")
    made.folder.mkdir(mode=0o700)
    return made


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


def embedded_book(site: Site) -> Book:
    """Reads the database that the installation embeds."""
    passwords = json.loads((site.folder / "postgres-passwords.json").read_text(encoding="ascii"))
    sockets = socket_folder(site.folder, find_server_user())
    return Book(f"postgresql://guildhall_service:{passwords['service']}@/guildhall?host={sockets}")


class TestAllKilled:
    def test_the_job_is_adopted_and_pays_once(self, site: Site, stack: ExitStack) -> None:
        token = bootstrap(site)
        process = start(site, "-m", "guildhall", "all")
        stack.callback(lambda: end(process))
        wait_until_ready(site, process)
        http = stack.enter_context(httpx.Client(timeout=60))
        house = House(site, embedded_book(site), token, stack, http)
        house.furnish()
        ends_while_away = house.submit("wait", "1")
        ends_afterwards = house.submit("wait", "6")
        waits_in_line = house.submit("succeed")
        for job_id in (ends_while_away, ends_afterwards):
            house.wait_for(job_id, "RUNNING")
        kill(process)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{site.url}/readyz")

        again = start(site, "-m", "guildhall", "all")
        stack.callback(lambda: end(again))
        wait_until_ready(site, again)
        for job_id in (ends_while_away, ends_afterwards, waits_in_line):
            house.wait_for(job_id, "SUCCEEDED")
            house.assert_charged_once(job_id)
            house.assert_nothing_left(job_id)
            key = decode_id(job_id, "Job")
            assert house.book.value(f"SELECT count(*) AS value FROM attempts WHERE job_id = '{key}'") == 1
            made = f"SELECT status FROM model_versions WHERE produced_by_job_id = '{key}'"
            assert house.book.rows(made) == [{"status": "READY"}]
        house.assert_books_balance()
