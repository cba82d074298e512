"""`explainAccess`: why may I, or may I not; for oneself, and for whoever may ask about others.

It goes the way that a request goes: is the thing there for them, do their roles allow it, and for data that is guarded,
does a grant open it. What the asker cannot see is not there, whoever it is asked about.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import null, select

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.explaining import Explanation, Ground, explain
from guildhall.auth.permissions import PERMISSIONS, Permission
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import ServiceAccount, User
from guildhall.db.transaction import ReadSession
from guildhall.errors import NotFound
from guildhall.graphql import statements
from guildhall.graphql.context import Context
from guildhall.graphql.declarations import TypeDeclaration
from guildhall.graphql.declare import column, extend, json_list, json_object, object_type, one, resolver
from guildhall.graphql.ids import split_id
from guildhall.graphql.scalars import ID
from guildhall.organisation.roles import UnknownPermission
from registry.access.decision import READ_PERMISSIONS, AccessDecision, decide_read, reading_person, reading_teams

EXPLAIN = "guildhall:access:explain"
Nodes = Callable[[], Mapping[str, TypeDeclaration]]


class UnknownNode(NotFound):
    """Nothing there that the asker may see."""


class UnknownActor(NotFound):
    """Nobody of that id."""


@object_type("AccessRule")
class AccessRuleType:
    """One line of a role that is held here."""

    role: str
    effect: str = column("effect", description="allow or deny; a denial wins.")
    team = one("Team", local="team_id", description="Where the role is bound; null: in the whole organisation.")
    path: list[str] = column("path", description="From that team down to the one that was asked about.")
    starts_at: datetime | None
    ends_at: datetime | None
    counts: bool = column("counts", description="False: it has ended, or not begun.")


@object_type("DataAccess")
class DataAccessType:
    """What the rules of the data itself say: role, purpose and access grant."""

    allowed: bool
    reason = json_object("Reason", "reason")
    access_grant = one("AccessGrant", local="grant_id")


@object_type("AccessExplanation")
class AccessExplanationType:
    """Whether somebody may, and what decided."""

    allowed: bool = column("allowed", description="All of it together.")
    permission: str
    sentence: str = column("sentence", description="What whoever has it may do.")
    visible: bool = column("visible", description="Whether the thing is there for them at all.")
    ground: Ground = column("ground", description="What their roles say.")
    team = one("Team", local="team_id", description="The team that was asked about; null: the organisation.")
    rules = json_list("AccessRule", "rules")
    data = json_object("DataAccess", "data")
    roles_that_allow: list[str]


def declare_explaining(nodes: Nodes) -> list[type[Any]]:
    """The declarations; `nodes` gives the types of the whole schema, which is not there yet when they are made."""

    @extend("Query")
    class ExplainingQueries:
        """Why somebody may or may not."""

        @resolver(returns="AccessExplanation", permission="SIGNED_IN")
        async def explain_access(
            context: Context,
            _values: Mapping[str, Any],
            *,
            permission: str,
            node_id: ID | None = None,
            actor_id: ID | None = None,
        ) -> Any:  # noqa: ANN401 -- a mapping of AccessExplanation
            """Why the caller, or with guildhall:access:explain another, may use a permission on a node or at all."""
            return await _explain(context, nodes(), permission, node_id, actor_id)

    return [AccessRuleType, DataAccessType, AccessExplanationType, ExplainingQueries]


async def _explain(
    context: Context, nodes: Mapping[str, TypeDeclaration], permission: str, node_id: str | None, actor_id: str | None
) -> dict[str, Any]:
    asked = PERMISSIONS.get(permission)
    if asked is None:
        raise UnknownPermission(f"There is no permission {permission[:80]!r}.", field="permission")
    async with context.database.read() as session:
        actor = await _actor(session, context, actor_id)
        team_id, visible, data = None, True, None
        if node_id is not None:
            kind, key = _named(node_id, nodes)
            found = await _find(session, context, nodes[kind], key)
            if found is None:
                raise UnknownNode("There is nothing of this id.", field="nodeId")
            team_id = found[0]
            theirs = replace(context, actor_or_none=actor)
            visible = await _find(session, theirs, nodes[kind], key) is not None
            if visible and READ_PERMISSIONS.get(kind) == permission:
                data = await _read(session, context, actor, ResourceRef(kind, key), permission)
    told = _told(actor, asked, team_id)
    by_rule = told.allowed if data is None else data.allowed
    return {
        "allowed": visible and by_rule,
        "permission": permission,
        "sentence": asked.sentence,
        "visible": visible,
        "ground": told.ground,
        "team_id": team_id,
        "rules": [vars(rule) | {"path": list(rule.path)} for rule in told.rules],
        "data": None if data is None else _of_data(data),
        "roles_that_allow": list(actor.policy.roles_with(permission)),
    }


def _told(actor: Actor, asked: Permission, team_id: UUID | None) -> Explanation:
    """What is used in a team of one's own is explained in each of those."""
    if not asked.in_own_team:
        return explain(actor, asked.name, team_id)
    several = [explain(actor, asked.name, team) for team in sorted(actor.team_ids)]
    return next((each for each in several if each.allowed), explain(actor, asked.name, None))


async def _actor(session: ReadSession, context: Context, actor_id: str | None) -> Actor:
    """Who is asked about, under the policy of this request."""
    caller = context.actor
    found = None if actor_id is None else split_id(actor_id)
    if actor_id is None or (found is not None and found[1] == caller.id):
        return caller
    require(caller, EXPLAIN, team_id=None)
    kind, key = found or ("", UUID(int=0))
    if kind == "User" and await session.get(User, key) is not None:
        return Actor(kind=ActorKind.USER, id=key, name="", policy=caller.policy)
    if kind == "ServiceAccount":
        account = await session.get(ServiceAccount, key)
        if account is not None:
            return Actor(kind=ActorKind.SERVICE_ACCOUNT, id=key, name="", policy=caller.policy, team_id=account.team_id)
    raise UnknownActor("There is nobody of this id.", field="actorId")


def _named(node_id: str, nodes: Mapping[str, TypeDeclaration]) -> tuple[str, UUID]:
    found = split_id(node_id)
    declared = None if found is None else nodes.get(found[0])
    if found is None or declared is None or not declared.is_node:
        raise UnknownNode("There is nothing of this id.", field="nodeId")
    return found


async def _find(
    session: ReadSession, context: Context, declared: TypeDeclaration, key: UUID
) -> tuple[UUID | None] | None:
    """The node's team, if the node is there for the caller."""
    assert declared.key is not None, "a node has a key"
    team: Any = null() if declared.team is None else declared.team
    statement = select(team).where(declared.key == key, *statements.visible_clauses(declared, context))
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else (row[0],)


async def _read(
    session: ReadSession, context: Context, actor: Actor, resource: ResourceRef, permission: str
) -> AccessDecision:
    return await decide_read(
        session,
        actor_user_id=reading_person(actor, permission),
        team_ids=reading_teams(actor, permission),
        resource=resource,
        purpose=None,
        at=context.at,
    )


def _of_data(decision: AccessDecision) -> dict[str, Any]:
    reason = decision.reason
    return {
        "allowed": decision.allowed,
        "reason": None if reason is None else {"code": reason.code, "message": reason.message},
        "grant_id": decision.grant_id,
    }
