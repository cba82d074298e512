from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from guildhall.auth.authorize import PermissionRefused
from guildhall.clock import new_id
from guildhall.errors import NotFound
from marketplace import wallets
from marketplace.ledger_refusals import CreditsOutOfRange, InsufficientCredits, MoreThanCaptured, UnknownAllocation
from marketplace.programmes import UnknownPeriod, UnknownProgramme, UnknownTeam
from marketplace.tables import Allocation, Balance, Period, Transfer
from marketplace.wallets import NothingCharged, ReasonMissing, TimesInvalid
from tests.marketplace.bank import CREDIT, DAY, START
from tests.marketplace.market import Market


async def remaining(market: Market, allocation_id: object) -> int:
    return (await market.session.scalars(select(Balance.remaining).where(Balance.account_id == allocation_id))).one()


async def transfers(market: Market) -> int:
    return (await market.session.scalars(select(func.count()).select_from(Transfer))).one()


def gift(**changed: Any) -> dict[str, Any]:
    return {
        "team": "maintenance",
        "programme": "zero-defects",
        "credits": 5 * CREDIT,
        "valid_from": START,
        "valid_to": START + 30 * DAY,
        "reason": "Two hundred gauges wait.",
        **changed,
    }


class TestAllocateCredits:
    async def test_an_allocator_gives_and_it_is_recorded(self, market: Market) -> None:
        market.session.add(Period(id=new_id(), name="q1", starts_at=START, ends_at=START + DAY, created_at=START))
        allocation_id = await wallets.allocate_credits(
            market.session, market.actor("alma"), **gift(period="q1"), **market.now
        )
        assert await remaining(market, allocation_id) == 5 * CREDIT
        (event,) = await market.audited()
        assert (event.action, event.outcome, event.team_id) == (
            "marketplace:credits:allocate",
            "ALLOWED",
            market.teams["maintenance"],
        )
        assert event.resource_types == ["Allocation", "Team", "Programme"]
        assert event.resource_ids == [allocation_id, market.teams["maintenance"], market.programme]
        assert event.justification == "Two hundred gauges wait."
        assert event.after == {
            "credits": "5",
            "validFrom": START.isoformat(),
            "validTo": (START + 30 * DAY).isoformat(),
        }

    @pytest.mark.parametrize("name", ["anna", "audrey", "adam", "mia"])
    async def test_others_may_not(self, market: Market, name: str) -> None:
        with pytest.raises(PermissionRefused, match="Ask an administrator for the role allocator"):
            await wallets.allocate_credits(market.session, market.actor(name), **gift(), **market.now)
        assert await transfers(market) == 0

    @pytest.mark.parametrize(
        ("changed", "refusal", "field"),
        [
            ({"team": "nobody"}, UnknownTeam, "team"),
            ({"programme": "nothing"}, UnknownProgramme, "programme"),
            ({"period": "never"}, UnknownPeriod, "period"),
            ({"credits": 0}, CreditsOutOfRange, "credits"),
            ({"credits": -5}, CreditsOutOfRange, "credits"),
            ({"credits": 10**18 + 1}, CreditsOutOfRange, "credits"),
            ({"reason": "  "}, ReasonMissing, "reason"),
            ({"reason": "x" * 1001}, ReasonMissing, "reason"),
            ({"valid_to": START}, TimesInvalid, "validTo"),
            ({"valid_from": START - 2 * DAY, "valid_to": START}, TimesInvalid, "validTo"),
        ],
    )
    async def test_what_makes_no_sense_is_one_sentence_about_its_field(
        self, market: Market, changed: dict[str, Any], refusal: type[Exception], field: str
    ) -> None:
        with pytest.raises(refusal) as refused:
            await wallets.allocate_credits(market.session, market.actor("alma"), **gift(**changed), **market.now)
        assert refused.value.field == field  # type: ignore[attr-defined]
        assert refused.value.message.endswith((".", "!"))  # type: ignore[attr-defined]
        assert await transfers(market) == 0
        assert await market.audited() == []


