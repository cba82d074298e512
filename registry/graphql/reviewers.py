"""Reviewers whom risk tiers ask for."""

from collections.abc import Mapping
from typing import Any

from guildhall.graphql.context import Call
from guildhall.graphql.declare import column, extend, many, object_type, one, payload
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from registry.access.requests import REQUEST
from registry.access.reviewers import NAME, name_reviewers
from registry.access.tables import ReviewSubject, RiskReviewer
from registry.models.tables import RiskTier

REVIEWERS_MAX = 200


@object_type("RiskReviewer", table=RiskReviewer, key=RiskReviewer.user_id, permission=REQUEST)
class RiskReviewerType:
    """A person whose approval, or that of another of the same subject, access to models of this risk tier needs."""

    risk_tier: RiskTier = column(RiskReviewer.risk_tier)
    subject: ReviewSubject = column(RiskReviewer.subject)
    person = one("User", local=RiskReviewer.user_id, nullable=False)


@extend("Query", permission=REQUEST)
class ReviewerQueries:
    """The list."""

    risk_reviewers = many(
        "RiskReviewer",
        local=None,
        remote=None,
        order_by=[RiskReviewer.risk_tier, RiskReviewer.subject, RiskReviewer.user_id],
        maximum=REVIEWERS_MAX,
        description="Who reviews access to models of which risk tier.",
    )


@input_type
class NameRiskReviewersInput(MutationInput):
    """`people` by address take the place of those named before; without anybody no review is asked for."""

    risk_tier: RiskTier
    subject: ReviewSubject
    people: list[str]


@payload
class NameRiskReviewersPayload:
    """How many are named now; the list has its own query."""

    named: int | None


@extend("Mutation")
class ReviewerMutations:
    """Naming reviewers."""

    @mutation(permission=NAME, payload=NameRiskReviewersPayload)
    async def name_risk_reviewers(call: Call, given: NameRiskReviewersInput) -> Mapping[str, Any]:
        """Say who reviews access to models of a risk tier, for ethics or for the domain."""
        named = await name_reviewers(
            call.session,
            call.actor,
            risk_tier=given.risk_tier,
            subject=given.subject,
            people=given.people,
            at=call.at,
            new_id=call.new_id,
        )
        return {"named": named}


TYPES = [RiskReviewerType, ReviewerQueries, NameRiskReviewersPayload, ReviewerMutations]
