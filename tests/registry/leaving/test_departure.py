"""Leaving: what a person could do ends in one transaction, and nothing that they answered for is orphaned."""

from typing import Any

import pytest
from sqlalchemy import select

from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import Actor, system_actor
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.bindings import Binding
from guildhall.auth.policy import PolicyRules, PolicySnapshot
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import RoleBinding, User
from guildhall.clock import new_id
from guildhall.errors import GuildhallError, InvalidInput, NotFound
from registry.access.reviewers import name_reviewers
from registry.access.tables import AccessGrant, ReviewSubject, RiskReviewer
from registry.datasets.tables import Classification, DatasetSteward
from registry.leaving.departure import (
    AlreadyLeft,
    Departure,
    NotYourself,
    SuccessorRequired,
    deactivate_person,
)
from registry.models.tables import RiskTier
from tests.registry.estate import dataset_ref, granted, registered
from tests.registry.house import House


def administrator(house: House, name: str = "anna") -> Actor:
    rules = house.policy.rules
    roles = {**rules.roles}
    subject = Subject(ActorKind.USER, house.people[name])
    policy = PolicySnapshot(
        PolicyRules(version=2, roles=roles, bindings={subject: (Binding("administrator", None),)}, teams=rules.teams)
    )
    return Actor(kind=ActorKind.USER, id=house.people[name], name=name, policy=policy)


async def leave(house: House, who: str = "mia", *, by: Actor | None = None, **given: Any) -> Departure:
    values: dict[str, Any] = {"successor": None, "reason": "She has left.", **given}
    values.setdefault("user_id", house.people[who])
    return await deactivate_person(house.session, by or administrator(house), at=house.at, new_id=new_id, **values)


async def governed(house: House) -> None:
    """Anna governs for good, as the database has it."""
    house.session.add(
        RoleBinding(
            id=new_id(), subject_kind="USER", subject_id=house.people["anna"], team_id=None, role="administrator",
            created_at=house.at, created_by=house.people["anna"],
        )
    )  # fmt: skip
    await house.session.flush()


async def stewards(house: House) -> set[Any]:
    return set((await house.session.scalars(select(DatasetSteward.user_id))).all())


class TestHandover:
    async def test_all_ends_and_all_is_handed_over(self, house: House) -> None:
        await governed(house)
        dataset_id = await registered(house)
        mine = await granted(house, [dataset_ref(dataset_id)], by="quinn", email="paul@example.org")
        house.session.add(
            RoleBinding(
                id=new_id(), subject_kind="USER", subject_id=house.people["paul"], team_id=None, role="auditor",
                created_at=house.at, created_by=house.people["anna"],
            )
        )  # fmt: skip
        await house.session.flush()
        left = await leave(house, "paul")
        assert (left.roles, left.access_grants, left.datasets) == (1, (mine,), ())
        grant = await house.session.get_one(AccessGrant, mine, populate_existing=True)
        assert (grant.withdrawn_at, grant.withdrawn_by) == (house.at, house.people["anna"])
        assert (await house.session.get_one(User, house.people["paul"])).deactivated_at == house.at

    async def test_stewardship_goes_to_the_successor(self, house: House) -> None:
        await governed(house)
        dataset_id = await registered(house)
        left = await leave(house, successor="carl@example.org")
        assert left.datasets == (dataset_id,)
        assert await stewards(house) == {house.people["carl"]}
        (event,) = await house.events("guildhall:user:change")
        assert event.resource_ids == [house.people["mia"], dataset_id]
        assert event.after is not None
        assert event.after["successor"] == str(house.people["carl"])

    async def test_reviews_go_with_it(self, house: House) -> None:
        await governed(house)
        await name_reviewers(
            house.session,
            administrator(house),
            risk_tier=RiskTier.HIGH,
            subject=ReviewSubject.ETHICS,
            people=["mia@example.org"],
            at=house.at,
            new_id=new_id,
        )
        with pytest.raises(SuccessorRequired, match="Nobody else reviews ETHICS of HIGH"):
            await leave(house)
        assert (await leave(house, successor="carl@example.org")).reviews == 1
        assert (await house.session.scalars(select(RiskReviewer.user_id))).all() == [house.people["carl"]]

    async def test_nobody_is_needed_where_others_are_left(self, house: House) -> None:
        await governed(house)
        await registered(house, stewards=("mia", "vera"))
        await leave(house)
        assert await stewards(house) == {house.people["vera"]}


class TestRefused:
    async def test_a_data_set_without_a_steward(self, house: House) -> None:
        await governed(house)
        await registered(house, "dials")
        with pytest.raises(SuccessorRequired, match="Too few stewards would be left of dials"):
            await leave(house)
        assert await stewards(house) == {house.people["mia"]}

    async def test_restricted_data_with_one(self, house: House) -> None:
        await governed(house)
        await registered(house, classification=Classification.RESTRICTED, stewards=("mia", "vera"))
        with pytest.raises(SuccessorRequired):
            await leave(house)

    @pytest.mark.parametrize(
        ("given", "error"),
        [
            ({"successor": "mia@example.org"}, SuccessorRequired),
            ({"successor": "nobody@example.org"}, InvalidInput),
            ({"user_id": new_id()}, NotFound),
            ({"who": "anna"}, NotYourself),
        ],
    )
    async def test_what_makes_no_sense(self, house: House, given: dict[str, Any], error: type[GuildhallError]) -> None:
        await governed(house)
        with pytest.raises(error):
            await leave(house, **given)
        assert (await house.session.scalars(select(User.id).where(User.deactivated_at.is_not(None)))).all() == []

    async def test_twice(self, house: House) -> None:
        await governed(house)
        await leave(house)
        with pytest.raises(AlreadyLeft):
            await leave(house)

    async def test_the_last_administrator(self, house: House) -> None:
        await governed(house)
        with pytest.raises(GuildhallError, match="last administrator"):
            async with house.session.begin_nested():  # taken back, as the end of its transaction would
                await leave(house, "anna", by=system_actor("test"))

    async def test_without_the_permission(self, house: House) -> None:
        events = len((await house.session.scalars(select(AuditEvent.id))).all())
        with pytest.raises(PermissionRefused):
            await leave(house, by=house.actor("quinn"))
        assert len((await house.session.scalars(select(AuditEvent.id))).all()) == events
