"""Who may know of what, said a second time: from ownership and visibility in plain rows, with casbin for decisions.

Nothing here is shared with the product's predicates. A type of nodes without a rule fails the walk.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from sqlalchemy import text

from guildhall.auth.actor import Actor
from guildhall.auth.casbin_policy import CasbinPolicy, Question
from guildhall.auth.policy import RoleRules
from guildhall.auth.roles import MEMBER
from guildhall.auth.subjects import ActorKind
from guildhall.clock import new_id
from guildhall.db.transaction import ReadSession

Row = Any


@dataclass
class Facts:
    """The rows that rules look at, by type and id; and what is visible so far to one caller."""

    rows: Mapping[str, Mapping[UUID, Row]]
    caller: "Caller"
    visible: dict[str, set[UUID]] = field(default_factory=dict)

    def of(self, name: str) -> set[UUID]:
        """The ids of that type that exist for the caller."""
        if name not in self.visible:
            rule = RULES[name]
            self.visible[name] = {key for key, row in self.rows[name].items() if rule.holds(self, row)}
        return self.visible[name]


class Caller:
    """One caller, decided about by casbin with no lines but theirs."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        rules = actor.policy.rules
        held = rules.bindings.get(actor.subject, ())
        names = {MEMBER, *(binding.role for binding in held)}
        roles = {
            name: RoleRules(entry.allowed & PERMISSIONS_ASKED, entry.denied & PERMISSIONS_ASKED)
            for name, entry in rules.roles.items()
            if name in names
        }
        self.teams = list(rules.teams)
        self._oracle = CasbinPolicy(replace(rules, roles=roles, bindings={actor.subject: held}))
        self._answers: dict[tuple[str, UUID | None], bool] = {}

    def may(self, permission: str, team: UUID | None) -> bool:
        """Casbin's answer, asked once."""
        assert permission in PERMISSIONS_ASKED
        if (permission, team) not in self._answers:
            question = Question(self.actor.subject, team, permission)
            self._answers[permission, team] = self._oracle.may(question)
        return self._answers[permission, team]

    def may_everywhere(self, permission: str) -> bool:
        """In every team there is, and in one that there is not yet."""
        return all(self.may(permission, team) for team in (*self.teams, _UNKNOWN))

    def may_somewhere(self, permission: str) -> bool:
        """In some team or on common ground."""
        return any(self.may(permission, team) for team in (None, _UNKNOWN, *self.teams))

    def is_(self, kind: str, key: UUID | None) -> bool:
        """Whether this is the caller."""
        return (self.actor.kind.value, self.actor.id) == (kind, key)


_UNKNOWN = new_id()


@dataclass(frozen=True)
class Rule:
    """The statement gives `id` and what the rule looks at."""

    rows: str
    holds: Callable[[Facts, Row], bool]


def everybody(table: str, permission: str) -> Rule:
    """There for whoever may see such things anywhere."""
    return Rule(f"SELECT id FROM {table}", lambda facts, _: facts.caller.may_somewhere(permission))


def owned(table: str, permission: str) -> Rule:
    """There for the organisation where it says so, else for its team."""

    def holds(facts: Facts, row: Row) -> bool:
        in_sight = row.visibility == "ORGANISATION" and facts.caller.may(permission, None)
        return in_sight or facts.caller.may(permission, row.team_id)

    return Rule(f"SELECT id, team_id, visibility FROM {table}", holds)


def in_team(rows: str, permission: str) -> Rule:
    """There for its team alone."""
    return Rule(rows, lambda facts, row: facts.caller.may(permission, row.team_id))


def below(rows: str, name: str) -> Rule:
    """There where the one above it is."""
    return Rule(rows, lambda facts, row: row.above in facts.of(name))


def governed(table: str, permission: str) -> Rule:
    """There for whoever may, organisation-wide."""
    return Rule(f"SELECT id FROM {table}", lambda facts, _: facts.caller.may(permission, None))


def answered(rows: str, permission: str) -> Rule:
    """There for people who have to do with it, for its teams, and for whoever may everywhere."""

    def holds(facts: Facts, row: Row) -> bool:
        caller = facts.caller
        person = caller.actor.kind is ActorKind.USER and caller.actor.id in row.people
        return person or caller.may_everywhere(permission) or any(caller.may(permission, team) for team in row.teams)

    return Rule(rows, holds)


def _dataset(facts: Facts, row: Row) -> bool:
    """Like what is owned, and there for its stewards."""
    caller, permission = facts.caller, "registry:dataset:discover"
    in_sight = row.visibility == "ORGANISATION" and caller.may(permission, None)
    return in_sight or caller.may(permission, row.team_id) or any(caller.is_("USER", each) for each in row.people)


