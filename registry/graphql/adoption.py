"""Adoptions: which team relies on what."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from guildhall.graphql.context import Call
from guildhall.graphql.declare import column, extend, node, one, payload
from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID
from registry.adoption.adopting import ADOPT, adopt_model, end_adoption, visible_adoptions
from registry.adoption.tables import Adoption
from registry.models.lookup import DISCOVER


@node("Adoption", table=Adoption, visible=visible_adoptions, permission=DISCOVER, team=Adoption.team_id)
class AdoptionType:
    """A team relies on a version of a model; one at a time for each model."""

    team = one("Team", local=Adoption.team_id, nullable=False)
    model = one("Model", local=Adoption.model_id, nullable=False)
    version = one("ModelVersion", local=Adoption.model_version_id, nullable=False)
    purpose: str = column(Adoption.purpose)
    adopted_by = one("User", local=Adoption.adopted_by)
    since: datetime = column(Adoption.since)
    ended_at: datetime | None = column(Adoption.ended_at)


@input_type
class AdoptModelInput(MutationInput):
    """A published version, the team that adopts it, and what for."""

    model_version_id: ID
    team: str
    purpose: str


@payload
class AdoptModelPayload:
    """The adoption."""

    adoption = one("Adoption", local="adoption")


@input_type
class EndAdoptionInput(MutationInput):
    """The adoption."""

    adoption_id: ID


@payload
class EndAdoptionPayload:
    """The adoption, ended."""

    adoption = one("Adoption", local="adoption")


@extend("Mutation")
class AdoptionMutations:
    """What is done with adoptions."""

    @mutation(permission=ADOPT, payload=AdoptModelPayload)
    async def adopt_model(call: Call, given: AdoptModelInput) -> Mapping[str, Any]:
        """Adopt a published version for a team; the team's adoption of another version of the model ends."""
        adoption_id = await adopt_model(
            call.session,
            call.actor,
            model_version_id=decode_id(given.model_version_id, "ModelVersion", field="modelVersionId"),
            team=given.team,
            purpose=given.purpose,
            at=call.at,
            new_id=call.new_id,
        )
        return {"adoption": adoption_id}

    @mutation(permission=ADOPT, payload=EndAdoptionPayload)
    async def end_adoption(call: Call, given: EndAdoptionInput) -> Mapping[str, Any]:
        """End a team's adoption."""
        adoption_id = await end_adoption(
            call.session,
            call.actor,
            adoption_id=decode_id(given.adoption_id, "Adoption", field="adoptionId"),
            at=call.at,
            new_id=call.new_id,
        )
        return {"adoption": adoption_id}


TYPES = [AdoptionType, AdoptModelPayload, EndAdoptionPayload, AdoptionMutations]
