import argparse
import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.ledger import main as ledger_main
from benchmarks.ledger.main import Bench, main
from benchmarks.ledger.rounds import Books
from benchmarks.ledger.sides import Ours, Wallet
from guildhall.clock import new_id
from guildhall.db.transaction import Database
from tests.marketplace.bank import CREDIT, Bank

TINY = "--clients 1 3 --wallets 4 --seconds 0.4 --rounds 1 --operations 400 --volatile"


class TestMain:
    async def test_a_tiny_run_compares_all_sides_and_loses_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(report, "OUT", tmp_path)
        await main(TINY.split())
        figures = {each["figure"]: each for each in json.loads((tmp_path / "ledger.json").read_text())}
        for kind in ("hold", "capture", "release"):
            assert figures[f"{kind}, 1 client, calls/s, bare function"]["wanted"] == 0.6
        for where in ("many wallets", "one hot wallet"):
            for clients in (1, 3):
                for peer in ("bare function", "READ COMMITTED", "SERIALIZABLE"):
                    assert figures[f"{where}, {clients} clients, operations/s, {peer}"]["peer"] > 0
        (deadlocks,) = [name for name in figures if name.startswith("deadlocks and lock timeouts in ")]
        none = [deadlocks, "allocations with a lost update", "rounds after which the identity did not hold"]
        assert [(figures[name]["ours"], figures[name]["holds"]) for name in none] == [(0, True)] * 3
        said = capsys.readouterr()
        assert "bench-ledger" in said.out
        assert "one hot wallet, 3 clients: ours " in said.err

    async def test_one_that_is_stopped_tells_what_was_found_and_writes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(report, "OUT", tmp_path)

        async def stopped(bench: Bench, _given: argparse.Namespace) -> None:
            await bench.run([1])
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()

        monkeypatch.setattr(ledger_main, "_everything", stopped)
        assert await main(TINY.split()) is False
        said = capsys.readouterr().out
        assert "many wallets, 1 clients, operations/s, READ COMMITTED" in said
        assert "stopped before the end" in said
        assert list(tmp_path.iterdir()) == []


class TestBooks:
    async def test_a_charge_that_the_database_does_not_know_is_a_lost_update(self, database: Database) -> None:
        bank = await Bank(database).open()
        wallet = Wallet(bank.team, bank.programme, await bank.give(CREDIT))
        ours = Ours(database)
        books = Books()
        books.charge(ours, wallet, await ours.end(await ours.hold(wallet, 10), 4))
        assert await books.differences(ours) == 0
        books.charge(ours, wallet, 1)
        assert await books.differences(ours) == 1

    async def test_a_hold_that_never_ended_is_found_too(self, database: Database) -> None:
        bank = await Bank(database).open()
        wallet = Wallet(bank.team, bank.programme, await bank.give(CREDIT, allocation_id=new_id()))
        ours = Ours(database)
        before = await Books().differences(ours)
        await ours.hold(wallet, 10)
        assert await Books().differences(ours) == before + 1
