"""Each pair of money operations that can meet at one wallet, with the second forced to wait for the first."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import pytest

from guildhall.clock import new_id
from guildhall.errors import GuildhallError
from marketplace import ledger
from marketplace.ledger import ExpiredAllocation, Hold, Settlement
from marketplace.ledger_refusals import (
    HoldAlreadyResolved,
    IdempotencyKeyReused,
    InsufficientCredits,
    MoreThanCaptured,
)
from tests.concurrency.rivals import Rival, open_transaction
from tests.marketplace.bank import CREDIT, DAY, START, Bank, settle_hold

CALLERS = 100


def hold_of(bank: Bank, credits: int, **changed: Any) -> dict[str, Any]:
    hold_id = new_id()
    return {
        "hold_id": hold_id,
        "team_id": bank.team,
        "programme_id": bank.programme,
        "credits": credits,
        "job_id": None,
        "at": START,
        "expires_at": START + DAY,
        "key": f"hold {hold_id}",
        **changed,
    }


def settlement_of(hold: Hold, captured: int, key: str) -> dict[str, Any]:
    return {"hold_id": hold.id, "captured": captured, "at": START, "key": f"{key} {hold.id}"}


class TestHoldAgainstHold:
    async def test_the_last_credits_go_to_the_first(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        async with open_transaction(bank.database) as session:
            await ledger.place_hold(session, **hold_of(bank, CREDIT))
            rival: Rival[Hold] = Rival(bank.database, ledger.place_hold, hold_of(bank, CREDIT))
            await rival.waits()
        with pytest.raises(InsufficientCredits) as refused:
            await rival.answer()
        assert refused.value.missing == CREDIT
        assert await bank.figures(allocation) == {"allocated": CREDIT, "held": CREDIT}
        await bank.assert_balanced()

    async def test_or_to_the_second_if_the_first_is_rolled_back(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        async with open_transaction(bank.database, commit=False) as session:
            await ledger.place_hold(session, **hold_of(bank, CREDIT))
            rival: Rival[Hold] = Rival(bank.database, ledger.place_hold, hold_of(bank, CREDIT))
            await rival.waits()
        assert (await rival.answer()).credits == CREDIT
        assert await bank.figures(allocation) == {"allocated": CREDIT, "held": CREDIT}
        await bank.assert_balanced()

    async def test_the_second_draws_from_what_the_first_left(self, bank: Bank) -> None:
        sooner, later = await bank.give(CREDIT, days=5), await bank.give(CREDIT, days=9)
        async with open_transaction(bank.database) as session:
            await ledger.place_hold(session, **hold_of(bank, CREDIT - 1))
            rival: Rival[Hold] = Rival(bank.database, ledger.place_hold, hold_of(bank, 2))
            await rival.waits()
        assert [(part.allocation_id, part.credits) for part in (await rival.answer()).parts] == [
            (sooner, 1),
            (later, 1),
        ]
        await bank.assert_balanced()


class TestHoldAgainstExpiry:
    async def test_expiry_leaves_what_is_held(self, fresh_bank: Bank) -> None:
        allocation = await fresh_bank.give(3 * CREDIT, days=1)
        async with open_transaction(fresh_bank.database) as session:
            await ledger.place_hold(session, **hold_of(fresh_bank, CREDIT))
            rival: Rival[Any] = Rival(fresh_bank.database, ledger.expire_allocations, {"at": START + DAY})
            await rival.waits()
        assert list(await rival.answer()) == [ExpiredAllocation(allocation, 2 * CREDIT)]
        assert await fresh_bank.figures(allocation) == {"allocated": 3 * CREDIT, "held": CREDIT, "expired": 2 * CREDIT}
        await fresh_bank.assert_balanced()

    async def test_a_hold_that_comes_late_finds_nothing(self, fresh_bank: Bank) -> None:
        allocation = await fresh_bank.give(3 * CREDIT, days=1)
        async with open_transaction(fresh_bank.database) as session:
            await ledger.expire_allocations(session, at=START + DAY)
            rival: Rival[Hold] = Rival(fresh_bank.database, ledger.place_hold, hold_of(fresh_bank, CREDIT))
            await rival.waits()
        with pytest.raises(InsufficientCredits):
            await rival.answer()
        assert await fresh_bank.figures(allocation) == {"allocated": 3 * CREDIT, "expired": 3 * CREDIT}

    async def test_two_workers_expire_once(self, fresh_bank: Bank) -> None:
        allocation = await fresh_bank.give(CREDIT, days=1)
        async with open_transaction(fresh_bank.database) as session:
            assert len(await ledger.expire_allocations(session, at=START + DAY)) == 1
            rival: Rival[Any] = Rival(fresh_bank.database, ledger.expire_allocations, {"at": START + DAY})
            await rival.waits()
        assert list(await rival.answer()) == []
        assert await fresh_bank.figures(allocation) == {"allocated": CREDIT, "expired": CREDIT}

    async def test_settlement_and_expiry_share_what_is_left(self, fresh_bank: Bank) -> None:
        allocation = await fresh_bank.give(3 * CREDIT, days=1)
        hold = await fresh_bank.hold(2 * CREDIT)
        async with open_transaction(fresh_bank.database) as session:
            late = {**settlement_of(hold, CREDIT, "settle"), "at": START + DAY}
            assert await settle_hold(session, **late) == Settlement(hold.id, CREDIT, CREDIT, CREDIT)
            rival: Rival[Any] = Rival(fresh_bank.database, ledger.expire_allocations, {"at": START + DAY})
            await rival.waits()
        assert list(await rival.answer()) == [ExpiredAllocation(allocation, CREDIT)]
        assert await fresh_bank.figures(allocation) == {
            "allocated": 3 * CREDIT,
            "captured": CREDIT,
            "expired": 2 * CREDIT,
        }
        await fresh_bank.assert_balanced()


class TestResolutions:
    async def test_settled_twice(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        async with open_transaction(bank.database) as session:
            await settle_hold(session, **settlement_of(hold, 10, "first"))
            rival: Rival[Settlement] = Rival(bank.database, settle_hold, settlement_of(hold, 20, "second"))
            await rival.waits()
        with pytest.raises(HoldAlreadyResolved):
            await rival.answer()
        assert await bank.figures(allocation) == {"allocated": CREDIT, "captured": 10, "remaining": CREDIT - 10}

    async def test_settled_twice_under_one_key(self, bank: Bank) -> None:
        await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        async with open_transaction(bank.database) as session:
            first = await settle_hold(session, **settlement_of(hold, 10, "same"))
            rival: Rival[Settlement] = Rival(bank.database, settle_hold, settlement_of(hold, 10, "same"))
            await rival.waits()
        assert await rival.answer() == first

    @pytest.mark.parametrize("commit", [True, False])
    async def test_void_first(self, bank: Bank, commit: bool) -> None:
        allocation = await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        async with open_transaction(bank.database, commit=commit) as session:
            await ledger.void_hold(session, hold_id=hold.id, at=START, key=f"void {hold.id}")
            rival: Rival[Settlement] = Rival(bank.database, settle_hold, settlement_of(hold, 20, "settle"))
            await rival.waits()
        if commit:
            with pytest.raises(HoldAlreadyResolved):
                await rival.answer()
            assert await bank.figures(allocation) == {"allocated": CREDIT, "remaining": CREDIT}
        else:
            assert (await rival.answer()).captured == 20
            assert await bank.figures(allocation) == {"allocated": CREDIT, "captured": 20, "remaining": CREDIT - 20}
        await bank.assert_balanced()

    async def test_settle_first(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        async with open_transaction(bank.database) as session:
            await settle_hold(session, **settlement_of(hold, 20, "settle"))
            void = {"hold_id": hold.id, "at": START, "key": f"void {hold.id}"}
            rival: Rival[Settlement] = Rival(bank.database, ledger.void_hold, void)
            await rival.waits()
        with pytest.raises(HoldAlreadyResolved):
            await rival.answer()
        assert await bank.figures(allocation) == {"allocated": CREDIT, "captured": 20, "remaining": CREDIT - 20}

    async def test_even_where_nothing_is_held(self, bank: Bank) -> None:
        hold = await bank.hold(0)
        async with open_transaction(bank.database) as session:
            await settle_hold(session, **settlement_of(hold, 0, "settle"))
            rival: Rival[Settlement] = Rival(
                bank.database, ledger.void_hold, {"hold_id": hold.id, "at": START, "key": f"void {hold.id}"}
            )
            await rival.waits()
        with pytest.raises(HoldAlreadyResolved):
            await rival.answer()

    async def test_what_one_releases_another_can_hold(self, bank: Bank) -> None:
        await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        async with open_transaction(bank.database) as session:
            await ledger.void_hold(session, hold_id=hold.id, at=START, key=f"void {hold.id}")
            rival: Rival[Hold] = Rival(bank.database, ledger.place_hold, hold_of(bank, CREDIT))
            await rival.waits()
        assert (await rival.answer()).credits == CREDIT
        await bank.assert_balanced()


class TestOtherMoves:
    async def test_two_refunds_of_one_charge(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        await bank.settle(hold.id, CREDIT)

        def refund(key: str) -> dict[str, Any]:
            return {"hold_id": hold.id, "credits": CREDIT - 1, "reason": "x", "at": START, "key": f"{key} {hold.id}"}

        async with open_transaction(bank.database) as session:
            await ledger.refund(session, **refund("first"))
            rival: Rival[None] = Rival(bank.database, ledger.refund, refund("second"))
            await rival.waits()
        with pytest.raises(MoreThanCaptured, match=r"Only 0\.000001 credits"):
            await rival.answer()
        assert await bank.figures(allocation) == {"allocated": CREDIT, "captured": 1, "remaining": CREDIT - 1}

    async def test_credits_sent_crosswise_wait_in_the_order_of_ids(self, bank: Bank) -> None:
        mine, theirs = await bank.give(CREDIT), await bank.give(CREDIT, team=bank.other)

        def send(allocation: UUID, team: UUID) -> dict[str, Any]:
            return {
                "allocation_id": allocation,
                "to_team_id": team,
                "credits": 1,
                "reason": "x",
                "at": START,
                "key": f"send {new_id()}",
            }

        crossing = [values for _ in range(20) for values in (send(mine, bank.other), send(theirs, bank.team))]
        await asyncio.gather(*(bank.do(ledger.send_credits, **values) for values in crossing))
        for allocation in (mine, theirs):
            assert await bank.figures(allocation) == {
                "allocated": CREDIT,
                "sent": 20,
                "received": 20,
                "remaining": CREDIT,
            }
        await bank.assert_balanced()


class TestOneKeyFromManyCallers:
    async def test_everybody_gets_the_first_answer(self, bank: Bank) -> None:
        allocation = await bank.give(CALLERS * CREDIT)
        key = f"one key {bank.team}"
        calls = [bank.do(ledger.place_hold, **hold_of(bank, CREDIT, key=key)) for _ in range(CALLERS)]
        answers = await asyncio.gather(*calls)
        assert len({answer.id for answer in answers}) == 1
        assert len(set(answers)) == 1
        assert await bank.figures(allocation) == {
            "allocated": CALLERS * CREDIT,
            "held": CREDIT,
            "remaining": (CALLERS - 1) * CREDIT,
        }
        await bank.assert_balanced()

    async def test_with_other_inputs_one_wins_and_the_others_learn_it(self, bank: Bank) -> None:
        allocation = await bank.give(CALLERS * CALLERS * CREDIT)
        key = f"one key {bank.team}"
        calls = [bank.do(ledger.place_hold, **hold_of(bank, (n + 1) * CREDIT, key=key)) for n in range(CALLERS)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refusals = Counter(type(answer) for answer in answers if isinstance(answer, GuildhallError))
        assert refusals == {IdempotencyKeyReused: CALLERS - 1}
        (winner,) = [answer for answer in answers if isinstance(answer, Hold)]
        assert (await bank.figures(allocation))["held"] == winner.credits

    async def test_settlement(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        calls = [bank.do(settle_hold, **settlement_of(hold, 7, "same")) for _ in range(CALLERS)]
        assert set(await asyncio.gather(*calls)) == {Settlement(hold.id, 7, CREDIT - 7, 0)}
        assert await bank.figures(allocation) == {"allocated": CREDIT, "captured": 7, "remaining": CREDIT - 7}
