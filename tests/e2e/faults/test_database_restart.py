"""PostgreSQL restarts while twenty clients ask for quotes and accept them, and while a job runs."""

import asyncio
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE
from guildhall.db.migrating import migrate
from guildhall.graphql.ids import decode_id
from tests.e2e.faults.conftest import make_house
from tests.e2e.faults.house import House, Told, new_key
from tests.e2e.faults.processes import running, until

CLIENTS = 20
ACCEPTS_OF_EACH = 2
TRIES_MAX = 200
PASSING = frozenset({"DATABASE_UNAVAILABLE", "DATABASE_BUSY"})


@contextmanager
def served_apart(folder: Path) -> Iterator[EmbeddedServer]:
    """A server that keeps what it promised, watched over by an event loop of its own: the test's thread is busy."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = EmbeddedServer(folder, max_connections=100)
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result()
        try:
            asyncio.run_coroutine_threadsafe(migrate(server.url(OWNER_ROLE)), loop).result()
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedServer]:
    folder = Path(tempfile.mkdtemp(prefix="gh-"))
    with served_apart(folder) as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def house(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    database = {
        "GUILDHALL_DATABASE_URL": postgres.service_url,
        "GUILDHALL_MIGRATION_DATABASE_URL": postgres.owner_url,
    }
    with ExitStack() as stack:
        made = make_house(tmp_path_factory.mktemp("restart"), database, stack)
        stack.enter_context(running(made.site, "api"))
        stack.enter_context(running(made.site, "worker"))
        made.furnish()
        yield made


def restart(server: EmbeddedServer, sign: signal.Signals) -> None:
    """End the server; whoever watches it starts it again."""
    ended = server.pid
    assert ended is not None
    os.kill(ended, sign)
    until(lambda: server.pid not in {ended, None}, "the database is back")


@dataclass
class Customer:
    """One client: every act has a key, and is asked for again with it until an answer came."""

    house: House
    accepted: dict[str, str] = field(default_factory=dict)
    """Quote → job, as acknowledged."""

    passing: int = 0

    def shop(self) -> None:
        """Quote, accept, and ask once more after the acknowledgement."""
        for _ in range(ACCEPTS_OF_EACH):
            job = self.house.job("wait", "1", perNode={"accelerator": "sim", "acceleratorCount": 2})
            asked: dict[str, object] = {"team": "works", "programme": "trials", "job": job}
            quote_id = self._insist("RequestQuote", asked).payload()["quote"]["id"]
            accepted: dict[str, object] = {"quoteId": quote_id}
            key = new_key()
            job_id = self._insist("AcceptQuote", accepted, key).payload()["job"]["id"]
            self.accepted[quote_id] = job_id
            assert self._insist("AcceptQuote", accepted, key).payload()["job"]["id"] == job_id

    def _insist(self, operation: str, inputs: dict[str, object], key: str | None = None) -> Told:
        key = key or new_key()
        for _ in range(TRIES_MAX):
            told = self.house.try_change("ada", operation, **inputs, idempotencyKey=key)
            if not told.problems:
                return told
            assert set(told.codes) <= PASSING, told.problems
            self.passing += 1
            threading.Event().wait(0.05)
        raise AssertionError(f"{operation} was not answered in {TRIES_MAX} tries")


class TestDatabaseRestartedUnderLoad:
    def test_every_acknowledged_accept_is_there_once(self, house: House, postgres: EmbeddedServer) -> None:
        # It keeps a slot, so that nothing of the load can start and all of it can be counted.
        runs_through_it = house.submit("wait", "600")
        house.wait_for(runs_through_it, "RUNNING")
        customers = [Customer(house) for _ in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as threads:
            shopping = [threads.submit(customer.shop) for customer in customers]
            for sign in (signal.SIGINT, signal.SIGQUIT, signal.SIGINT):  # fast, immediate, fast
                threading.Event().wait(0.7)
                restart(postgres, sign)
            for each in shopping:
                each.result()
        assert sum(customer.passing for customer in customers) > 0, "no client noticed: the load was too light"

        accepted = {quote: job for customer in customers for quote, job in customer.accepted.items()}
        assert len(accepted) == CLIENTS * ACCEPTS_OF_EACH
        held = Decimal(0)
        for row in house.book.rows("SELECT quote_id, id, held FROM jobs WHERE state = 'QUEUED'"):
            quote_id = f"Quote_{row['quote_id'].replace('-', '')}"
            assert decode_id(accepted.pop(quote_id), "Job").hex == row["id"].replace("-", "")
            held += Decimal(row["held"]) / 1_000_000
        assert accepted == {}
        running_hold = Decimal(house.page(runs_through_it)["charge"]["held"])
        assert Decimal(house.ask("ada", "WalletPage", team="works")["team"]["wallet"]["held"]) == held + running_hold
        assert house.book.value("SELECT count(*) AS value FROM holds") == CLIENTS * ACCEPTS_OF_EACH + 1
        house.assert_books_balance()

        for customer in customers:
            for job_id in customer.accepted.values():
                house.change("ada", "CancelJob", jobId=job_id, reason="counted")
        # The running job's worker has come back as well.
        house.change("ada", "CancelJob", jobId=runs_through_it, reason="the storm is over")
        house.wait_for(runs_through_it, "CANCELLED")
        house.assert_charged_once(runs_through_it)
        house.assert_nothing_left(runs_through_it)
        assert Decimal(house.ask("ada", "WalletPage", team="works")["team"]["wallet"]["held"]) == 0
        house.assert_books_balance()

    def test_jobs_run_afterwards(self, house: House) -> None:
        job_id = house.submit("succeed")
        house.wait_for(job_id, "SUCCEEDED")
        house.assert_charged_once(job_id)
