"""Who is calling, and what they are in their teams."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from guildhall.graphql.context import Context
from guildhall.graphql.declare import column, extend, object_type, one, reference, resolver

ACTORS = {"USER": "User", "SERVICE_ACCOUNT": "ServiceAccount", "JOB": "Job"}
"""From the kind of a caller to its type."""


@object_type("Membership")
class MembershipType:
    """The roles of somebody in one team; without a team they hold organisation-wide."""

    team = one("Team", local="team_id")
    roles: list[str] = column("roles")


@object_type("Viewer")
class ViewerType:
    """The caller."""

    actor = reference("kind", "id", types=ACTORS)

    @resolver()
    def permissions(context: Context, _values: Mapping[str, Any]) -> list[str]:
        """What the caller may do on the organisation's common ground."""
        return sorted(context.actor.policy.permissions(context.actor.subject, None))

    @resolver(returns="Membership", many=True)
    def memberships(context: Context, _values: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- mappings of Membership
        """The roles that the caller holds, by team; those that hold organisation-wide come first."""
        return memberships_of(context)


def memberships_of(context: Context) -> list[dict[str, Any]]:
    """The caller's role bindings under the policy of this request, grouped by team."""
    policy = context.actor.policy
    roles: dict[UUID | None, list[str]] = defaultdict(list)
    for binding in policy.bindings_of(context.actor.subject):
        roles[binding.team_id].append(binding.role)
    return [
        {"team_id": team, "roles": sorted(held)}
        for team, held in sorted(
            roles.items(), key=lambda entry: (entry[0] is not None, policy.rules.teams.get(entry[0] or UUID(int=0), ""))
        )
    ]


@extend("Query")
class ViewerQueries:
    """The caller."""

    @resolver(returns="Viewer", nullable=False, permission="SIGNED_IN")
    def viewer(context: Context, _values: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- a mapping of Viewer
        """The caller, and what they may decide."""
        return {"kind": context.actor.kind.value, "id": context.actor.id}


TYPES = [MembershipType, ViewerType, ViewerQueries]
