"""graphql-core is the oracle: random documents over the whole schema, and both ways must give the same answer."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from guildhall.db.transaction import Database
from guildhall.schema.root import composed_schema
from tests.guildhall.graphql.oracle.comparing import INTERNAL, Outcome
from tests.guildhall.graphql.oracle.planted import BUGS
from tests.guildhall.graphql.oracle.rounds import Rounds, compilable_fields
from tests.guildhall.graphql.oracle.world import World, standing_still

SHORT, LONG = 500, 10_000
MORE = 2_000
"""How many others are asked where the first did not show a planted mistake: it takes one that holds its case."""
SEED, LONG_SEED = 20, 21
WITHOUT_ERRORS_MIN, COMPILED_MIN = 0.7, 0.8
FIELDS_MIN, LONG_FIELDS_MIN = 0.6, 0.95
"""A new type needs rows in the world (`scatter`, `guarded`, `fleet`, `rights`); what was not reached is told."""
SHOWN_MAX = 3
TOLD_EVERY = 1_000

Heard = tuple[Rounds, list[Outcome]]


@pytest.fixture(scope="module")
async def world(database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder: Path = tmp_path_factory.mktemp("data")
    async with standing_still(database, folder, seed=SEED) as still:
        yield still


@pytest.fixture(scope="module")
async def heard(world: World) -> Heard:
    rounds = Rounds(world, composed_schema(), SEED)
    return rounds, [outcome async for outcome in rounds.outcomes(SHORT)]


async def require_equal(rounds: Rounds, differing: list[Outcome]) -> None:
    told = [await rounds.smallest(outcome) for outcome in differing[:SHOWN_MAX]]
    assert not differing, f"{len(differing)} documents are answered in two ways, such as:\n" + "\n".join(told)


class TestBothWays:
    async def test_answers_are_equal(self, heard: Heard, capsys: pytest.CaptureFixture[str]) -> None:
        rounds, outcomes = heard
        with capsys.disabled():
            print(rounds.told())  # noqa: T201 -- what was measured is to be seen
        await require_equal(rounds, [outcome for outcome in outcomes if not outcome.equal])

    async def test_nothing_goes_wrong_on_our_side(self, heard: Heard) -> None:
        _, outcomes = heard
        codes = [(code, outcome) for outcome in outcomes for code in outcome.codes]
        assert [outcome.told() for code, outcome in codes if code == INTERNAL or code.startswith("GRAPHQL_")] == []

    async def test_shares(self, heard: Heard) -> None:
        rounds, _ = heard
        shares = rounds.shares()
        assert shares["without errors"] >= WITHOUT_ERRORS_MIN, rounds.tally.codes
        assert shares["compiled"] >= COMPILED_MIN
        assert shares["fields reached"] >= FIELDS_MIN, sorted(
            compilable_fields(rounds.composed) - rounds.tally.reached_compiled
        )


class TestPlantedBugs:
    @pytest.mark.parametrize("name", BUGS)
    async def test_is_caught(self, heard: Heard, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        rounds, outcomes = heard
        BUGS[name](monkeypatch)
        compiled = rounds.compiled()
        for outcome in outcomes:
            again = await compiled(rounds.world, outcome.viewer, outcome.document)
            if not Outcome(outcome.document, outcome.viewer, outcome.oracle, again).equal:
                return
        async for outcome in Rounds(rounds.world, rounds.composed, LONG_SEED).outcomes(MORE):
            if not outcome.equal:
                return
        pytest.fail(f"{len(outcomes) + MORE} documents did not show it")


@pytest.mark.long
class TestManyMore:
    async def test_answers_are_equal_and_nearly_every_field_is_reached(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rounds = Rounds(world, composed_schema(), LONG_SEED)
        differing = []
        async for outcome in rounds.outcomes(LONG):
            if not outcome.equal:
                differing.append(outcome)
            if rounds.tally.documents % TOLD_EVERY == 0 or len(differing) == SHOWN_MAX:
                with capsys.disabled():
                    print(rounds.told(), flush=True)  # noqa: T201 -- what was measured is to be seen
            if len(differing) == SHOWN_MAX:  # the rest would say the same
                break
        await require_equal(rounds, differing)
        shares = rounds.shares()
        assert shares["without errors"] >= WITHOUT_ERRORS_MIN, rounds.tally.codes
        assert shares["compiled"] >= COMPILED_MIN
        unreached = sorted(compilable_fields(rounds.composed) - rounds.tally.reached_compiled)
        with capsys.disabled():
            print(f"not reached: {', '.join(unreached) or 'nothing'}")  # noqa: T201 -- same
        assert shares["fields reached"] >= LONG_FIELDS_MIN
