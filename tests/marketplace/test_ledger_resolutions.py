import asyncio
from datetime import timedelta

import pytest

from guildhall.clock import new_id
from guildhall.errors import NotFound
from marketplace import ledger
from marketplace.ledger import ExpiredAllocation, HoldEnd, Settlement
from marketplace.ledger_refusals import (
    HoldAlreadyResolved,
    HoldNotExpired,
    IdempotencyKeyReused,
    MoreThanHeld,
    UnknownHold,
)
from tests.marketplace.bank import CREDIT, DAY, START, Bank


class TestSettleHold:
    async def test_in_part_releases_the_rest(self, bank: Bank) -> None:
        allocation = await bank.give(10 * CREDIT)
        hold = await bank.hold(6 * CREDIT)
        assert await bank.settle(hold.id, 4 * CREDIT) == Settlement(hold.id, 4 * CREDIT, 2 * CREDIT, 0)
        assert await bank.figures(allocation) == {
            "allocated": 10 * CREDIT,
            "captured": 4 * CREDIT,
            "remaining": 6 * CREDIT,
        }
        assert await bank.transfers(hold.id) == [("HOLD", "PENDING", 6 * CREDIT), ("CAPTURE", "POSTED", 4 * CREDIT)]
        await bank.assert_balanced()

    async def test_whole(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        assert await bank.settle(hold.id, CREDIT) == Settlement(hold.id, CREDIT, 0, 0)
        assert await bank.figures(allocation) == {"allocated": CREDIT, "captured": CREDIT}

    async def test_nothing_used_charges_nothing(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        assert await bank.settle(hold.id, 0) == Settlement(hold.id, 0, CREDIT, 0)
        assert await bank.figures(allocation) == {"allocated": CREDIT, "remaining": CREDIT}
        assert await bank.transfers(hold.id) == [("HOLD", "PENDING", CREDIT), ("RELEASE", "VOIDED", CREDIT)]

    async def test_takes_from_the_allocation_that_ends_first(self, bank: Bank) -> None:
        later = await bank.give(3 * CREDIT, days=20)
        sooner = await bank.give(3 * CREDIT, days=10)
        hold = await bank.hold(6 * CREDIT)
        await bank.settle(hold.id, 4 * CREDIT)
        assert await bank.figures(sooner) == {"allocated": 3 * CREDIT, "captured": 3 * CREDIT}
        assert await bank.figures(later) == {"allocated": 3 * CREDIT, "captured": CREDIT, "remaining": 2 * CREDIT}
        await bank.assert_balanced()

    async def test_what_is_released_after_the_end_expires(self, bank: Bank) -> None:
        ended = await bank.give(3 * CREDIT, days=2)
        running = await bank.give(3 * CREDIT, days=20)
        hold = await bank.hold(6 * CREDIT)
        settled = await bank.settle(hold.id, CREDIT, at=START + 2 * DAY)
        assert settled == Settlement(hold.id, CREDIT, 5 * CREDIT, 2 * CREDIT)
        assert await bank.figures(ended) == {"allocated": 3 * CREDIT, "captured": CREDIT, "expired": 2 * CREDIT}
        assert await bank.figures(running) == {"allocated": 3 * CREDIT, "remaining": 3 * CREDIT}
        await bank.assert_balanced()

    async def test_what_was_never_held_waits_for_its_own_expiry(self, bank: Bank) -> None:
        ended = await bank.give(3 * CREDIT, days=2)
        hold = await bank.hold(CREDIT)
        await bank.settle(hold.id, 0, at=START + 2 * DAY)
        assert await bank.figures(ended) == {"allocated": 3 * CREDIT, "expired": CREDIT, "remaining": 2 * CREDIT}

    async def test_one_micro_credit_before_the_end_is_not_expired(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT, days=2)
        hold = await bank.hold(CREDIT)
        await bank.settle(hold.id, 0, at=START + 2 * DAY - timedelta(microseconds=1))
        assert await bank.figures(allocation) == {"allocated": CREDIT, "remaining": CREDIT}

    async def test_more_than_the_hold_is_refused(self, bank: Bank) -> None:
        await bank.give(10 * CREDIT)
        hold = await bank.hold(CREDIT)
        before = await bank.state()
        with pytest.raises(MoreThanHeld, match="Only 1 credits are held"):
            await bank.settle(hold.id, CREDIT + 1)
        assert await bank.state() == before

    async def test_twice_is_refused(self, bank: Bank) -> None:
        await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        await bank.settle(hold.id, 1)
        before = await bank.state()
        with pytest.raises(HoldAlreadyResolved, match="posted already"):
            await bank.settle(hold.id, 1)
        assert await bank.state() == before

    async def test_twice_under_the_same_key_answers_again(self, bank: Bank) -> None:
        await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        first = await bank.settle(hold.id, 1, key=f"once {hold.id}")
        before = await bank.state()
        assert await bank.settle(hold.id, 1, key=f"once {hold.id}") == first
        with pytest.raises(IdempotencyKeyReused):
            await bank.settle(hold.id, 2, key=f"once {hold.id}")
        assert await bank.state() == before

    async def test_of_an_unknown_hold(self, bank: Bank) -> None:
        with pytest.raises(UnknownHold) as refused:
            await bank.settle(new_id(), 1)
        assert isinstance(refused.value, NotFound)


class TestSettleHolds:
    async def test_charges_and_releases_many_as_it_does_one(self, bank: Bank) -> None:
        allocation = await bank.give(10 * CREDIT)
        charged, released, whole = [await bank.hold(2 * CREDIT) for _ in range(3)]
        ends = [
            HoldEnd(hold_id=whole.id, captured=2 * CREDIT, key=f"a {new_id()}", reason="used"),
            HoldEnd(hold_id=released.id, captured=None, key=f"b {new_id()}", reason="not run"),
            HoldEnd(hold_id=charged.id, captured=CREDIT, key=f"c {new_id()}", reason="used"),
        ]
        want = [
            Settlement(whole.id, 2 * CREDIT, 0, 0),
            Settlement(released.id, 0, 2 * CREDIT, 0),
            Settlement(charged.id, CREDIT, CREDIT, 0),
        ]
        for _ in range(2):  # the second time under the same keys it only answers
            assert await bank.do(ledger.settle_holds, ends=ends, at=START + DAY) == want
        assert await bank.figures(allocation) == {
            "allocated": 10 * CREDIT,
            "captured": 3 * CREDIT,
            "remaining": 7 * CREDIT,
        }
        assert await bank.transfers(released.id) == [("HOLD", "PENDING", 2 * CREDIT), ("RELEASE", "VOIDED", 2 * CREDIT)]
        await bank.assert_balanced()

    async def test_one_refusal_undoes_all(self, bank: Bank) -> None:
        await bank.give(10 * CREDIT)
        small, large = await bank.hold(CREDIT), await bank.hold(2 * CREDIT)
        before = await bank.state()
        ends = [
            HoldEnd(hold_id=large.id, captured=CREDIT, key=f"a {new_id()}", reason="used"),
            HoldEnd(hold_id=small.id, captured=CREDIT + 1, key=f"b {new_id()}", reason="used"),
        ]
        with pytest.raises(MoreThanHeld):
            await bank.do(ledger.settle_holds, ends=ends, at=START + DAY)
        assert await bank.state() == before

    async def test_two_batches_in_opposite_orders_wait_for_each_other_and_no_circle(self, bank: Bank) -> None:
        await bank.give(100 * CREDIT)
        other = await bank.new_team()
        await bank.give(100 * CREDIT, team=other)
        holds = [await bank.hold(CREDIT, team=team) for _ in range(20) for team in (bank.team, other)]
        ends = [HoldEnd(hold_id=hold.id, captured=CREDIT, key=f"end {hold.id}", reason="used") for hold in holds]
        answers = await asyncio.gather(
            *(bank.do(ledger.settle_holds, ends=ordered, at=START + DAY) for ordered in (ends, ends[::-1]) * 4)
        )
        assert {len(answer) for answer in answers} == {40}
        await bank.assert_balanced()


class TestVoidHold:
    async def test_releases_all(self, bank: Bank) -> None:
        first = await bank.give(CREDIT, days=5)
        second = await bank.give(CREDIT)
        hold = await bank.hold(2 * CREDIT)
        assert await bank.void(hold.id) == Settlement(hold.id, 0, 2 * CREDIT, 0)
        for allocation in (first, second):
            assert await bank.figures(allocation) == {"allocated": CREDIT, "remaining": CREDIT}
        assert [row[:2] for row in await bank.transfers(hold.id)] == [("HOLD", "PENDING"), ("RELEASE", "VOIDED")] * 2

    async def test_after_the_end_it_expires(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT, days=1)
        hold = await bank.hold(CREDIT)
        assert await bank.void(hold.id, at=START + DAY) == Settlement(hold.id, 0, CREDIT, CREDIT)
        assert await bank.figures(allocation) == {"allocated": CREDIT, "expired": CREDIT}
        await bank.assert_balanced()

    async def test_after_settlement_is_refused(self, bank: Bank) -> None:
        await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        await bank.settle(hold.id, CREDIT)
        with pytest.raises(HoldAlreadyResolved):
            await bank.void(hold.id)

    async def test_before_settlement_leaves_nothing_to_charge(self, bank: Bank) -> None:
        await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        await bank.void(hold.id)
        with pytest.raises(HoldAlreadyResolved, match="voided already"):
            await bank.settle(hold.id, 1)


class TestExpireHold:
    async def test_not_before_its_time(self, bank: Bank) -> None:
        await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        early = START + DAY - timedelta(microseconds=1)
        with pytest.raises(HoldNotExpired):
            await bank.do(ledger.expire_hold, hold_id=hold.id, at=early, key=f"expire {hold.id}")

    async def test_releases_all_when_its_time_is_over(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        expired = await bank.do(ledger.expire_hold, hold_id=hold.id, at=START + DAY, key=f"expire {hold.id}")
        assert expired == Settlement(hold.id, 0, CREDIT, 0)
        assert await bank.figures(allocation) == {"allocated": CREDIT, "remaining": CREDIT}
        assert await bank.transfers(hold.id) == [("HOLD", "PENDING", CREDIT), ("RELEASE", "EXPIRED", CREDIT)]


class TestExpireAllocations:
    async def test_takes_what_is_left_at_the_end_and_nothing_before(self, fresh_bank: Bank) -> None:
        ended = await fresh_bank.give(3 * CREDIT, days=2)
        running = await fresh_bank.give(CREDIT, days=3)
        hold = await fresh_bank.hold(CREDIT)
        assert (
            list(await fresh_bank.do(ledger.expire_allocations, at=START + 2 * DAY - timedelta(microseconds=1))) == []
        )
        expired = await fresh_bank.do(ledger.expire_allocations, at=START + 2 * DAY)
        assert list(expired) == [ExpiredAllocation(ended, 2 * CREDIT)]
        assert await fresh_bank.figures(ended) == {"allocated": 3 * CREDIT, "held": CREDIT, "expired": 2 * CREDIT}
        assert await fresh_bank.figures(running) == {"allocated": CREDIT, "remaining": CREDIT}
        assert list(await fresh_bank.do(ledger.expire_allocations, at=START + 2 * DAY)) == []
        await fresh_bank.settle(hold.id, 1, at=START + 2 * DAY)
        assert await fresh_bank.figures(ended) == {"allocated": 3 * CREDIT, "captured": 1, "expired": 3 * CREDIT - 1}
        await fresh_bank.assert_balanced()

    async def test_no_more_than_asked_at_a_time(self, fresh_bank: Bank) -> None:
        allocations = [await fresh_bank.give(CREDIT, days=1) for _ in range(5)]
        taken = []
        for expected in (2, 2, 1, 0):
            expired = await fresh_bank.do(ledger.expire_allocations, at=START + DAY, limit=2)
            assert len(expired) == expected
            taken += [each.allocation_id for each in expired]
        assert taken == sorted(allocations)
