"""graphql-core is the oracle: random documents over the whole schema, and both ways must give the same answer."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from guildhall.db.transaction import Database
from guildhall.schema.root import composed_schema
from tests.guildhall.graphql.oracle.comparing import INTERNAL, Outcome
from tests.guildhall.graphql.oracle.planted import BUGS, plant
from tests.guildhall.graphql.oracle.rounds import Heard, Rounds
from tests.guildhall.graphql.oracle.world import World, standing_still

SHORT, LONG = 500, 10_000
MORE, STEP = 2_000, 250
"""How many others are asked at most, and at once, where the first did not show a planted mistake."""
SEED, LONG_SEED = 20, 21
WITHOUT_ERRORS_MIN, COMPILED_MIN = 0.7, 0.8
FIELDS_MIN, LONG_FIELDS_MIN = 0.75, 0.98
"""A new type needs rows in the world (`scatter`, `guarded`, `fleet`, `rights`); what was not reached is told."""
SHOWN_MAX = 3
TOLD_EVERY = 1_000


@pytest.fixture(scope="module")
async def world(database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder: Path = tmp_path_factory.mktemp("data")
    async with standing_still(database, folder, seed=SEED) as still:
        yield still


@pytest.fixture(scope="module")
def heard(world: World) -> Heard:
    return Heard(Rounds(world, composed_schema(), SEED))


async def require_equal(rounds: Rounds, outcomes: Iterable[Outcome]) -> None:
    differing = [outcome for outcome in outcomes if not outcome.equal]
    told = [await rounds.smallest(outcome) for outcome in differing[:SHOWN_MAX]]
    assert not differing, f"{len(differing)} documents are answered in two ways, such as:\n" + "\n".join(told)


def require_shares(rounds: Rounds, fields_min: float) -> None:
    shares = rounds.shares()
    assert shares["without errors"] >= WITHOUT_ERRORS_MIN, rounds.tally.codes
    assert shares["compiled"] >= COMPILED_MIN
    assert shares["fields reached"] >= fields_min, rounds.unreached()


class TestBothWays:
    async def test_answers_are_equal(self, heard: Heard, capsys: pytest.CaptureFixture[str]) -> None:
        outcomes = await heard.between(0, SHORT)
        with capsys.disabled():
            print(heard.rounds.told())  # noqa: T201 -- what was measured is to be seen
        await require_equal(heard.rounds, outcomes)

    async def test_nothing_goes_wrong_on_our_side(self, heard: Heard) -> None:
        outcomes = await heard.between(0, SHORT)
        codes = [(code, outcome) for outcome in outcomes for code in outcome.codes]
        assert [outcome.told() for code, outcome in codes if code == INTERNAL or code.startswith("GRAPHQL_")] == []

    async def test_shares(self, heard: Heard) -> None:
        await heard.between(0, SHORT)
        require_shares(heard.rounds, FIELDS_MIN)


class TestPlantedBugs:
    @pytest.mark.parametrize("name", BUGS)
    async def test_is_caught(self, heard: Heard, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The oracle knows nothing of the mistake: what it said before is what it would say."""
        for begin, end in ((0, SHORT), *((number, number + STEP) for number in range(SHORT, SHORT + MORE, STEP))):
            outcomes = await heard.between(begin, end)
            await require_equal(heard.rounds, outcomes)
            with monkeypatch.context() as patch:
                plant(name, patch)
                if await heard.replayed(outcomes) is not None:
                    return
        pytest.fail(f"{SHORT + MORE} documents did not show it")


@pytest.mark.long
class TestManyMore:
    async def test_answers_are_equal_and_nearly_every_field_is_reached(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rounds = Rounds(world, composed_schema(), LONG_SEED)
        differing: list[Outcome] = []
        while rounds.tally.documents < LONG and len(differing) < SHOWN_MAX:  # more would say the same
            outcome = await rounds.outcome()
            if not outcome.equal:
                differing.append(outcome)
            if rounds.tally.documents % TOLD_EVERY == 0 or len(differing) == SHOWN_MAX:
                with capsys.disabled():
                    print(rounds.told(), flush=True)  # noqa: T201 -- what was measured is to be seen
        await require_equal(rounds, differing)
        with capsys.disabled():
            print(f"not reached: {', '.join(rounds.unreached()) or 'nothing'}")  # noqa: T201 -- same
        require_shares(rounds, LONG_FIELDS_MIN)
