"""Unusual reading is told to the stewards of the data and to those whose role shows them alerts."""

from guildhall.auth.subjects import ActorKind
from guildhall.clock import new_id
from guildhall.inbox.kinds import EventKind
from registry.volume.tables import AccessAlert, BudgetAction
from registry.volume.telling import tell_alert
from tests.people import bind
from tests.registry.estate import DAY, registered
from tests.registry.house import House
from tests.told import facts_of, told


async def test_tells_stewards_auditors_and_the_owning_team_s_own(house: House) -> None:
    dataset_id = await registered(house)
    for name, role, team in (
        ("vera", "auditor", None),
        ("carl", "steward", house.teams["maintenance"]),
        ("quinn", "steward", house.teams["quality"]),
    ):
        await bind(house.session, ActorKind.USER, house.people[name], {role: [team]})
    alert = AccessAlert(
        id=new_id(), dataset_id=dataset_id, scope="PERSON", subject_id=house.people["paul"], window_seconds=DAY,
        window_start=house.at, action=BudgetAction.WARN, user_id=house.people["paul"], rows=5, bytes=5,
        message="Paul read much.", raised_at=house.at,
    )  # fmt: skip
    house.session.add(alert)
    await house.session.flush()
    await tell_alert(house.session, alert, at=house.at, new_id=new_id)
    title = "Unusual reading of maintenance/gauge-digits"
    assert await told(house.session, house.people) == [(title, ["carl", "mia", "vera"])]
    assert await facts_of(house.session, EventKind.ACCESS_ALERT) == {
        "dataset": "maintenance/gauge-digits",
        "action": "WARN",
        "message": "Paul read much.",
    }