class TestAvailableCredits:
    async def test_counts_what_a_hold_could_draw_on_at_that_moment(self, market: Market) -> None:
        await market.give("maintenance", 3 * CREDIT, days=1)
        await market.give("maintenance", 5 * CREDIT, days=2)
        await market.give("quality", 7 * CREDIT)
        wanted: dict[str, Any] = {"team_id": market.teams["maintenance"], "programme_id": market.programme}
        moments = [START - timedelta(microseconds=1), START, START + DAY, START + 2 * DAY]
        found = [await wallets.available_credits(market.session, **wanted, at=moment) for moment in moments]
        assert found == [0, 8 * CREDIT, 5 * CREDIT, 0]


class TestRequireAvailable:
    async def test_names_the_sum_that_is_missing_and_the_wallet(self, market: Market) -> None:
        await market.give("maintenance", 3 * CREDIT)
        wanted: dict[str, Any] = {
            "team_id": market.teams["maintenance"],
            "programme_id": market.programme,
            "at": START,
            "field": "job",
        }
        await wallets.require_available(market.session, credits=3 * CREDIT, **wanted)
        with pytest.raises(InsufficientCredits) as refused:
            await wallets.require_available(market.session, credits=5 * CREDIT + 500_000, **wanted)
        assert refused.value.message == (
            "2.5 credits are missing: the wallet of team maintenance for programme zero-defects has 3 available."
        )
        assert refused.value.field == "job"


class TestReturnTeamCredits:
    async def test_the_team_hands_back_and_it_is_recorded(self, market: Market) -> None:
        allocation_id = await market.give("maintenance")
        returned: dict[str, Any] = {"allocation_id": allocation_id, "credits": 4 * CREDIT, "reason": "We are done."}
        await wallets.return_team_credits(market.session, market.actor("anna"), **returned, **market.now)
        assert await remaining(market, allocation_id) == 6 * CREDIT
        (event,) = await market.audited()
        assert (event.action, event.after) == ("marketplace:credits:send", {"returned": "4"})

    async def test_a_viewer_sees_but_may_not(self, market: Market) -> None:
        allocation_id = await market.give("maintenance")
        returned: dict[str, Any] = {"allocation_id": allocation_id, "credits": CREDIT, "reason": "x"}
        with pytest.raises(PermissionRefused):
            await wallets.return_team_credits(market.session, market.actor("vera"), **returned, **market.now)
        assert await remaining(market, allocation_id) == 10 * CREDIT

    @pytest.mark.parametrize("name", ["quinn", "mia"])
    async def test_for_others_it_is_not_there(self, market: Market, name: str) -> None:
        allocation_id = await market.give("maintenance")
        returned: dict[str, Any] = {"allocation_id": allocation_id, "credits": CREDIT, "reason": "x"}
        with pytest.raises(UnknownAllocation):
            await wallets.return_team_credits(market.session, market.actor(name), **returned, **market.now)
        assert await remaining(market, allocation_id) == 10 * CREDIT

    async def test_without_a_reason(self, market: Market) -> None:
        allocation_id = await market.give("maintenance")
        returned: dict[str, Any] = {"allocation_id": allocation_id, "credits": CREDIT, "reason": ""}
        with pytest.raises(ReasonMissing):
            await wallets.return_team_credits(market.session, market.actor("anna"), **returned, **market.now)
        assert await market.audited() == []


