from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from guildhall.clock import new_id
from marketplace import ledger
from marketplace.ledger import HoldPart, Settlement
from marketplace.ledger_refusals import (
    CreditsOutOfRange,
    HoldAlreadyResolved,
    IdempotencyKeyReused,
    InsufficientCredits,
)
from marketplace.tables import CREDITS_MAX
from tests.marketplace.bank import CREDIT, DAY, START, Bank


class TestAllocate:
    async def test_gives_credits_from_the_treasury(self, bank: Bank) -> None:
        allocation = await bank.give(5 * CREDIT)
        assert await bank.figures(allocation) == {"allocated": 5 * CREDIT, "remaining": 5 * CREDIT}
        await bank.assert_balanced()

    @pytest.mark.parametrize("credits", [0, -1, CREDITS_MAX + 1])
    async def test_refuses_what_is_no_amount(self, bank: Bank, credits: int) -> None:
        before = await bank.state()
        with pytest.raises(CreditsOutOfRange):
            await bank.give(credits)
        assert await bank.state() == before

    async def test_same_key_and_input_give_the_first_answer(self, bank: Bank) -> None:
        first = await bank.give(CREDIT, key="first")
        before = await bank.state()
        assert await bank.give(CREDIT, key="first") == first
        assert await bank.state() == before

    async def test_same_key_with_another_input_is_refused(self, bank: Bank) -> None:
        await bank.give(CREDIT, key="second")
        before = await bank.state()
        with pytest.raises(IdempotencyKeyReused, match="another input"):
            await bank.give(CREDIT + 1, key="second")
        assert await bank.state() == before

    async def test_same_key_for_another_operation_is_refused(self, bank: Bank) -> None:
        await bank.give(CREDIT, key="third")
        with pytest.raises(IdempotencyKeyReused):
            await bank.hold(CREDIT, key="third")

    async def test_an_unknown_team_is_no_account(self, bank: Bank) -> None:
        before = await bank.state()
        with pytest.raises(DBAPIError, match="fk_allocations_team_id_teams"):
            await bank.give(CREDIT, team=new_id())
        assert await bank.state() == before


class TestPlaceHold:
    async def test_draws_from_the_allocation_that_ends_first(self, bank: Bank) -> None:
        later = await bank.give(5 * CREDIT, days=20)
        sooner = await bank.give(5 * CREDIT, days=10)
        hold = await bank.hold(3 * CREDIT)
        assert hold.parts == (HoldPart(sooner, 3 * CREDIT),)
        assert await bank.figures(sooner) == {"allocated": 5 * CREDIT, "held": 3 * CREDIT, "remaining": 2 * CREDIT}
        assert await bank.figures(later) == {"allocated": 5 * CREDIT, "remaining": 5 * CREDIT}

    async def test_draws_from_several_where_one_is_not_enough(self, bank: Bank) -> None:
        last = await bank.give(CREDIT, days=30)
        first = await bank.give(CREDIT, days=10)
        second = await bank.give(CREDIT, days=20)
        hold = await bank.hold(2 * CREDIT + 1)
        assert hold.parts == (HoldPart(first, CREDIT), HoldPart(second, CREDIT), HoldPart(last, 1))
        assert hold.credits == 2 * CREDIT + 1
        assert await bank.transfers(hold.id) == [
            ("HOLD", "PENDING", part.credits) for part in sorted(hold.parts, key=lambda part: part.allocation_id)
        ]
        await bank.assert_balanced()

    async def test_exactly_all_that_is_there(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        await bank.hold(CREDIT)
        assert await bank.figures(allocation) == {"allocated": CREDIT, "held": CREDIT}

    async def test_one_micro_credit_too_much_names_what_is_missing(self, bank: Bank) -> None:
        await bank.give(CREDIT)
        before = await bank.state()
        with pytest.raises(InsufficientCredits) as refused:
            await bank.hold(CREDIT + 1)
        assert (refused.value.missing, refused.value.available) == (1, CREDIT)
        assert refused.value.message == "0.000001 credits are missing: the team's wallet has 1 available."
        assert refused.value.details == {"missing": "0.000001", "available": "1"}
        assert await bank.state() == before

    async def test_a_wallet_of_nothing(self, bank: Bank) -> None:
        with pytest.raises(InsufficientCredits) as refused:
            await bank.hold(1)
        assert (refused.value.missing, refused.value.available) == (1, 0)

    async def test_another_programme_or_team_pays_nothing(self, bank: Bank) -> None:
        await bank.give(CREDIT, programme=await bank.new_programme(new_id()))
        await bank.give(CREDIT, team=bank.other)
        with pytest.raises(InsufficientCredits):
            await bank.hold(1)

    @pytest.mark.parametrize(
        ("moment", "enough"),
        [
            (START - timedelta(microseconds=1), False),
            (START, True),
            (START + 10 * DAY - timedelta(microseconds=1), True),
            (START + 10 * DAY, False),
        ],
    )
    async def test_only_allocations_valid_at_that_time_count(self, bank: Bank, moment: object, enough: bool) -> None:
        assert isinstance(moment, type(START))
        await bank.give(CREDIT, days=10)
        if enough:
            assert (await bank.hold(CREDIT, at=moment, expires_at=moment + DAY)).credits == CREDIT
        else:
            with pytest.raises(InsufficientCredits):
                await bank.hold(CREDIT, at=moment, expires_at=moment + DAY)

    async def test_a_hold_of_nothing_reserves_nothing_and_resolves(self, bank: Bank) -> None:
        hold = await bank.hold(0)
        assert (hold.credits, hold.parts) == (0, ())
        assert await bank.settle(hold.id, 0) == Settlement(hold.id, 0, 0, 0)
        with pytest.raises(HoldAlreadyResolved):
            await bank.void(hold.id)

    async def test_a_negative_hold_is_refused(self, bank: Bank) -> None:
        with pytest.raises(CreditsOutOfRange, match="-1 credits cannot be moved"):
            await bank.hold(-CREDIT)

    async def test_the_same_key_answers_with_the_first_hold(self, bank: Bank) -> None:
        allocation = await bank.give(10 * CREDIT)
        first = await bank.hold(CREDIT, key=f"again {allocation}")
        assert await bank.hold(CREDIT, key=f"again {allocation}") == first
        assert await bank.figures(allocation) == {"allocated": 10 * CREDIT, "held": CREDIT, "remaining": 9 * CREDIT}
        with pytest.raises(IdempotencyKeyReused):
            await bank.hold(2 * CREDIT, key=f"again {allocation}")

    async def test_a_refusal_is_not_kept_under_its_key(self, bank: Bank) -> None:
        with pytest.raises(InsufficientCredits):
            await bank.hold(CREDIT, key=f"later {bank.team}")
        await bank.give(CREDIT)
        assert (await bank.hold(CREDIT, key=f"later {bank.team}")).credits == CREDIT

    async def test_the_session_timezone_does_not_change_the_input(self, bank: Bank) -> None:
        await bank.give(CREDIT)
        hold = await bank.hold(CREDIT, key=f"zone {bank.team}")
        async with bank.database.transaction() as session:
            await session.execute(text("SET LOCAL TimeZone = 'Asia/Tokyo'"))
            again = await ledger.place_hold(
                session,
                hold_id=new_id(),
                team_id=bank.team,
                programme_id=bank.programme,
                credits=CREDIT,
                job_id=None,
                at=START,
                expires_at=START + DAY,
                key=f"zone {bank.team}",
            )
        assert again == hold
