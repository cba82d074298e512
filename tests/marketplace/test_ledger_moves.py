import pytest
from sqlalchemy.exc import DBAPIError

from guildhall.clock import new_id
from guildhall.credits import format_credits
from marketplace import ledger
from marketplace.ledger import HoldPart
from marketplace.ledger_refusals import (
    AllocationEnded,
    CreditsOutOfRange,
    InsufficientCredits,
    MoreThanCaptured,
    SameTeam,
    UnknownAllocation,
)
from marketplace.tables import CREDITS_MAX
from tests.marketplace.bank import CREDIT, DAY, START, Bank


class TestReturnCredits:
    async def test_hands_back_to_the_treasury(self, bank: Bank) -> None:
        allocation = await bank.give(3 * CREDIT)
        await bank.do(
            ledger.return_credits,
            allocation_id=allocation,
            credits=CREDIT,
            reason="less to do",
            at=START,
            key=f"r{allocation}",
        )
        assert await bank.figures(allocation) == {"allocated": 3 * CREDIT, "returned": CREDIT, "remaining": 2 * CREDIT}
        await bank.assert_balanced()

    async def test_never_what_is_held(self, bank: Bank) -> None:
        allocation = await bank.give(3 * CREDIT)
        await bank.hold(2 * CREDIT)
        before = await bank.state()
        with pytest.raises(InsufficientCredits) as refused:
            await bank.do(
                ledger.return_credits,
                allocation_id=allocation,
                credits=2 * CREDIT,
                reason="x",
                at=START,
                key=f"r{allocation}",
            )
        assert refused.value.missing == CREDIT
        assert await bank.state() == before

    async def test_not_after_the_end(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT, days=1)
        with pytest.raises(AllocationEnded):
            await bank.do(
                ledger.return_credits,
                allocation_id=allocation,
                credits=1,
                reason="x",
                at=START + DAY,
                key=f"r{allocation}",
            )

    async def test_of_an_unknown_allocation(self, bank: Bank) -> None:
        unknown = new_id()
        with pytest.raises(UnknownAllocation):
            await bank.do(
                ledger.return_credits, allocation_id=unknown, credits=1, reason="x", at=START, key=f"r{unknown}"
            )

    async def test_again_under_the_same_key(self, bank: Bank) -> None:
        allocation = await bank.give(3 * CREDIT)
        for _ in range(2):
            await bank.do(
                ledger.return_credits,
                allocation_id=allocation,
                credits=CREDIT,
                reason="x",
                at=START,
                key=f"r{allocation}",
            )
        assert (await bank.figures(allocation))["returned"] == CREDIT


