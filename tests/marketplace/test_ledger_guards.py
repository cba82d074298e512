"""What raw SQL under the service's role tries to break."""

from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from guildhall.clock import new_id
from marketplace.tables import EXPIRED_ID, POOL_REVENUE_ID, ROYALTIES_ID, TREASURY_ID
from tests.marketplace.bank import CREDIT, DAY, START, Bank

OWNERS_RULE = r"a record|a balance|placed whole|a transfer reaches|not_negative"
LEDGER_TABLES = ("transfers", "balances", "accounts", "allocations", "holds", "hold_resolutions", "ledger_operations")


def insert_transfer(**changed: Any) -> tuple[str, dict[str, Any]]:
    """A raw INSERT of a transfer; by default one that moves a credit from the treasury."""
    values = {
        "id": new_id(),
        "occurred_at": START,
        "kind": "ALLOCATION",
        "phase": "POSTED",
        "from_account_id": TREASURY_ID,
        "credits": CREDIT,
        "reason": "raw",
        **changed,
    }
    return f"INSERT INTO transfers ({', '.join(values)}) VALUES ({', '.join(f':{name}' for name in values)})", values


class TestRawSqlOfTheService:
    @pytest.mark.parametrize("table", LEDGER_TABLES)
    @pytest.mark.parametrize("statement", ["DELETE FROM {}", "TRUNCATE {} CASCADE", "DROP TABLE {} CASCADE"])
    async def test_takes_no_row_away(self, bank: Bank, table: str, statement: str) -> None:
        await bank.hold_and_settle()
        before = await bank.state()
        with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
            await bank.raw(statement.format(table))
        assert await bank.state() == before

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE transfers SET credits = credits - 1",
            "UPDATE transfers SET reason = 'another'",
            "UPDATE balances SET allocated = allocated + 1, version = version + 1",
            "UPDATE balances SET held = 0",
            "INSERT INTO balances VALUES (:id, 0, 0, 0, 0, 0, 0, 0, 0)",
            "INSERT INTO accounts VALUES (:id, 'ALLOCATION')",
            "INSERT INTO holds VALUES (:id, :team, :programme, NULL, 0, CAST(:start AS timestamptz), :until)",
            "INSERT INTO hold_resolutions SELECT id, 'VOIDED', 0, credits, 0, 'x', :start FROM holds",
            "INSERT INTO ledger_operations VALUES ('mine', 'allocate', '', '{}', :start)",
            "UPDATE allocations SET valid_to = valid_to + interval '1 year'",
            "UPDATE holds SET credits = 0",
            "ALTER TABLE transfers DISABLE TRIGGER ALL",
            "DROP TRIGGER transfers_apply ON transfers",
            "SELECT ledger_open_allocation(:id, :team, :programme, NULL, :start, :until, 'x', :start)",
            "SELECT ledger_resolve_hold('k', 'void_hold', :id, id, 'VOIDED', 0, :start, 'x') FROM holds",
        ],
    )
    async def test_writes_nothing_but_transfers(self, bank: Bank, statement: str) -> None:
        await bank.give(CREDIT)
        await bank.hold(CREDIT)
        before = await bank.state()
        given = {"id": new_id(), "team": bank.team, "programme": bank.programme, "start": START, "until": START + DAY}
        used = {name: value for name, value in given.items() if f":{name}" in statement}
        with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
            await bank.raw(statement, **used)
        assert await bank.state() == before

    @pytest.mark.parametrize("credits", [0, -1, -CREDIT, None, 10**18 + 1])
    async def test_a_transfer_has_a_positive_amount(self, bank: Bank, credits: int | None) -> None:
        allocation = await bank.give(CREDIT)
        await bank.refuses(*insert_transfer(to_account_id=allocation, credits=credits))

    @pytest.mark.parametrize(
        "changed",
        [
            {"to_account_id": None},
            {"from_account_id": None},
            {"from_account_id": None, "to_account_id": None},
            {"to_account_id": TREASURY_ID},
            {"to_account_id": POOL_REVENUE_ID},
            {"to_account_id": EXPIRED_ID},
            {"from_account_id": POOL_REVENUE_ID},
            {"from_account_id": ROYALTIES_ID},
            {"from_account_id": EXPIRED_ID},
            {"to_account_id": "unknown"},
            {"kind": "GIFT"},
            {"kind": "HOLD"},
            {"kind": "REFUND"},
            {"kind": "EXPIRY"},
            {"kind": "RETURN"},
            {"kind": "SEND"},
            {"phase": "PENDING"},
            {"phase": "VOIDED"},
            {"reason": ""},
            {"reason": None},
            {"occurred_at": None},
            {"kind": "CAPTURE"},
            {"kind": "RELEASE", "phase": "VOIDED"},
            {"pending_id": "unknown"},
            {"refunds_id": "unknown"},
            {"hold_id": "unknown"},
        ],
    )
    async def test_a_transfer_has_two_fitting_sides(self, bank: Bank, changed: dict[str, Any]) -> None:
        allocation = await bank.give(CREDIT)
        values = {name: new_id() if value == "unknown" else value for name, value in changed.items()}
        await bank.refuses(*insert_transfer(**{"to_account_id": allocation, **values}))

    async def test_an_own_version_or_pending_amount_does_not_count(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        statement, values = insert_transfer(
            to_account_id=allocation, from_version=77, to_version=77, pending_credits=CREDIT
        )
        await bank.raw(statement, **values)
        assert await bank.figures(allocation) == {"allocated": 2 * CREDIT, "remaining": 2 * CREDIT}
        await bank.assert_balanced()

    async def test_a_raw_transfer_reaches_the_balance(self, bank: Bank) -> None:
        """Money from nowhere is the treasury's, and stands in the books: the role may INSERT, but not unbalance."""
        allocation = await bank.give(CREDIT)
        statement, values = insert_transfer(kind="RETURN", from_account_id=allocation, to_account_id=TREASURY_ID)
        await bank.raw(statement, **values)
        assert await bank.figures(allocation) == {"allocated": CREDIT, "returned": CREDIT}
        await bank.assert_balanced()

    async def test_no_account_goes_below_zero(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        await bank.hold(1)
        for kind, target in (("RETURN", TREASURY_ID), ("SEND", await bank.give(1, team=bank.other))):
            await bank.refuses(
                *insert_transfer(kind=kind, from_account_id=allocation, to_account_id=target),
                match="ck_balances_remaining_not_negative",
            )

    async def test_credits_do_not_expire_before_their_time(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT, days=1)
        early = {"kind": "EXPIRY", "from_account_id": allocation, "to_account_id": EXPIRED_ID}
        await bank.refuses(*insert_transfer(**early), match="not before")
        statement, values = insert_transfer(**early, occurred_at=START + DAY)
        await bank.raw(statement, **values)
        assert await bank.figures(allocation) == {"allocated": CREDIT, "expired": CREDIT}

    async def test_credits_keep_programme_and_times_between_teams(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        elsewhere = await bank.give(1, team=bank.other, programme=await bank.new_programme(new_id()))
        longer = await bank.give(1, team=bank.other, days=11)
        same_team = await bank.give(1)
        for target in (elsewhere, longer, same_team):
            await bank.refuses(
                *insert_transfer(kind="SEND", from_account_id=allocation, to_account_id=target, credits=1),
                match="keep their programme and times",
            )

    async def test_a_send_both_ways_at_raw_keeps_the_order_of_locks(self, bank: Bank) -> None:
        low, high = sorted([await bank.give(CREDIT), await bank.give(CREDIT, team=bank.other)])
        for source, target in ((low, high), (high, low)):
            statement, values = insert_transfer(kind="SEND", from_account_id=source, to_account_id=target, credits=1)
            await bank.raw(statement, **values)
        for allocation in (low, high):
            assert await bank.figures(allocation) == {
                "allocated": CREDIT,
                "sent": 1,
                "received": 1,
                "remaining": CREDIT,
            }
        await bank.assert_balanced()


class TestRawSqlOnHolds:
    async def test_a_hold_resolves_once(self, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        pending = await bank.pending(hold.id)
        await bank.settle(hold.id, 1)
        resolve = {
            "from_account_id": allocation,
            "to_account_id": POOL_REVENUE_ID,
            "pending_id": pending,
            "hold_id": hold.id,
        }
        await bank.refuses(*insert_transfer(kind="CAPTURE", credits=1, **resolve))
        await bank.refuses(*insert_transfer(kind="RELEASE", phase="VOIDED", **resolve))

    async def test_two_resolutions_collide_on_their_key(self, bank: Bank) -> None:
        """Enough is held by another hold, so that no balance would go below zero."""
        allocation = await bank.give(3 * CREDIT)
        hold = await bank.hold(CREDIT)
        await bank.hold(2 * CREDIT)
        pending = await bank.pending(hold.id)
        await bank.settle(hold.id, CREDIT)
        await bank.refuses(
            *insert_transfer(
                kind="CAPTURE",
                from_account_id=allocation,
                to_account_id=POOL_REVENUE_ID,
                pending_id=pending,
                hold_id=hold.id,
            ),
            match="uq_transfers_pending_id",
        )

    @pytest.mark.parametrize(("kind", "phase"), [("CAPTURE", "POSTED"), ("RELEASE", "VOIDED"), ("RELEASE", "EXPIRED")])
    async def test_not_behind_the_back_of_its_resolution(self, bank: Bank, kind: str, phase: str) -> None:
        allocation = await bank.give(CREDIT)
        hold = await bank.hold(CREDIT)
        await bank.refuses(
            *insert_transfer(
                kind=kind,
                phase=phase,
                from_account_id=allocation,
                to_account_id=POOL_REVENUE_ID,
                pending_id=await bank.pending(hold.id),
                hold_id=hold.id,
            ),
            match="placed whole and resolved whole",
        )

    async def test_no_more_is_posted_than_was_held(self, bank: Bank) -> None:
        allocation = await bank.give(10 * CREDIT)
        hold = await bank.hold(CREDIT)
        await bank.refuses(
            *insert_transfer(
                kind="CAPTURE",
                credits=CREDIT + 1,
                from_account_id=allocation,
                to_account_id=POOL_REVENUE_ID,
                pending_id=await bank.pending(hold.id),
                hold_id=hold.id,
            ),
            match="phase, sides, references and reason",
        )

    async def test_a_release_gives_back_all(self, bank: Bank) -> None:
        allocation = await bank.give(10 * CREDIT)
        hold = await bank.hold(CREDIT)
        await bank.refuses(
            *insert_transfer(
                kind="RELEASE",
                phase="VOIDED",
                credits=CREDIT - 1,
                from_account_id=allocation,
                to_account_id=POOL_REVENUE_ID,
                pending_id=await bank.pending(hold.id),
                hold_id=hold.id,
            ),
            match="phase, sides, references and reason",
        )

    async def test_only_what_is_pending_resolves(self, bank: Bank) -> None:
        allocation = await bank.give(10 * CREDIT)
        other = await bank.give(10 * CREDIT, team=bank.other)
        await bank.give(10 * CREDIT, team=bank.other)
        for team in (bank.team, bank.other):
            await bank.hold(5 * CREDIT, team=team)  # so that enough is held for another release
        hold = await bank.hold(CREDIT)
        pending = await bank.pending(hold.id)
        to_revenue = {"kind": "CAPTURE", "to_account_id": POOL_REVENUE_ID, "hold_id": hold.id}
        await bank.settle(hold.id, CREDIT)
        capture = await bank.pending(hold.id, kind="CAPTURE")
        for changed in (
            {"from_account_id": allocation, "pending_id": capture},
            {"from_account_id": other, "pending_id": pending},
        ):
            await bank.refuses(*insert_transfer(**to_revenue, **changed), match="only a pending transfer")

    async def test_a_hold_is_not_drawn_out(self, bank: Bank) -> None:
        allocation = await bank.give(10 * CREDIT)
        hold = await bank.hold(CREDIT)
        await bank.refuses(
            *insert_transfer(
                kind="HOLD", phase="PENDING", from_account_id=allocation, to_account_id=POOL_REVENUE_ID, hold_id=hold.id
            ),
            match="placed whole",
        )

    async def test_a_hold_draws_from_its_own_team_and_programme_while_they_are_valid(self, bank: Bank) -> None:
        allocation = await bank.give(10 * CREDIT)
        hold = await bank.hold(CREDIT)
        foreign = await bank.give(CREDIT, team=bank.other)
        elsewhere = await bank.give(CREDIT, programme=await bank.new_programme(new_id()))
        drawing = {"kind": "HOLD", "phase": "PENDING", "to_account_id": POOL_REVENUE_ID, "hold_id": hold.id}
        for source in (foreign, elsewhere):
            await bank.refuses(*insert_transfer(**drawing, from_account_id=source), match="own team and programme")
        for moment in (START - DAY, START + 10 * DAY):
            await bank.refuses(
                *insert_transfer(**drawing, from_account_id=allocation, occurred_at=moment), match="valid allocations"
            )

    async def test_a_refund_names_its_capture_and_gives_back_no_more(self, bank: Bank) -> None:
        allocation = await bank.give(10 * CREDIT)
        other = await bank.give(10 * CREDIT, days=20)
        hold, second = await bank.hold(CREDIT), await bank.hold(5 * CREDIT)
        pending = await bank.pending(hold.id)
        await bank.settle(hold.id, CREDIT)
        await bank.settle(second.id, 5 * CREDIT)
        capture = await bank.pending(hold.id, kind="CAPTURE")
        refund = {
            "kind": "REFUND",
            "from_account_id": POOL_REVENUE_ID,
            "to_account_id": allocation,
            "refunds_id": capture,
            "hold_id": hold.id,
        }
        statement, values = insert_transfer(**{**refund, "credits": CREDIT - 1})
        await bank.raw(statement, **values)
        for changed in (
            {"credits": 2},
            {"credits": 1, "refunds_id": pending},
            {"credits": 1, "hold_id": second.id},
        ):
            await bank.refuses(*insert_transfer(**{**refund, **changed}), match="a refund gives back")
        await bank.refuses(*insert_transfer(**{**refund, "credits": 1, "to_account_id": other}))
        statement, values = insert_transfer(**{**refund, "credits": 1})
        await bank.raw(statement, **values)
        assert (await bank.figures(allocation))["captured"] == 5 * CREDIT
        await bank.assert_balanced()