def _lesson(facts: Facts, row: Row) -> bool:
    if row.model_id is None and row.dataset_id is None:
        return facts.caller.may(DISCOVER, row.team_id)
    return row.model_id in facts.of("Model") or row.dataset_id in facts.of("Dataset")


def _artifact(facts: Facts, row: Row) -> bool:
    kinds = {"DATASET_VERSION": "DatasetVersion", "MODEL_VERSION": "ModelVersion", "PACKAGE": "Package"}
    return row.owner_id in facts.of(kinds[row.owner_kind])


def _token(facts: Facts, row: Row) -> bool:
    own = facts.caller.is_(row.subject_kind, row.subject_id)
    return row.subject_kind != "JOB" and (own or facts.caller.may("guildhall:token:read", None))


DISCOVER, JOBS, WALLET, AUDIT = (
    "registry:model:discover", "scheduler:job:read", "marketplace:wallet:read", "guildhall:audit:read",
)  # fmt: skip
ACCESS, EMERGENCIES, WEBHOOKS = "registry:access:read", "guildhall:emergency:read", "guildhall:webhook:read"

_STEWARDS = """
    SELECT d.id AS dataset_id, d.team_id, coalesce(array_agg(s.user_id) FILTER (WHERE s.user_id IS NOT NULL), '{}')
        AS people FROM datasets d LEFT JOIN dataset_stewards s ON s.dataset_id = d.id GROUP BY d.id
"""
_REQUESTS = f"""
    WITH stewards AS ({_STEWARDS}), about AS (
        SELECT source.request_id, array_agg(stewards.team_id) AS teams, array_agg(person) AS people
        FROM access_request_sources source JOIN stewards USING (dataset_id)
        LEFT JOIN LATERAL unnest(stewards.people) AS person ON true GROUP BY source.request_id
    ), reviewing AS (
        SELECT resource.request_id, array_agg(reviewer.user_id) AS people
        FROM access_request_resources resource JOIN model_versions version ON version.id = resource.resource_id
        JOIN models ON models.id = version.model_id JOIN risk_reviewers reviewer USING (risk_tier)
        GROUP BY resource.request_id
    )
    SELECT request.id, coalesce(about.teams, '{{}}') || request.beneficiary_team_id AS teams,
        coalesce(about.people, '{{}}') || request.requester_id || request.beneficiary_user_id AS people,
        coalesce(about.people, '{{}}') AS stewards, coalesce(reviewing.people, '{{}}') AS reviewers
    FROM access_requests request LEFT JOIN about ON about.request_id = request.id
    LEFT JOIN reviewing ON reviewing.request_id = request.id
"""

