"""`applyConfiguration`: the organisation as data. It names things of every package, so it stands in the root.

All or nothing: what is wrong anywhere leaves everything as it was, and says where it is, as `members[3].roles[0]`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from strawberry import UNSET
from strawberry.utils.str_converters import to_camel_case

from guildhall.audit.record import record
from guildhall.auth.authorize import require
from guildhall.changes import Change, ChangeAction
from guildhall.errors import Conflict, Invalid, InvalidInput, NotFound, Problem
from guildhall.graphql.context import Call
from guildhall.graphql.declare import extend, json_list, object_type, payload
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import AnswerAndRollBack, mutation
from guildhall.graphql.scalars import BigInt
from guildhall.organisation.members import MemberSetting, apply_members
from guildhall.organisation.service_accounts import ServiceAccountSetting, apply_service_accounts
from guildhall.organisation.teams import Below, TeamSetting, apply_teams
from marketplace.configuration import apply_periods, apply_programmes
from marketplace.graphql.configuration import (
    PeriodInput,
    PriceListInput,
    ProgrammeInput,
    period_settings,
    price_list_settings,
    programme_settings,
)
from marketplace.price_configuration import apply_price_lists
from registry.purposes.configuration import PurposeSpec, apply_purposes
from scheduler.clusters.executor import Toleration
from scheduler.clusters.pool_settings import WALLTIME_SECONDS_DEFAULT, PoolSetting
from scheduler.clusters.tables import ClusterKind
from scheduler.configuration import apply_pools, pools_by_name

PERMISSION = "guildhall:configuration:apply"
ITEMS_MAX = 1_000
"""The most items of each list."""


class ConfigurationTooLong(Invalid):
    """A list of the configuration with more items than one application takes."""

    code = "CONFIGURATION_TOO_LONG"


@input_type
class TeamInput:
    """A team; without a title it is called by its name.

    With a `parent` it is moved below the team of that name, with null to the top, and without it stays where it is.
    """

    name: str
    title: str | None = None
    parent: str | None = UNSET


@input_type
class MemberInput:
    """One person in one place: a team, or the organisation where none is named; no roles means none there."""

    email: str
    roles: list[str]
    team: str | None = None
    name: str | None = None


@input_type
class ServiceAccountInput:
    """A program of a team, and its roles there."""

    team: str
    name: str
    roles: list[str]


@input_type
class PurposeInput:
    """What data may be used for."""

    name: str
    description: str = ""


@input_type
class LabelInput:
    """A label of a node."""

    name: str
    value: str


@input_type
class TolerationInput:
    """A taint that jobs of the pool may stand on; without a value every value of its key, without a key every taint."""

    key: str | None = None
    value: str | None = None
    effect: str | None = None


@input_type
class PoolInput:
    """One kind of accelerator at one cluster.

    A LOCAL cluster is made where there is none of its name, and its pools state slots. A Kubernetes cluster has been
    registered; its pools state a nodeSelector, and how much there is follows from the nodes.
    """

    name: str
    cluster: str
    accelerator: str
    region: str | None = None
    slots: int | None = None
    kind: ClusterKind | None = None
    nodes: int | None = None
    watts_per_accelerator: int = 0
    carbon_grams_per_kwh: int | None = None
    walltime_seconds_max: int = WALLTIME_SECONDS_DEFAULT
    cpu_per_node: int | None = None
    memory_bytes_per_node: BigInt | None = None
    node_selector: list[LabelInput] | None = None
    tolerations: list[TolerationInput] | None = None
    accelerator_resource: str | None = None
    image: str | None = None
    writable_root: bool = False


@input_type
class ApplyConfigurationInput(MutationInput):
    """What is named is made or changed; nothing else is touched."""

    teams: list[TeamInput] | None = None
    members: list[MemberInput] | None = None
    service_accounts: list[ServiceAccountInput] | None = None
    programmes: list[ProgrammeInput] | None = None
    periods: list[PeriodInput] | None = None
    pools: list[PoolInput] | None = None
    price_lists: list[PriceListInput] | None = None
    purposes: list[PurposeInput] | None = None
    dry_run: bool = False


@object_type("ConfigurationDifference")
class ConfigurationDifferenceType:
    """One field as it was and as it is to be; null where there was nothing, or nothing is left."""

    field: str
    before: str | None
    after: str | None


@object_type("ConfigurationChange")
class ConfigurationChangeType:
    """What was done, or would be, to one named thing."""

    kind: str
    name: str
    action: ChangeAction
    differences = json_list("ConfigurationDifference", "differences")


@payload
class ApplyConfigurationPayload:
    """Every named thing, changed or not."""

    changes = json_list("ConfigurationChange", "changes")


@extend("Mutation")
class ConfigurationMutations:
    """The organisation as data."""

    @mutation(permission=PERMISSION, payload=ApplyConfigurationPayload)
    async def apply_configuration(call: Call, given: ApplyConfigurationInput) -> Mapping[str, Any]:
        """Make or change what is named, all or nothing; with dryRun answer with the changes alone."""
        changes = await apply_configuration(call, given)
        answer = {"changes": [_answered(each) for each in changes]}
        if given.dry_run:
            raise AnswerAndRollBack(answer)
        return answer


async def apply_configuration(call: Call, given: ApplyConfigurationInput) -> Sequence[Change]:
    """Everything named, in an order in which the later may name the earlier. Problems carry their whole path."""
    require(call.actor, PERMISSION, team_id=None)
    _check_lengths(given)
    try:
        changes = await _apply_all(call, given)
    except InvalidInput as error:
        problems = [Problem(item.code, item.message, _path(item.field)) for item in error.problems]
        raise InvalidInput(problems) from error
    except (Invalid, Conflict, NotFound) as error:
        error.field = _path(error.field)
        raise
    if not given.dry_run:
        counts = {action.value: sum(each.action is action for each in changes) for action in ChangeAction}
        await record(
            call.session, call.actor, action=PERMISSION, after={"changes": counts}, at=call.at, new_id=call.new_id
        )
    return changes


async def _apply_all(call: Call, given: ApplyConfigurationInput) -> list[Change]:
    session, actor = call.session, call.actor
    when: dict[str, Any] = {"at": call.at, "new_id": call.new_id}
    teams = [
        TeamSetting(name=each.name, title=each.title, below=None if each.parent is UNSET else Below(each.parent))
        for each in given.teams or ()
    ]
    members = [
        MemberSetting(email=each.email, team=each.team, roles=each.roles, name=each.name)
        for each in given.members or ()
    ]
    accounts = [
        ServiceAccountSetting(team=each.team, name=each.name, roles=each.roles) for each in given.service_accounts or ()
    ]
    purposes = [PurposeSpec(name=each.name, description=each.description) for each in given.purposes or ()]
    changes = [
        *await apply_teams(session, actor, teams, **when),
        *await apply_members(session, actor, members, **when),
        *await apply_service_accounts(session, actor, accounts, **when),
        *await apply_purposes(session, actor, purposes, **when),
        *await apply_programmes(session, actor, programme_settings(given.programmes or ()), **when),
        *await apply_periods(session, actor, period_settings(given.periods or ()), **when),
        *await apply_pools(session, actor, [_pool(each) for each in given.pools or ()], **when),
    ]
    pools = await pools_by_name(session)
    lists = price_list_settings(given.price_lists or ())
    return [*changes, *await apply_price_lists(session, actor, lists, pools=pools, **when)]


def _pool(given: PoolInput) -> PoolSetting:
    selector = {label.name: label.value for label in given.node_selector or ()}
    tolerations = tuple(Toleration(**vars(each)) for each in given.tolerations or ())
    return PoolSetting(**{**vars(given), "node_selector": selector, "tolerations": tolerations})


def _check_lengths(given: ApplyConfigurationInput) -> None:
    for name, items in vars(given).items():
        if isinstance(items, list) and len(items) > ITEMS_MAX:
            field = to_camel_case(name)
            raise ConfigurationTooLong(f"One configuration names {ITEMS_MAX} {field} at most.", field=field)


def _answered(change: Change) -> dict[str, Any]:
    differences = [{**asdict(each), "field": to_camel_case(each.field)} for each in change.differences]
    return {"kind": change.kind, "name": change.name, "action": change.action, "differences": differences}


def _path(field: str | None) -> str | None:
    """`members.3.roles` and `members[3].roles` are the same place; the second is how it is told."""
    return None if field is None else re.sub(r"\.(\d+)(?=\.|\[|$)", r"[\1]", field)


TYPES = [ConfigurationDifferenceType, ConfigurationChangeType, ApplyConfigurationPayload, ConfigurationMutations]
