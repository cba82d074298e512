"""Who would be let do something: as the policy decides, and only people who are still here."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import insert, update

from guildhall.auth.policy import PolicySnapshot
from guildhall.auth.policy_reading import load_rules
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import Role, RoleBinding, RolePermission, Team, User
from guildhall.clock import new_id
from guildhall.db.transaction import WriteSession
from guildhall.inbox.recipients import people_who_may
from tests.conftest import MONDAY_MORNING
from tests.people import make_service_account, make_team, make_user

SPEND, READ = "marketplace:credits:spend", "registry:dataset:read"
HOUR = timedelta(hours=1)


@pytest.fixture
async def teams(session: WriteSession) -> dict[str, UUID]:
    """`works` above `press`, and `yard` beside them."""
    made = {name: await make_team(session, name) for name in ("works", "press", "yard")}
    await session.execute(update(Team).where(Team.id == made["press"]).values(parent_id=made["works"]))
    return made


async def hold(session: WriteSession, person: UUID, role: str, team: UUID, **when: object) -> None:
    row = {"id": new_id(), "subject_kind": "USER", "subject_id": person, "team_id": team, "role": role}
    await session.execute(insert(RoleBinding), [{**row, "created_at": MONDAY_MORNING, **when}])


async def test_roles_of_the_team_above_it_and_of_the_organisation_count(
    session: WriteSession, teams: dict[str, UUID]
) -> None:
    people = {
        "here": await make_user(session, "here", roles={"contributor": [teams["press"]]}),
        "above": await make_user(session, "above", roles={"maintainer": [teams["works"]]}),
        "everywhere": await make_user(session, "everywhere", roles={"contributor": [None]}),
    }
    await make_user(session, "beside", roles={"contributor": [teams["yard"]]})
    await make_user(session, "looks", roles={"viewer": [teams["press"]]})
    await make_service_account(session, "program", teams["press"], roles=["contributor"])
    found = await people_who_may(session, SPEND, team_id=teams["press"], at=MONDAY_MORNING)
    assert found == set(people.values())
    members = await people_who_may(session, SPEND, team_id=teams["press"], at=MONDAY_MORNING, members=True)
    assert members == {people["here"]}
    assert await people_who_may(session, SPEND, team_id=teams["works"], at=MONDAY_MORNING) == {
        people["above"],
        people["everywhere"],
    }


async def test_a_denial_and_a_departure_count_too(session: WriteSession, teams: dict[str, UUID]) -> None:
    await session.execute(insert(Role), [{"name": "thrifty", "sentence": "Spends nothing.", "custom": True}])
    await session.execute(insert(RolePermission), [{"role": "thrifty", "permission": SPEND, "effect": "deny"}])
    roles: dict[str, list[UUID | None]] = {"contributor": [teams["press"]], "thrifty": [None]}
    await make_user(session, "denied", roles=roles)
    gone = await make_user(session, "gone", roles={"contributor": [teams["press"]]})
    await session.execute(update(User).where(User.id == gone).values(deactivated_at=MONDAY_MORNING))
    assert await people_who_may(session, SPEND, team_id=teams["press"], at=MONDAY_MORNING) == set()


async def test_a_temporary_role_counts_in_its_time(session: WriteSession, teams: dict[str, UUID]) -> None:
    person = await make_user(session, "stands-in")
    when = {"starts_at": MONDAY_MORNING, "ends_at": MONDAY_MORNING + HOUR}
    await hold(session, person, "contributor", teams["press"], **when)
    found = [
        await people_who_may(session, SPEND, team_id=teams["press"], at=MONDAY_MORNING + step)
        for step in (-HOUR, timedelta(), HOUR)
    ]
    assert found == [set(), {person}, set()]


async def test_it_agrees_with_the_compiled_policy(session: WriteSession, teams: dict[str, UUID]) -> None:
    places = [*teams.values(), None]
    for number, role in enumerate(("viewer", "contributor", "maintainer", "steward", "allocator", "auditor")):
        for place in places:
            await make_user(session, f"p{number}-{places.index(place)}", roles={role: [place]})
    policy = PolicySnapshot(await load_rules(session), at=MONDAY_MORNING)
    for permission in (SPEND, READ, "registry:alert:read", "marketplace:credits:allocate"):
        for team in teams.values():
            decided = {
                subject.id
                for subject in policy.rules.bindings
                if subject.kind is ActorKind.USER and policy.may(Subject(ActorKind.USER, subject.id), permission, team)
            }
            assert await people_who_may(session, permission, team_id=team, at=MONDAY_MORNING) == decided
