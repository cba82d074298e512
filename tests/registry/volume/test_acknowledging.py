"""An alert is closed with a note, by somebody who answers for the data or audits, and is not the reader."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import Actor, TokenUse
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.bindings import Binding
from guildhall.auth.policy import PolicySnapshot
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.clock import new_id
from guildhall.errors import GuildhallError, NotFound
from registry.volume.acknowledging import (
    ACKNOWLEDGE,
    AlreadyAcknowledged,
    ReaderCannotAcknowledge,
    acknowledge_alert,
)
from registry.volume.counting import Budget, CounterKey, Volume
from registry.volume.reserving import Alert, raise_alert
from registry.volume.tables import AccessAlert, BudgetAction, BudgetScope
from tests.registry.estate import DAY, registered
from tests.registry.house import House

NOTE = "He moved the archive, as agreed."


class Alarm:
    """Mia, a steward, reads much of her own data; Vera audits."""

    def __init__(self, house: House, dataset: UUID) -> None:
        self.house, self.dataset = house, dataset

    async def crossed(self, reader: str = "paul", rows: int = 5) -> UUID:
        """Raise the alert, or let it grow."""
        person = self.house.people[reader]
        key = CounterKey(self.dataset, "PERSON", person, DAY, self.house.at)
        budget = Budget(
            scope=BudgetScope.PERSON, window_seconds=DAY, rows_max=1, bytes_max=None, habit_factor=None,
            action=BudgetAction.WARN,
        )  # fmt: skip
        volume = Volume(budget=budget, key=key, rows=rows, bytes=9, rows_usual=None, bytes_usual=None)
        alert = Alert(volume=volume, user_id=person, team_id=None, message="Much.", raised_at=self.house.at)
        await raise_alert(self.house.session, alert, new_id=new_id)
        found = select(AccessAlert.id).where(AccessAlert.subject_id == person)
        return (await self.house.session.scalars(found)).one()

    async def close(self, actor: Actor, alert: UUID) -> None:
        await acknowledge_alert(
            self.house.session, actor, alert_id=alert, note=f" {NOTE} ", at=self.house.at, new_id=new_id
        )

    async def row(self, alert: UUID) -> tuple[Any, ...]:
        statement = select(AccessAlert).where(AccessAlert.id == alert).execution_options(populate_existing=True)
        row = (await self.house.session.scalars(statement)).one()
        return row.acknowledged_at, row.acknowledged_by, row.acknowledgement

    def holding(self, name: str, role: str, kind: ActorKind = ActorKind.USER) -> Actor:
        actor = replace(self.house.actor(name), kind=kind)
        rules = self.house.policy.rules
        bindings = {**rules.bindings, Subject(kind, actor.id): (Binding(role, None),)}
        return replace(actor, policy=PolicySnapshot(replace(rules, bindings=bindings)))


@pytest.fixture
async def alarm(house: House) -> Alarm:
    return Alarm(house, await registered(house))


class TestAcknowledgeAlert:
    @pytest.mark.parametrize("by", ["a steward", "an auditor"])
    async def test_is_on_the_record(self, alarm: Alarm, by: str) -> None:
        alert = await alarm.crossed()
        actor = alarm.house.actor("mia") if by == "a steward" else alarm.holding("vera", "auditor")
        await alarm.close(actor, alert)
        assert await alarm.row(alert) == (alarm.house.at, actor.id, NOTE)
        statement = select(AuditEvent).where(AuditEvent.action == ACKNOWLEDGE)
        event = (await alarm.house.session.scalars(statement)).one()
        assert event.resource_types == ["AccessAlert", "Dataset"]
        assert event.after == {"note": NOTE, "rows": 5, "bytes": 9}
        with pytest.raises(AlreadyAcknowledged):
            await alarm.close(actor, alert)

    async def test_never_by_the_reader_nor_by_a_program(self, alarm: Alarm) -> None:
        alert = await alarm.crossed("mia")
        for actor in (alarm.house.actor("mia"), alarm.holding("vera", "auditor", ActorKind.SERVICE_ACCOUNT)):
            with pytest.raises(ReaderCannotAcknowledge):
                await alarm.close(actor, alert)
        assert await alarm.row(alert) == (None, None, None)

    async def test_by_nobody_else(self, alarm: Alarm) -> None:
        alert = await alarm.crossed()
        attempts: list[tuple[Actor, UUID, type[GuildhallError]]] = [
            (alarm.house.actor("quinn"), alert, NotFound),
            (alarm.house.actor("mia"), new_id(), NotFound),
            (replace(alarm.house.actor("mia"), token=TokenUse(new_id(), None, roles=("viewer",))), alert, NotFound),
        ]
        rules = alarm.house.policy.rules
        auditor = replace(rules.roles["auditor"], allowed=rules.roles["auditor"].allowed - {ACKNOWLEDGE})
        reading = alarm.holding("vera", "auditor")
        seeing = replace(reading.policy.rules, roles={**rules.roles, "auditor": auditor})
        attempts.append((replace(reading, policy=PolicySnapshot(seeing)), alert, PermissionRefused))
        for actor, key, error in attempts:
            with pytest.raises(error):
                await alarm.close(actor, key)
        assert await alarm.row(alert) == (None, None, None)

    async def test_what_grows_is_open_again(self, alarm: Alarm) -> None:
        alert = await alarm.crossed()
        await alarm.close(alarm.house.actor("mia"), alert)
        assert await alarm.crossed(rows=8) == alert
        assert await alarm.row(alert) == (None, None, None)
