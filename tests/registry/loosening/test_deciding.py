"""Deciding: the stewards of all that stands in the way, in force at once for everything downstream."""

from datetime import date
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, update

from guildhall.auth.tables import User
from guildhall.clock import new_id
from guildhall.errors import GuildhallError, NotFound
from registry.access.deciding import AlreadyDecided, DecisionKind, RequesterCannotDecide
from registry.access.decision import decide_read
from registry.access.sources import restricting_sources
from registry.datasets.changing import update_legal_record
from registry.datasets.legal import LegalRecord
from registry.datasets.stewards import StewardRequired
from registry.datasets.tables import Classification, DatasetSteward
from registry.loosening.deciding import SourcesChanged
from registry.loosening.imposing import Wanted
from registry.loosening.tables import LooseningApproval, RestrictedProperty
from registry.texts import InvalidText
from tests.registry.estate import LEGAL, model_ref
from tests.registry.house import House, fine_tuned_from, trained_on
from tests.registry.loosening.loosened import (
    FOR_EVER,
    MARKETING,
    OVERSEAS,
    asked,
    classes,
    decided,
    effective,
    line,
    loosened,
    source,
    state,
)
from tests.told import told

CONFIDENTIAL = Wanted(property=RestrictedProperty.CLASSIFICATION, classification=Classification.CONFIDENTIAL)


async def legal(house: House, dataset_id: UUID, *, by: str = "mia", **changed: Any) -> None:
    """A steward replaces the legal record."""
    classification = changed.pop("classification", None)
    values = {**vars(LEGAL), **changed}
    await update_legal_record(
        house.session, house.actor(by), dataset_id=dataset_id, classification=classification,
        legal=LegalRecord(**values), at=house.at, new_id=new_id,
    )  # fmt: skip


async def refused(house: House, loosening_id: UUID, *, by: str, reason: str | None = None) -> GuildhallError:
    """The error, after which nothing is approved."""
    before = len((await house.session.scalars(LooseningApproval.__table__.select())).all())
    decision = DecisionKind.APPROVE if reason is None else DecisionKind.REFUSE
    with pytest.raises(GuildhallError) as caught:
        await decided(house, loosening_id, by=by, decision=decision, reason=reason)
    assert len((await house.session.scalars(LooseningApproval.__table__.select())).all()) == before
    return caught.value


