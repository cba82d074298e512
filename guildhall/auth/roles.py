"""The roles that an installation starts with. What counts afterwards is the table `role_permissions`, not this module.

A role is bound in a team or organisation-wide. Two are never bound by anybody: `member` is what every person and
service account holds on the organisation's common ground, and `job` is what a running job holds in its own team.
"""

from collections.abc import Mapping
from types import MappingProxyType

from guildhall.auth.permissions import PERMISSIONS

MEMBER = "member"
JOB = "job"
ADMINISTRATOR = "administrator"
IMPLICIT_ROLES = frozenset({MEMBER, JOB})

_MEMBER = (
    "guildhall:viewer:read",
    "guildhall:notification:mark",
    "guildhall:team:read",
    "guildhall:user:read",
    "guildhall:service-account:read",
    "guildhall:role:read",
    "guildhall:inbox:change",
    "registry:model:discover",
    "registry:dataset:discover",
    "registry:access:request",
    "registry:purpose:read",
    "marketplace:programme:read",
    "marketplace:price:read",
    "scheduler:pool:read",
)
_VIEWER = (
    "registry:model:discover",
    "registry:dataset:discover",
    "registry:model:read",
    "marketplace:wallet:read",
    "marketplace:quote:read",
    "scheduler:job:read",
)
_CONTRIBUTOR = (
    *_VIEWER,
    "registry:dataset:read",
    "registry:model:register",
    "registry:model:add-version",
    "registry:model:describe",
    "registry:model:alias",
    "registry:model:adopt",
    "registry:dataset:register",
    "registry:dataset:add-version",
    "registry:lesson:record",
    "registry:package:create",
    "registry:package:read",
    "registry:access:read",
    "registry:access:request",
    "marketplace:quote:request",
    "marketplace:credits:spend",
    "scheduler:job:submit",
    "scheduler:job:cancel",
    # A log can hold rows of data, so it goes with reading data: to no viewer, and to nobody who governs.
    "scheduler:log:read",
)
_MAINTAINER = (
    *_CONTRIBUTOR,
    "registry:model:publish",
    "registry:model:protect-alias",
    "registry:restriction:loosen",
    "marketplace:credits:send",
    "guildhall:webhook:read",
    "guildhall:webhook:change",
)
_STEWARD = (
    "registry:model:discover",
    "registry:dataset:discover",
    "registry:dataset:register",
    "registry:dataset:steward",
    "registry:access:read",
    "registry:access:decide",
    "registry:access:withdraw",
    "registry:restriction:decide",
    "registry:alert:read",
    "registry:alert:acknowledge",
)
_ALLOCATOR = (
    "marketplace:programme:read",
    "marketplace:programme:change",
    "marketplace:price:read",
    "marketplace:price:change",
    "marketplace:credits:allocate",
    "marketplace:credits:refund",
    "marketplace:wallet:read",
    "marketplace:report:read",
    "scheduler:job:read",
)
_AUDITOR = (
    "guildhall:audit:read",
    "guildhall:emergency:read",
    "guildhall:emergency:review",
    "guildhall:access:explain",
    "registry:model:discover",
    "registry:dataset:discover",
    "registry:access:read",
    "registry:alert:read",
    "registry:alert:acknowledge",
    "marketplace:wallet:read",
    "marketplace:report:read",
    "marketplace:quote:read",
    "scheduler:job:read",
)
_ON_CALL = ("guildhall:role:take",)
# Who governs the house sees all that is there, but no bytes of data: those go by role in a team or by access grant.
_ADMINISTRATOR = (
    *(name for name in PERMISSIONS if name.startswith("guildhall:") and name != "guildhall:audit:read"),
    "registry:model:discover",
    "registry:dataset:discover",
    "registry:access:read",
    "registry:reviewer:name",
    "registry:purpose:read",
    "registry:purpose:change",
    "marketplace:programme:read",
    "marketplace:programme:change",
    "marketplace:price:read",
    "marketplace:price:change",
    "marketplace:wallet:read",
    "marketplace:quote:read",
    "scheduler:pool:read",
    "scheduler:pool:change",
    "scheduler:cluster:register",
    "scheduler:job:read",
    "scheduler:job:cancel",
)
# What the job may touch within its team is narrowed further by its claims: the staged inputs and the one output.
_JOB = (
    "registry:dataset:read",
    "registry:model:read",
    "registry:model:add-version",
    "registry:package:read",
    "scheduler:job:report",
)

ROLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        MEMBER: _MEMBER,
        JOB: _JOB,
        "viewer": _VIEWER,
        "contributor": _CONTRIBUTOR,
        "maintainer": _MAINTAINER,
        "steward": _STEWARD,
        "allocator": _ALLOCATOR,
        "auditor": _AUDITOR,
        "on-call": _ON_CALL,
        ADMINISTRATOR: _ADMINISTRATOR,
    }
)
"""Role → names of permissions that it allows."""

ROLE_SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        MEMBER: "Everybody who signed in: finds what teams made visible to the organisation, and asks for access.",
        JOB: "A running job: reads its staged inputs and adds to its one output.",
        "viewer": "Sees what the team has: models, data sets, jobs and credits; reads its models.",
        "contributor": "Works in the team: registers, uploads, adopts, asks for quotes and runs jobs on its credits.",
        "maintainer": "Answers for the team's models: publishes versions and sets aliases.",
        "steward": "Answers for data sets: keeps their legal record, and decides who may read them.",
        "allocator": "Weighs programmes, opens periods, sets prices and allocates credits.",
        "auditor": "Reads the audit record and the finance view; changes nothing.",
        "on-call": "May take a role for a short time in an emergency, with a reason; auditors are alarmed.",
        ADMINISTRATOR: "Governs teams, people, roles, tokens and pools; reads no data by this role.",
    }
)
