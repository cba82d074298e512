"""Groups of the issuer: which stand for which role; listed, set and removed by administrators."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, any_, false, func, select, true

from guildhall.auth.actor import Actor
from guildhall.auth.tables import GroupMapping, UserIdentity
from guildhall.graphql.context import Call
from guildhall.graphql.declare import column, connection, extend, node, one, payload
from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID
from guildhall.organisation.groups import MAP, READ, remove_group_mapping, set_group_mapping


def visible_mappings(actor: Actor) -> ColumnElement[bool]:
    """All of them or none."""
    return true() if actor.may(READ, None) else false()


@node("GroupMapping", table=GroupMapping, visible=visible_mappings, permission=READ)
class GroupMappingType:
    """Who is in this group of the issuer holds this role, in the team or, without one, organisation-wide."""

    group: str = column(GroupMapping.group_name)
    team = one("Team", local=GroupMapping.team_id)
    role: str = column(GroupMapping.role)
    created_at: datetime = column(GroupMapping.created_at)
    person_count: int = column(
        select(func.count())
        .select_from(UserIdentity)
        .where(GroupMapping.group_name == any_(UserIdentity.groups))
        .correlate(GroupMapping.__table__)
        .scalar_subquery(),
        description="How many people were in the group when the issuer last spoke of them.",
    )


@extend("Query")
class GroupQueries:
    """The table of groups."""

    group_mappings = connection(
        "GroupMapping", default_order=[GroupMapping.group_name, GroupMapping.role], permission=READ
    )


@input_type
class SetGroupMappingInput(MutationInput):
    """The role of a group; without a team it holds organisation-wide."""

    group: str
    role: str
    team: str | None = None


@payload
class SetGroupMappingPayload:
    """The line of the table, in force."""

    group_mapping = one("GroupMapping", local="mapping")


@input_type
class RemoveGroupMappingInput(MutationInput):
    """Which line."""

    group_mapping_id: ID


@payload
class RemoveGroupMappingPayload:
    """The id of the line that is gone."""

    removed_id: ID | None = column("removed")


@extend("Mutation")
class GroupMutations:
    """Groups of the issuer."""

    @mutation(permission=MAP, payload=SetGroupMappingPayload)
    async def set_group_mapping(call: Call, given: SetGroupMappingInput) -> Mapping[str, Any]:
        """Let everybody in a group of the issuer hold a role from now on; takes guildhall:role:bind there as well."""
        key = await set_group_mapping(
            call.session, call.actor, group=given.group, team=given.team, role=given.role, at=call.at,
            new_id=call.new_id,
        )  # fmt: skip
        return {"mapping": key}

    @mutation(permission=MAP, payload=RemoveGroupMappingPayload)
    async def remove_group_mapping(call: Call, given: RemoveGroupMappingInput) -> Mapping[str, Any]:
        """Take a line out of the table, and the role from those who had it by this group alone."""
        key = decode_id(given.group_mapping_id, "GroupMapping", field="groupMappingId")
        await remove_group_mapping(
            call.session, call.actor, key, at=call.at, new_id=call.new_id, field="groupMappingId"
        )
        return {"removed": given.group_mapping_id}


TYPES = [
    GroupMappingType, GroupQueries, SetGroupMappingPayload, RemoveGroupMappingPayload, GroupMutations,
]  # fmt: skip