class TestSendCredits:
    async def test_they_keep_programme_and_times(self, bank: Bank) -> None:
        allocation = await bank.give(3 * CREDIT, days=7)
        target = await bank.do(
            ledger.send_credits,
            allocation_id=allocation,
            to_team_id=bank.other,
            credits=CREDIT,
            reason="they run our job",
            at=START,
            key=f"s{allocation}",
        )
        assert await bank.figures(allocation) == {"allocated": 3 * CREDIT, "sent": CREDIT, "remaining": 2 * CREDIT}
        assert await bank.figures(target) == {"received": CREDIT, "remaining": CREDIT}
        hold = await bank.hold(CREDIT, team=bank.other)
        assert hold.parts == (HoldPart(target, CREDIT),)
        figures = {each.allocation_id: each for each in await bank.assert_balanced()}
        assert (figures[target].team_id, figures[target].programme_id) == (bank.other, bank.programme)
        assert (figures[target].valid_from, figures[target].valid_to) == (START, START + 7 * DAY)

    async def test_again_lands_in_the_same_allocation_also_back(self, bank: Bank) -> None:
        allocation = await bank.give(3 * CREDIT)
        first, second = [
            await bank.do(
                ledger.send_credits,
                allocation_id=allocation,
                to_team_id=bank.other,
                credits=CREDIT,
                reason="x",
                at=START,
                key=f"s{n}{allocation}",
            )
            for n in range(2)
        ]
        assert first == second
        back = await bank.do(
            ledger.send_credits,
            allocation_id=first,
            to_team_id=bank.team,
            credits=CREDIT,
            reason="x",
            at=START,
            key=f"b{allocation}",
        )
        assert back == allocation
        assert await bank.figures(allocation) == {
            "allocated": 3 * CREDIT,
            "sent": 2 * CREDIT,
            "received": CREDIT,
            "remaining": 2 * CREDIT,
        }
        assert await bank.figures(first) == {"received": 2 * CREDIT, "sent": CREDIT, "remaining": CREDIT}
        await bank.assert_balanced()

    async def test_again_under_the_same_key(self, bank: Bank) -> None:
        allocation = await bank.give(3 * CREDIT)
        answers = [
            await bank.do(
                ledger.send_credits,
                allocation_id=allocation,
                to_team_id=bank.other,
                credits=CREDIT,
                reason="x",
                at=START,
                key=f"s{allocation}",
            )
            for _ in range(2)
        ]
        assert answers[0] == answers[1]
        assert (await bank.figures(allocation))["sent"] == CREDIT

    @pytest.mark.parametrize("credits", [CREDIT + 1, 2 * CREDIT])
    async def test_not_more_than_there_is(self, bank: Bank, credits: int) -> None:
        allocation = await bank.give(CREDIT)
        before = await bank.state()
        with pytest.raises(InsufficientCredits) as refused:
            await bank.do(
                ledger.send_credits,
                allocation_id=allocation,
                to_team_id=bank.other,
                credits=credits,
                reason="x",
                at=START,
                key=f"s{allocation}",
            )
        assert (
            refused.value.message
            == f"{format_credits(credits - CREDIT)} credits are missing: the allocation has 1 available."
        )
        assert await bank.state() == before

    async def test_not_to_oneself(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        with pytest.raises(SameTeam):
            await bank.do(
                ledger.send_credits,
                allocation_id=allocation,
                to_team_id=bank.team,
                credits=1,
                reason="x",
                at=START,
                key=f"s{allocation}",
            )

    async def test_of_an_unknown_allocation(self, bank: Bank) -> None:
        unknown = new_id()
        with pytest.raises(UnknownAllocation):
            await bank.do(
                ledger.send_credits,
                allocation_id=unknown,
                to_team_id=bank.other,
                credits=1,
                reason="x",
                at=START,
                key=f"s{unknown}",
            )


class TestRefund:
    async def test_gives_back_what_was_captured(self, bank: Bank) -> None:
        allocation = await bank.give(5 * CREDIT)
        hold = await bank.hold(4 * CREDIT)
        await bank.settle(hold.id, 3 * CREDIT)
        await bank.do(
            ledger.refund,
            hold_id=hold.id,
            credits=2 * CREDIT,
            reason="the node was slow",
            at=START + DAY,
            key=f"f{hold.id}",
        )
        assert await bank.figures(allocation) == {
            "allocated": 5 * CREDIT,
            "captured": CREDIT,
            "remaining": 4 * CREDIT,
        }
        await bank.assert_balanced()

    async def test_never_more_than_was_captured_in_all(self, bank: Bank) -> None:
        await bank.give(5 * CREDIT)
        hold = await bank.hold(4 * CREDIT)
        await bank.settle(hold.id, 3 * CREDIT)
        await bank.do(ledger.refund, hold_id=hold.id, credits=2 * CREDIT, reason="x", at=START, key=f"f{hold.id}")
        before = await bank.state()
        with pytest.raises(MoreThanCaptured, match="Only 1 credits can be refunded"):
            await bank.do(ledger.refund, hold_id=hold.id, credits=CREDIT + 1, reason="x", at=START, key=f"g{hold.id}")
        assert await bank.state() == before

    async def test_goes_first_to_the_allocation_that_ends_last(self, bank: Bank) -> None:
        sooner = await bank.give(2 * CREDIT, days=5)
        later = await bank.give(2 * CREDIT, days=9)
        hold = await bank.hold(4 * CREDIT)
        await bank.settle(hold.id, 3 * CREDIT)
        await bank.do(ledger.refund, hold_id=hold.id, credits=2 * CREDIT, reason="x", at=START, key=f"f{hold.id}")
        assert await bank.figures(sooner) == {"allocated": 2 * CREDIT, "captured": CREDIT, "remaining": CREDIT}
        assert await bank.figures(later) == {"allocated": 2 * CREDIT, "remaining": 2 * CREDIT}
        await bank.assert_balanced()

    async def test_of_a_hold_that_charged_nothing(self, bank: Bank) -> None:
        await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        with pytest.raises(MoreThanCaptured, match="Nothing is left to refund"):
            await bank.do(ledger.refund, hold_id=hold.id, credits=1, reason="x", at=START, key=f"f{hold.id}")

    async def test_again_under_the_same_key(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        await bank.settle(hold.id, CREDIT)
        for _ in range(2):
            await bank.do(ledger.refund, hold_id=hold.id, credits=1, reason="x", at=START, key=f"f{hold.id}")
        assert (await bank.figures(allocation))["remaining"] == 1


class TestOverflow:
    async def test_more_than_a_bigint_is_one_sentence(self, bank: Bank) -> None:
        """Ten times the largest amount, sent into one allocation, would not fit."""
        target = None
        for n in range(10):
            team = await bank.new_team()
            allocation = await bank.give(CREDITS_MAX, team=team)
            send = bank.do(
                ledger.send_credits,
                allocation_id=allocation,
                to_team_id=bank.other,
                credits=CREDITS_MAX,
                reason="x",
                at=START,
                key=f"{n}{allocation}",
            )
            if n < 9:
                target = await send
            else:
                with pytest.raises(CreditsOutOfRange, match="more credits than can be kept"):
                    await send
        assert target is not None
        assert await bank.figures(target) == {"received": 9 * CREDITS_MAX, "remaining": 9 * CREDITS_MAX}
        await bank.assert_balanced()

    async def test_another_error_of_the_database_stays_what_it_is(self, bank: Bank) -> None:
        await bank.give(CREDIT)
        with pytest.raises(DBAPIError, match="ck_holds_credits_for_a_time"):
            await bank.hold(CREDIT, expires_at=START)