RULES: Mapping[str, Rule] = {
    "Team": everybody("teams", "guildhall:team:read"),
    "User": everybody("users", "guildhall:user:read"),
    "ServiceAccount": everybody("service_accounts", "guildhall:service-account:read"),
    "RoleBinding": everybody("role_bindings", "guildhall:role:read"),
    "Programme": everybody("programmes", "marketplace:programme:read"),
    "Period": everybody("periods", "marketplace:programme:read"),
    "PriceList": everybody("price_lists", "marketplace:price:read"),
    "Rate": everybody("rates", "marketplace:price:read"),
    "Cluster": everybody("clusters", "scheduler:pool:read"),
    "Pool": everybody("pools", "scheduler:pool:read"),
    "Environment": everybody("environments", DISCOVER),
    "Model": owned("models", DISCOVER),
    "ModelVersion": below("SELECT id, model_id AS above FROM model_versions", "Model"),
    "Alias": below("SELECT id, model_id AS above FROM aliases", "Model"),
    "Adoption": below("SELECT id, model_id AS above FROM adoptions", "Model"),
    "Dataset": Rule(
        """SELECT id, team_id, visibility, ARRAY(SELECT user_id FROM dataset_stewards WHERE dataset_id = id) AS people
        FROM datasets""",
        _dataset,
    ),
    "DatasetVersion": below("SELECT id, dataset_id AS above FROM dataset_versions", "Dataset"),
    "Lesson": Rule("SELECT id, team_id, model_id, dataset_id FROM lessons", _lesson),
    "Artifact": Rule("SELECT id, owner_kind, owner_id FROM artifacts", _artifact),
    "Package": in_team("SELECT id, team_id FROM packages", "registry:package:read"),
    "Job": in_team("SELECT id, team_id FROM jobs", JOBS),
    "JobEvent": below("SELECT id, job_id AS above FROM job_events", "Job"),
    "Attempt": below("SELECT id, job_id AS above FROM attempts", "Job"),
    "JobMetric": below(
        "SELECT m.id, a.job_id AS above FROM job_metrics m JOIN attempts a ON a.id = m.attempt_id", "Job"
    ),
    "Quote": in_team("SELECT id, team_id FROM quotes", "marketplace:quote:read"),
    "Allocation": in_team("SELECT id, team_id FROM allocations", WALLET),
    "AccessRequest": answered(f"SELECT id, teams, people || reviewers AS people FROM ({_REQUESTS}) AS request", ACCESS),
    "AccessGrant": answered(
        f"""WITH stewards AS ({_STEWARDS}), named AS (
            SELECT resource.grant_id, array_agg(stewards.team_id) AS teams, array_agg(person) AS people
            FROM access_grant_resources resource JOIN stewards ON stewards.dataset_id = resource.resource_id
            LEFT JOIN LATERAL unnest(stewards.people) AS person ON true GROUP BY resource.grant_id
        )
        SELECT access.id, coalesce(request.teams, '{{}}') || coalesce(named.teams, '{{}}') ||
            access.beneficiary_team_id AS teams, coalesce(request.stewards, '{{}}') || coalesce(named.people, '{{}}')
            || access.beneficiary_user_id || asked.requester_id AS people
        FROM access_grants access LEFT JOIN ({_REQUESTS}) AS request ON request.id = access.request_id
        LEFT JOIN access_requests asked ON asked.id = access.request_id
        LEFT JOIN named ON named.grant_id = access.id""",
        ACCESS,
    ),
    "Loosening": answered(
        f"""WITH stewards AS ({_STEWARDS}), about AS (
            SELECT source.loosening_id, array_agg(stewards.team_id) AS teams, array_agg(person) AS people
            FROM loosening_sources source JOIN stewards USING (dataset_id)
            LEFT JOIN LATERAL unnest(stewards.people) AS person ON true GROUP BY source.loosening_id
        )
        SELECT loosening.id, coalesce(about.teams, '{{}}') || models.team_id AS teams,
            coalesce(about.people, '{{}}') || loosening.requester_id AS people
        FROM loosenings loosening JOIN model_versions version ON version.id = loosening.model_version_id
        JOIN models ON models.id = version.model_id LEFT JOIN about ON about.loosening_id = loosening.id""",
        ACCESS,
    ),
    "AuditEvent": Rule(
        "SELECT id, team_id FROM audit_events WHERE concludes_id IS NULL",
        lambda facts, row: (
            facts.caller.may(AUDIT, None) or (row.team_id is not None and facts.caller.may(AUDIT, row.team_id))
        ),
    ),
    "Token": Rule("SELECT id, subject_kind, subject_id FROM tokens", _token),
    "Session": Rule("SELECT id, user_id FROM sessions", lambda facts, row: facts.caller.is_("USER", row.user_id)),
    "Notification": Rule(
        "SELECT id, user_id FROM notifications", lambda facts, row: facts.caller.is_("USER", row.user_id)
    ),
    "Webhook": in_team("SELECT id, team_id FROM webhooks", WEBHOOKS),
    "Delivery": in_team(
        "SELECT d.id, w.team_id FROM deliveries d LEFT JOIN webhooks w ON w.id = d.webhook_id", WEBHOOKS
    ),
    "EmergencyRole": Rule(
        "SELECT id, user_id FROM emergency_roles",
        lambda facts, row: facts.caller.may(EMERGENCIES, None) or facts.caller.is_("USER", row.user_id),
    ),
    "GroupMapping": governed("group_mappings", "guildhall:group:read"),
}
"""By type, who may know of its rows."""

UNRULED = {
    "Transfer": "its lines are of two accounts each; the tests of wallets say whose they are",
    "AccessAlert": "raised by reads alone; the tests of budgets say who answers",
    "PolicyLine": "the audit's own history of the policy; its tests say who may",
}
"""Types that have no rule here, and where it is said instead."""

PERMISSIONS_ASKED = frozenset({
    "guildhall:team:read", "guildhall:user:read", "guildhall:service-account:read", "guildhall:role:read",
    "guildhall:token:read", "guildhall:group:read", "marketplace:programme:read", "marketplace:price:read",
    "marketplace:quote:read", "scheduler:pool:read", "registry:dataset:discover", "registry:package:read",
    DISCOVER, JOBS, WALLET, AUDIT, ACCESS, EMERGENCIES, WEBHOOKS,
})  # fmt: skip


async def read_rows(session: ReadSession) -> dict[str, dict[UUID, Row]]:
    """All rows of all ruled types."""
    found: dict[str, dict[UUID, Row]] = {}
    for name, rule in RULES.items():
        found[name] = {row.id: row for row in await session.execute(text(rule.rows))}
    return found
