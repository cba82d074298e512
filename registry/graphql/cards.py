"""Cards: what a reuser must know, and the data that they must bring."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from guildhall.graphql.context import Call
from guildhall.graphql.declare import column, extend, json_list, many, object_type, one, payload
from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID, BigInt
from registry.cards.sections import completeness, missing_sections
from registry.cards.tables import CardSection, DataNeed, SectionOrigin
from registry.cards.writing import DESCRIBE, SECTIONS_MAX, DataNeeds, Feature, Section, update_card
from registry.models.lookup import visible_model_versions
from registry.models.tables import ModelVersion


@object_type("CardSection", table=CardSection)
class CardSectionType:
    """One named part of a card, in Markdown."""

    name: str = column(CardSection.name)
    body: str = column(CardSection.body)
    origin: SectionOrigin = column(CardSection.origin)
    updated_by = one("User", local=CardSection.updated_by)
    updated_at: datetime = column(CardSection.updated_at)


@object_type("DataNeeds", table=DataNeed)
class DataNeedsType:
    """What data a reuser must bring."""

    features = json_list("DataFeature", DataNeed.features)
    label_definition: str | None = column(DataNeed.label_definition)
    rows_min: BigInt | None = column(DataNeed.rows_min)
    updated_at: datetime = column(DataNeed.updated_at)


@object_type("Card", table=ModelVersion, visible=visible_model_versions)
class CardType:
    """The card of a version; what it must say before publication depends on the model's risk tier."""

    completeness: float = column(
        completeness(), description="The share of the required sections that is there, 0 to 1."
    )
    missing: list[str] = column(missing_sections(), description="The required sections that are not there.")
    sections = many(
        "CardSection",
        local=ModelVersion.id,
        remote=CardSection.model_version_id,
        order_by=[CardSection.position, CardSection.name],
        maximum=SECTIONS_MAX,
    )
    data_needs = one("DataNeeds", local=ModelVersion.id, remote=DataNeed.model_version_id)


@input_type
class CardSectionInput:
    """A section in Markdown; with an empty body it is taken away. Known names are recognised in any case."""

    name: str
    body: str


@input_type
class DataFeatureInput:
    """One column that a reuser's data must have, or may."""

    name: str
    type: str
    unit: str | None = None
    required: bool = True


@input_type
class DataNeedsInput:
    """What data a reuser must bring."""

    features: list[DataFeatureInput]
    label_definition: str | None = None
    rows_min: BigInt | None = None

    def as_needs(self) -> DataNeeds:
        """As the domain names it."""
        features = [
            Feature(name=each.name, type=each.type, unit=each.unit, required=each.required) for each in self.features
        ]
        return DataNeeds(features=features, label_definition=self.label_definition, rows_min=self.rows_min)


@input_type
class UpdateCardInput(MutationInput):
    """The sections named are written, all others stay; data needs are replaced as a whole where they are given."""

    model_version_id: ID
    sections: list[CardSectionInput] | None = None
    data_needs: DataNeedsInput | None = None


@payload
class UpdateCardPayload:
    """The card."""

    card = one("Card", local="model_version")
    model_version = one("ModelVersion", local="model_version")


@extend("Mutation")
class CardMutations:
    """What is done with cards."""

    @mutation(permission=DESCRIBE, payload=UpdateCardPayload)
    async def update_card(call: Call, given: UpdateCardInput) -> Mapping[str, Any]:
        """Write sections of a version's card, and what data its reusers must bring."""
        version_id = await update_card(
            call.session,
            call.actor,
            model_version_id=decode_id(given.model_version_id, "ModelVersion", field="modelVersionId"),
            sections=[Section(each.name, each.body) for each in given.sections or ()],
            data_needs=None if given.data_needs is None else given.data_needs.as_needs(),
            at=call.at,
            new_id=call.new_id,
        )
        return {"model_version": version_id}


TYPES = [CardSectionType, DataNeedsType, CardType, UpdateCardPayload, CardMutations]