class TestSendTeamCredits:
    async def test_another_team_receives_them(self, market: Market) -> None:
        allocation_id = await market.give("maintenance")
        sent: dict[str, Any] = {
            "allocation_id": allocation_id,
            "to_team": "quality",
            "credits": 4 * CREDIT,
            "reason": "They run it.",
        }
        source, target = await wallets.send_team_credits(market.session, market.actor("anna"), **sent, **market.now)
        assert source == allocation_id
        assert (await remaining(market, source), await remaining(market, target)) == (6 * CREDIT, 4 * CREDIT)
        (event,) = await market.audited()
        assert event.after == {"sent": "4", "toTeam": "quality"}

    async def test_to_a_team_that_is_not_there(self, market: Market) -> None:
        allocation_id = await market.give("maintenance")
        sent: dict[str, Any] = {"allocation_id": allocation_id, "to_team": "nobody", "credits": CREDIT, "reason": "x"}
        with pytest.raises(UnknownTeam) as refused:
            await wallets.send_team_credits(market.session, market.actor("anna"), **sent, **market.now)
        assert refused.value.field == "toTeam"

    async def test_an_amount_that_is_none(self, market: Market) -> None:
        allocation_id = await market.give("maintenance")
        sent: dict[str, Any] = {"allocation_id": allocation_id, "to_team": "quality", "credits": -CREDIT, "reason": "x"}
        with pytest.raises(CreditsOutOfRange):
            await wallets.send_team_credits(market.session, market.actor("anna"), **sent, **market.now)
        assert await remaining(market, allocation_id) == 10 * CREDIT


class TestRefundCharge:
    async def test_an_allocator_corrects_a_charge(self, market: Market) -> None:
        allocation_id = await market.give("maintenance")
        job_id = await market.charge("maintenance", 4 * CREDIT)
        refund: dict[str, Any] = {"job_id": job_id, "credits": CREDIT, "reason": "The node was slow."}
        await wallets.refund_charge(market.session, market.actor("alma"), **refund, **market.now)
        assert await remaining(market, allocation_id) == 7 * CREDIT
        (event,) = await market.audited()
        assert (event.action, event.after, event.resource_ids[0]) == (
            "marketplace:credits:refund",
            {"refunded": "1"},
            job_id,
        )

    async def test_the_team_itself_may_not(self, market: Market) -> None:
        allocation_id = await market.give("maintenance")
        refund: dict[str, Any] = {"job_id": await market.charge("maintenance", CREDIT), "credits": 1, "reason": "x"}
        with pytest.raises(PermissionRefused):
            await wallets.refund_charge(market.session, market.actor("anna"), **refund, **market.now)
        assert await remaining(market, allocation_id) == 9 * CREDIT

    async def test_of_another_team_it_is_not_there(self, market: Market) -> None:
        await market.give("maintenance")
        refund: dict[str, Any] = {"job_id": await market.charge("maintenance", CREDIT), "credits": 1, "reason": "x"}
        with pytest.raises(NothingCharged) as refused:
            await wallets.refund_charge(market.session, market.actor("quinn"), **refund, **market.now)
        assert isinstance(refused.value, NotFound)

    async def test_after_a_full_refund_it_says_so(self, market: Market) -> None:
        allocation_id = await market.give("maintenance")
        job_id = await market.charge("maintenance", CREDIT)
        refund: dict[str, Any] = {"job_id": job_id, "credits": CREDIT, "reason": "x"}
        await wallets.refund_charge(market.session, market.actor("alma"), **refund, **market.now)
        with pytest.raises(MoreThanCaptured) as refused:
            await wallets.refund_charge(market.session, market.actor("alma"), **refund, **market.now)
        assert refused.value.message == "Nothing is left to refund: all that was charged was refunded already."
        assert await remaining(market, allocation_id) == 10 * CREDIT

    async def test_of_a_job_that_was_never_charged(self, market: Market) -> None:
        await market.give("maintenance")
        job_id = new_id()
        await market.hold("maintenance", 1, job_id=job_id)
        with pytest.raises(NothingCharged):
            await wallets.refund_charge(
                market.session, market.actor("alma"), job_id=job_id, credits=1, reason="x", **market.now
            )


class TestVisibleAllocations:
    @pytest.mark.parametrize(
        ("name", "want"),
        [("anna", 1), ("vera", 1), ("quinn", 1), ("alma", 2), ("audrey", 2), ("adam", 2), ("mia", 0)],
    )
    async def test_wallets_of_own_teams_or_of_all(self, market: Market, name: str, want: int) -> None:
        await market.give("maintenance")
        await market.give("quality")
        found = await market.session.scalars(
            select(Allocation.id).where(wallets.visible_allocations(market.actor(name)))
        )
        assert len(found.all()) == want