class TestDecideLoosening:
    async def test_is_in_force_for_the_version_and_everything_made_from_it(self, house: House) -> None:
        _, data = await source(house)
        first, second = await line(house, data)
        loosening_id = await asked(house, first)
        assert await classes(house, first, second) == ["CONFIDENTIAL", "CONFIDENTIAL"]
        await decided(house, loosening_id, reason="Sums tell nothing.")
        assert await state(house, loosening_id) == "APPROVED"
        assert await classes(house, first, second) == ["INTERNAL", "INTERNAL"]
        (event,) = await house.events("registry:restriction:decide")
        assert event.before == {"state": "PENDING"}
        assert event.after is not None
        assert event.after["versions"] == sorted(map(str, (first, second)))
        assert (event.after["state"], event.after["reason"]) == ("APPROVED", "Sums tell nothing.")
        assert (await told(house.session, house.people))[-1] == (
            "maintenance/first@1 is classified INTERNAL",
            ["anna"],
        )

    async def test_each_property_by_itself(self, house: House) -> None:
        _, data = await source(house, legal={"retention_ends_on": date(2030, 1, 1)})
        first, second = await line(house, data)
        for wanted in (MARKETING, OVERSEAS, FOR_EVER):
            await loosened(house, first, wanted)
        want = ("CONFIDENTIAL", ["marketing", "quality", "research"], ["eu", "us"], None)
        assert [await effective(house, each) for each in (first, second)] == [want, want]

    async def test_a_later_day_of_retention(self, house: House) -> None:
        _, data = await source(house, legal={"retention_ends_on": date(2030, 1, 1)})
        first, second = await line(house, data)
        wanted = Wanted(property=RestrictedProperty.RETENTION, retention_ends_on=date(2032, 1, 1))
        await loosened(house, first, wanted)
        assert [(await effective(house, each))[3] for each in (first, second)] == [date(2032, 1, 1)] * 2

    async def test_another_way_to_the_same_data_stays_restricted(self, house: House) -> None:
        _, data = await source(house)
        first, _ = await line(house, data)
        both = await house.version(await house.model("both"), sources=[fine_tuned_from(first), trained_on(data)])
        await loosened(house, first)
        assert await classes(house, first, both) == ["INTERNAL", "CONFIDENTIAL"]

    async def test_a_version_upstream_stays_restricted(self, house: House) -> None:
        _, data = await source(house)
        first, second = await line(house, data)
        await loosened(house, second)
        assert await classes(house, first, second) == ["CONFIDENTIAL", "INTERNAL"]

    async def test_a_stricter_source_that_comes_in_later_restricts_what_it_comes_to(self, house: House) -> None:
        _, data = await source(house)
        first, _ = await line(house, data)
        await loosened(house, first)
        _, secret = await source(house, "secret", classification=Classification.RESTRICTED, stewards=["mia", "vera"])
        later = await house.version(await house.model("later"), sources=[fine_tuned_from(first), trained_on(secret)])
        assert await classes(house, first, later) == ["INTERNAL", "RESTRICTED"]
        sources = await restricting_sources(house.session, [later])
        assert [row.version_id for row in sources[later]] == [secret]

    async def test_a_source_that_becomes_stricter_restricts_again_and_no_longer_when_it_is_as_it_was(
        self, house: House
    ) -> None:
        dataset_id, data = await source(house, stewards=["mia", "vera"])
        first, second = await line(house, data)
        await loosened(house, first)
        await legal(house, dataset_id, classification=Classification.RESTRICTED)
        assert await classes(house, first, second) == ["RESTRICTED", "RESTRICTED"]
        await legal(house, dataset_id, classification=Classification.CONFIDENTIAL)
        assert await classes(house, first, second) == ["INTERNAL", "INTERNAL"]

    @pytest.mark.parametrize(
        "stricter",
        [
            {"permitted_purposes": ("quality",)},
            {"regions": ("asia",)},
            {"retention_ends_on": date(2030, 1, 1)},
        ],
    )
    async def test_stricter_in_any_respect_is_not_what_the_stewards_saw(
        self, house: House, stricter: dict[str, Any]
    ) -> None:
        dataset_id, data = await source(house)
        first, second = await line(house, data)
        await loosened(house, first)
        await legal(house, dataset_id, **stricter)
        assert await classes(house, first, second) == ["CONFIDENTIAL", "CONFIDENTIAL"]

    async def test_a_looser_source_stays_covered(self, house: House) -> None:
        dataset_id, data = await source(house, legal={"retention_ends_on": date(2030, 1, 1)})
        first, _ = await line(house, data)
        await loosened(house, first)
        await legal(house, dataset_id, regions=("eu", "us"), retention_ends_on=None)
        assert await effective(house, first) == ("INTERNAL", ["quality", "research"], ["eu", "us"], None)

    async def test_what_is_internal_by_decision_goes_by_role(self, house: House) -> None:
        _, data = await source(house)
        first, second = await line(house, data)
        team = {house.teams["quality"]}
        for each, allowed in ((second, False), (first, False)):
            decision = await decide_read(
                house.session, actor_user_id=None, team_ids=team, resource=model_ref(each), purpose=None, at=house.at
            )
            assert decision.allowed is allowed
        await loosened(house, first)
        for each in (first, second):
            decision = await decide_read(
                house.session, actor_user_id=None, team_ids=team, resource=model_ref(each), purpose=None, at=house.at
            )
            assert (decision.allowed, decision.grant_id) == (True, None)

    async def test_restricted_data_needs_two_stewards(self, house: House) -> None:
        _, data = await source(house, classification=Classification.RESTRICTED, stewards=["mia", "vera", "paul"])
        first, second = await line(house, data)
        loosening_id = await asked(house, first, CONFIDENTIAL)
        await decided(house, loosening_id)
        assert await state(house, loosening_id) == "PENDING"
        assert await classes(house, first, second) == ["RESTRICTED", "RESTRICTED"]
        assert isinstance(await refused(house, loosening_id, by="mia"), AlreadyDecided)
        await decided(house, loosening_id, by="vera")
        assert await classes(house, first, second) == ["CONFIDENTIAL", "CONFIDENTIAL"]
        before, after = await house.events("registry:restriction:decide")
        assert before.after is not None
        assert before.after["missing"] == ["1 more steward of gauge-digits"]
        assert after.after is not None
        assert after.after["missing"] == []

    async def test_each_source_needs_a_steward_of_its_own(self, house: House) -> None:
        _, mias = await source(house)
        _, veras = await source(house, "gauge-faces", stewards=["vera"])
        first, second = await line(house, mias, veras)
        loosening_id = await asked(house, first)
        await decided(house, loosening_id)
        assert await classes(house, first, second) == ["CONFIDENTIAL", "CONFIDENTIAL"]
        await decided(house, loosening_id, by="vera")
        assert await classes(house, first, second) == ["INTERNAL", "INTERNAL"]

    @pytest.mark.parametrize("how", ["no steward any more", "left"])
    async def test_the_approval_of_who_answers_no_longer_does_not_count(self, house: House, how: str) -> None:
        dataset_id, data = await source(
            house, classification=Classification.RESTRICTED, stewards=["mia", "vera", "paul"]
        )
        first, _ = await line(house, data)
        loosening_id = await asked(house, first, CONFIDENTIAL)
        await decided(house, loosening_id)
        mia = house.people["mia"]
        if how == "left":
            await house.session.execute(update(User).where(User.id == mia).values(deactivated_at=house.at))
        else:
            mine = (DatasetSteward.dataset_id == dataset_id) & (DatasetSteward.user_id == mia)
            await house.session.execute(delete(DatasetSteward).where(mine))
        await decided(house, loosening_id, by="vera")
        assert await state(house, loosening_id) == "PENDING"
        await decided(house, loosening_id, by="paul")
        assert await classes(house, first) == ["CONFIDENTIAL"]

    async def test_a_refusal_is_for_all_and_says_why(self, house: House) -> None:
        _, data = await source(house)
        first, _ = await line(house, data)
        loosening_id = await asked(house, first)
        assert isinstance(await refused(house, loosening_id, by="mia", reason=" "), InvalidText)
        await decided(house, loosening_id, decision=DecisionKind.REFUSE, reason="Faces can be seen.")
        assert await state(house, loosening_id) == "REFUSED"
        assert await classes(house, first) == ["CONFIDENTIAL"]
        assert (await told(house.session, house.people))[-1][0] == "maintenance/first@1 is not classified INTERNAL"
        assert isinstance(await refused(house, loosening_id, by="mia"), AlreadyDecided)

    async def test_nobody_decides_about_what_they_asked_for(self, house: House) -> None:
        _, data = await source(house, stewards=["anna", "mia"])
        first, _ = await line(house, data)
        loosening_id = await asked(house, first)
        assert isinstance(await refused(house, loosening_id, by="anna"), RequesterCannotDecide)
        assert await state(house, loosening_id) == "PENDING"

    async def test_who_stewards_none_of_it_does_not_decide(self, house: House) -> None:
        _, data = await source(house)
        first, _ = await line(house, data)
        loosening_id = await asked(house, first)
        found = await refused(house, loosening_id, by="carl")
        assert isinstance(found, StewardRequired)
        assert "mia@example.org" in found.message
        assert isinstance(await refused(house, loosening_id, by="quinn"), NotFound)
        assert isinstance(await refused(house, new_id(), by="mia"), NotFound)

    async def test_data_that_became_stricter_meanwhile_is_not_what_was_asked_about(self, house: House) -> None:
        dataset_id, data = await source(house, stewards=["mia", "vera"])
        first, _ = await line(house, data)
        loosening_id = await asked(house, first)
        await legal(house, dataset_id, classification=Classification.RESTRICTED)
        assert isinstance(await refused(house, loosening_id, by="mia"), SourcesChanged)
        await decided(house, loosening_id, decision=DecisionKind.REFUSE, reason="Ask again.")
        again = await asked(house, first)
        await decided(house, again)
        await decided(house, again, by="vera")
        assert await classes(house, first) == ["INTERNAL"]

    async def test_a_source_that_stood_not_in_the_way_and_does_now(self, house: House) -> None:
        _, data = await source(house)
        dataset_id, other = await source(house, "open", classification=Classification.INTERNAL)
        first, _ = await line(house, data, other)
        loosening_id = await asked(house, first)
        await legal(house, dataset_id, classification=Classification.CONFIDENTIAL)
        assert isinstance(await refused(house, loosening_id, by="mia"), SourcesChanged)
