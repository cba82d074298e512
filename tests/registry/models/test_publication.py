from uuid import UUID

import pytest

from guildhall.auth.authorize import PermissionRefused
from guildhall.clock import new_id
from guildhall.errors import GuildhallError, NotFound
from registry.cards.writing import Section, update_card
from registry.datasets.tables import Visibility
from registry.models.aliases import set_alias
from registry.models.publication import (
    AliasInUse,
    NotPublished,
    PublicationResult,
    UploadsIncomplete,
    VersionAbandoned,
    VersionPublished,
    abandon_model_version,
    publish_model_version,
    withdraw_publication,
)
from registry.models.tables import RiskTier
from tests.registry.house import House

LIMITED = ["Intended use", "Limitations", "Training data", "Procedure", "Metrics", "Data needs"]


async def publish(house: House, version_id: UUID, *, by: str = "anna") -> PublicationResult:
    return await publish_model_version(
        house.session,
        house.actor(by),
        model_version_id=version_id,
        at=house.at,
        new_id=new_id,
    )


class TestPublishModelVersion:
    @pytest.mark.parametrize(
        ("tier", "missing"),
        [
            (RiskTier.LOW, ["Intended use", "Training data", "Metrics"]),
            (RiskTier.LIMITED, LIMITED),
            (RiskTier.HIGH, [*LIMITED, "Evaluation", "Ethical considerations", "Human oversight"]),
        ],
    )
    async def test_an_empty_card_blocks_and_every_section_is_named(
        self, house: House, tier: RiskTier, missing: list[str]
    ) -> None:
        version_id = await house.version(await house.model(risk_tier=tier))
        result = await publish(house, version_id)
        assert [problem.code for problem in result.problems] == ["CARD_SECTION_MISSING"] * len(missing)
        assert [problem.message for problem in result.problems] == [
            f"The card lacks the section “{name}”." for name in missing
        ]
        version = await house.facts(version_id)
        assert (version.status, version.status_code, version.published_at) == ("BLOCKED", "CARD_INCOMPLETE", None)
        assert version.status_message == f"The card lacks what a model of risk tier {tier} needs: {', '.join(missing)}."

    @pytest.mark.parametrize("tier", list(RiskTier))
    async def test_a_whole_card_publishes(self, house: House, tier: RiskTier) -> None:
        version_id = await house.version(await house.model(risk_tier=tier))
        await house.complete_card(version_id)
        assert (await publish(house, version_id)).problems == ()
        version = await house.facts(version_id)
        assert (version.status, version.status_code, version.published_at) == ("PUBLISHED", None, house.at)

    async def test_what_was_blocked_can_be_mended(self, house: House) -> None:
        version_id = await house.version(await house.model())
        await publish(house, version_id)
        await house.complete_card(version_id)
        assert (await house.facts(version_id)).status == "READY"
        assert (await publish(house, version_id)).problems == ()

    async def test_twice_is_once(self, house: House) -> None:
        version_id = await house.published(await house.model())
        assert (await publish(house, version_id)).problems == ()
        assert len(await house.events("registry:model:publish")) == 1

    async def test_is_recorded(self, house: House) -> None:
        model_id = await house.model()
        version_id = await house.published(model_id)
        (event,) = await house.events("registry:model:publish")
        assert event.resource_ids == [version_id, model_id]
        assert (event.before, event.after) == (
            {"status": "READY", "code": None},
            {"status": "PUBLISHED", "code": None},
        )

    async def test_a_draft_is_refused(self, house: House) -> None:
        version_id = await house.version(await house.model(), ready=False)
        with pytest.raises(UploadsIncomplete):
            await publish(house, version_id)
        assert (await house.facts(version_id)).status == "DRAFT"

    @pytest.mark.parametrize(
        ("who", "error"), [("carl", PermissionRefused), ("quinn", PermissionRefused), ("omar", NotFound)]
    )
    async def test_refused(self, house: House, who: str, error: type[GuildhallError]) -> None:
        version_id = await house.version(await house.model())
        with pytest.raises(error):
            await publish(house, version_id, by=who)
        assert (await house.facts(version_id)).status == "READY"
        assert await house.events("registry:model:publish") == []

    async def test_hidden_is_not_there(self, house: House) -> None:
        version_id = await house.version(await house.model(visibility=Visibility.TEAM))
        with pytest.raises(NotFound):
            await publish(house, version_id, by="quinn")

    async def test_a_published_card_stays_whole(self, house: House) -> None:
        version_id = await house.published(await house.model())
        with pytest.raises(GuildhallError) as refusal:
            await update_card(
                house.session,
                house.actor("anna"),
                model_version_id=version_id,
                sections=[Section("metrics", "")],
                at=house.at,
                new_id=new_id,
            )
        assert refusal.value.code == "CARD_INCOMPLETE"


