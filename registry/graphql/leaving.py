"""People who leave."""

from collections.abc import Mapping
from typing import Any

from guildhall.auth.tables import User
from guildhall.graphql.context import Call
from guildhall.graphql.declare import connection, extend, one, payload
from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID
from registry.access.requests import REQUEST
from registry.access.tables import AccessGrant
from registry.datasets.lookup import DISCOVER
from registry.datasets.tables import Dataset, DatasetSteward
from registry.leaving.departure import CHANGE, deactivate_person


@extend("User")
class PersonsHoldings:
    """What a person answers for or may read by themself, as far as the caller may see it."""

    steward_of = connection(
        "Dataset",
        local=User.id,
        remote=DatasetSteward.user_id,
        through=(DatasetSteward, DatasetSteward.dataset_id == Dataset.id),
        default_order=[Dataset.name],
        permission=DISCOVER,
        description="What goes to a successor when they leave.",
    )
    access_grants = connection(
        "AccessGrant",
        local=User.id,
        remote=AccessGrant.beneficiary_user_id,
        default_order=[AccessGrant.created_at.desc()],
        permission=REQUEST,
        description="Grants to them as a person, which end when they leave.",
    )


@input_type
class DeactivatePersonInput(MutationInput):
    """`successor` by address: who becomes steward and reviewer in their place."""

    user_id: ID
    reason: str
    successor: str | None = None


@payload
class DeactivatePersonPayload:
    """What ended, and how much was handed over; null where nothing was done."""

    person = one("User", local="person")
    tokens_ended: int | None
    roles_ended: int | None
    access_grants_ended: int | None
    datasets_handed_over: int | None
    reviews_handed_over: int | None


@extend("Mutation")
class LeavingMutations:
    """Deactivating people."""

    @mutation(permission=CHANGE, payload=DeactivatePersonPayload)
    async def deactivate_person(call: Call, given: DeactivatePersonInput) -> Mapping[str, Any]:
        """End a person's tokens, roles and grants at once, and hand what they answered for to a successor."""
        done = await deactivate_person(
            call.session,
            call.actor,
            user_id=decode_id(given.user_id, "User", field="userId"),
            successor=given.successor,
            reason=given.reason,
            at=call.at,
            new_id=call.new_id,
        )
        return {
            "person": done.user_id,
            "tokens_ended": done.tokens,
            "roles_ended": done.roles,
            "access_grants_ended": len(done.access_grants),
            "datasets_handed_over": len(done.datasets),
            "reviews_handed_over": done.reviews,
        }


TYPES = [PersonsHoldings, DeactivatePersonPayload, LeavingMutations]
