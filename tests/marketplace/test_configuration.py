from datetime import timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import func, select

from guildhall.auth.authorize import PermissionRefused
from guildhall.changes import Change, ChangeAction, Difference
from guildhall.errors import GuildhallError
from guildhall.slugs import InvalidSlug
from marketplace.configuration import (
    NamedTwice,
    PeriodEmpty,
    PeriodSetting,
    ProgrammeSetting,
    TitleMissing,
    apply_periods,
    apply_programmes,
)
from marketplace.tables import Period, Programme, StrategicClass
from tests.marketplace.bank import DAY, START
from tests.marketplace.market import Market

SAVE = ProgrammeSetting("save-energy", "Save energy", StrategicClass.C)


class TestApplyProgrammes:
    async def test_makes_changes_and_leaves_alone(self, market: Market) -> None:
        adam = market.actor("adam")
        known = ProgrammeSetting("zero-defects", "Zero defects", StrategicClass.B)
        assert await apply_programmes(market.session, adam, [SAVE, known], **market.now) == [
            Change(
                "Programme",
                "save-energy",
                ChangeAction.CREATED,
                (Difference("title", None, "Save energy"), Difference("strategic_class", None, "C")),
            ),
            Change("Programme", "zero-defects", ChangeAction.UPDATED, (Difference("strategic_class", "A", "B"),)),
        ]
        assert await apply_programmes(market.session, adam, [SAVE, known], **market.now) == [
            Change("Programme", "save-energy", ChangeAction.UNCHANGED),
            Change("Programme", "zero-defects", ChangeAction.UNCHANGED),
        ]
        stored = await market.session.execute(
            select(Programme.name, Programme.title, Programme.strategic_class).order_by(Programme.name)
        )
        assert [tuple(row) for row in stored] == [
            ("save-energy", "Save energy", "C"),
            ("zero-defects", "Zero defects", "B"),
        ]

    async def test_each_change_is_recorded_and_what_stays_is_not(self, market: Market) -> None:
        adam = market.actor("adam")
        for strategic_class in (StrategicClass.A, StrategicClass.D):
            item = ProgrammeSetting("zero-defects", "Zero defects", strategic_class)
            await apply_programmes(market.session, adam, [item], **market.now)
        (event,) = await market.audited()
        assert event.action == "marketplace:programme:change"
        assert (event.resource_types, event.resource_ids) == (["Programme"], [market.programme])
        assert event.before == {"title": "Zero defects", "strategic_class": "A"}
        assert event.after == {"name": "zero-defects", "title": "Zero defects", "strategic_class": "D"}

    @pytest.mark.parametrize(
        ("items", "refusal", "field"),
        [
            ([SAVE, SAVE], NamedTwice, "programmes.1.name"),
            ([ProgrammeSetting("Save Energy", "x", StrategicClass.A)], InvalidSlug, "programmes.0.name"),
            ([ProgrammeSetting("save", " ", StrategicClass.A)], TitleMissing, "programmes.0.title"),
            ([ProgrammeSetting("save", "x" * 201, StrategicClass.A)], TitleMissing, "programmes.0.title"),
        ],
    )
    async def test_what_makes_no_sense(
        self, market: Market, items: list[Any], refusal: type[GuildhallError], field: str
    ) -> None:
        with pytest.raises(refusal) as refused:
            await apply_programmes(market.session, market.actor("adam"), items, **market.now)
        assert refused.value.field == field

    @pytest.mark.parametrize("name", ["anna", "audrey", "mia"])
    async def test_others_may_not(self, market: Market, name: str) -> None:
        with pytest.raises(PermissionRefused):
            await apply_programmes(market.session, market.actor(name), [SAVE], **market.now)
        assert (await market.session.scalars(select(func.count()).select_from(Programme))).one() == 1


class TestApplyPeriods:
    async def test_makes_changes_and_leaves_alone(self, market: Market) -> None:
        alma = market.actor("alma")
        actions = []
        for ends_at in (START + DAY, START + 2 * DAY, START + 2 * DAY):
            changes = await apply_periods(market.session, alma, [PeriodSetting("q1", START, ends_at)], **market.now)
            actions += [(change.kind, change.name, change.action) for change in changes]
        assert actions == [
            ("Period", "q1", ChangeAction.CREATED),
            ("Period", "q1", ChangeAction.UPDATED),
            ("Period", "q1", ChangeAction.UNCHANGED),
        ]
        assert (await market.session.scalars(select(Period.ends_at))).one() == START + 2 * DAY

    async def test_a_period_ends_after_it_starts(self, market: Market) -> None:
        with pytest.raises(PeriodEmpty) as refused:
            await apply_periods(market.session, market.actor("alma"), [PeriodSetting("q1", START, START)], **market.now)
        assert refused.value.field == "periods.0.endsAt"

    async def test_the_same_moment_in_another_zone_is_no_change(self, market: Market) -> None:
        elsewhere = START.astimezone(timezone(timedelta(hours=9)))
        actions = [
            (
                await apply_periods(
                    market.session, market.actor("alma"), [PeriodSetting("q1", starts_at, START + DAY)], **market.now
                )
            )[0].action
            for starts_at in (START, elsewhere)
        ]
        assert actions == [ChangeAction.CREATED, ChangeAction.UNCHANGED]