class TestWithdrawPublication:
    async def test_is_ready_again_and_says_why(self, house: House) -> None:
        version_id = await house.published(await house.model())
        await withdraw_publication(
            house.session,
            house.actor("anna"),
            model_version_id=version_id,
            reason=" wrong data ",
            at=house.at,
            new_id=new_id,
        )
        version = await house.facts(version_id)
        assert (version.status, version.published_at) == ("READY", None)
        assert (version.status_code, version.status_message) == ("WITHDRAWN", "wrong data")
        assert (await publish(house, version_id)).problems == ()

    async def test_refused_while_an_alias_points_at_it(self, house: House) -> None:
        model_id = await house.model()
        version_id = await house.published(model_id)
        await set_alias(
            house.session,
            house.actor("anna"),
            model_id=model_id,
            name="champion",
            model_version_id=version_id,
            reason="best",
            at=house.at,
            new_id=new_id,
        )
        with pytest.raises(AliasInUse) as refusal:
            await withdraw_publication(
                house.session, house.actor("anna"), model_version_id=version_id, reason="x", at=house.at, new_id=new_id
            )
        assert "champion" in refusal.value.message
        assert (await house.facts(version_id)).status == "PUBLISHED"

    async def test_only_what_is_published(self, house: House) -> None:
        version_id = await house.version(await house.model())
        with pytest.raises(NotPublished):
            await withdraw_publication(
                house.session, house.actor("anna"), model_version_id=version_id, reason="x", at=house.at, new_id=new_id
            )


class TestAbandonModelVersion:
    async def test_keeps_the_reason_and_closes_the_version(self, house: House) -> None:
        version_id = await house.version(await house.model())
        await abandon_model_version(
            house.session, house.actor("anna"), model_version_id=version_id, reason="worse", at=house.at, new_id=new_id
        )
        version = await house.facts(version_id)
        assert (version.status, version.status_code, version.status_message) == ("ABANDONED", "ABANDONED", "worse")
        with pytest.raises(VersionAbandoned):
            await publish(house, version_id)
        with pytest.raises(VersionAbandoned):
            await abandon_model_version(
                house.session,
                house.actor("anna"),
                model_version_id=version_id,
                reason="again",
                at=house.at,
                new_id=new_id,
            )
        with pytest.raises(GuildhallError) as refusal:
            await house.complete_card(version_id)
        assert refusal.value.code == "VERSION_ABANDONED"

    async def test_not_while_published(self, house: House) -> None:
        version_id = await house.published(await house.model())
        with pytest.raises(VersionPublished):
            await abandon_model_version(
                house.session, house.actor("anna"), model_version_id=version_id, reason="x", at=house.at, new_id=new_id
            )
        assert (await house.facts(version_id)).status == "PUBLISHED"

    async def test_needs_a_reason(self, house: House) -> None:
        version_id = await house.version(await house.model())
        with pytest.raises(GuildhallError) as refusal:
            await abandon_model_version(
                house.session, house.actor("anna"), model_version_id=version_id, reason=" ", at=house.at, new_id=new_id
            )
        assert refusal.value.field == "reason"
