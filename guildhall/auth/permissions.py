"""Every permission of the product, in one table: `package:noun:verb`, its class, and a sentence for people.

The same names are the actions of the audit record. ADMIN is what governs (people, roles, money, prices, pools), DATA is
what the organisation works with (models, data sets, lessons, jobs); READ leaves things as they are, WRITE does not.
A new permission is one line here, and a place in a role in `roles.py`; using a name that is not here is a mistake.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class PermissionClass(StrEnum):
    """What a permission touches, and whether it changes it; it stands in every audit event for auditors to filter."""

    ADMIN_READ = "ADMIN_READ"
    ADMIN_WRITE = "ADMIN_WRITE"
    DATA_READ = "DATA_READ"
    DATA_WRITE = "DATA_WRITE"


@dataclass(frozen=True)
class Permission:
    """One thing that a role can allow; `sentence` completes "whoever has it may …".

    `in_own_team`: it is used in a team of the caller's own, whoever owns the object that it is about.
    """

    name: str
    permission_class: PermissionClass
    sentence: str
    in_own_team: bool = False


_ADMIN_READ = PermissionClass.ADMIN_READ
_ADMIN_WRITE = PermissionClass.ADMIN_WRITE
_DATA_READ = PermissionClass.DATA_READ
_DATA_WRITE = PermissionClass.DATA_WRITE

_TABLE = (
    # guildhall: the organisation itself
    Permission("guildhall:viewer:read", _ADMIN_READ, "see who they are to Guildhall and which roles they have"),
    Permission("guildhall:notification:mark", _ADMIN_WRITE, "mark their own notifications as read"),
    Permission("guildhall:team:read", _ADMIN_READ, "see a team, its name and its title"),
    Permission("guildhall:team:change", _ADMIN_WRITE, "make a team or change its title"),
    Permission("guildhall:user:read", _ADMIN_READ, "see a person's name and address"),
    Permission("guildhall:user:change", _ADMIN_WRITE, "add a person, rename or deactivate them"),
    Permission("guildhall:service-account:read", _ADMIN_READ, "see a service account and its team"),
    Permission("guildhall:service-account:change", _ADMIN_WRITE, "add a service account or deactivate it"),
    Permission("guildhall:role:read", _ADMIN_READ, "see who has which role"),
    Permission("guildhall:role:bind", _ADMIN_WRITE, "give somebody a role or take it away"),
    Permission("guildhall:role:escalate", _ADMIN_WRITE, "give others more than they may themself"),
    Permission("guildhall:group:read", _ADMIN_READ, "see which group of the issuer stands for which role"),
    Permission("guildhall:group:map", _ADMIN_WRITE, "let a group of the issuer stand for a role, or no longer"),
    Permission("guildhall:role:change", _ADMIN_WRITE, "make a role, and change what it allows and denies"),
    Permission("guildhall:role:take", _ADMIN_WRITE, "take a role for a short time in an emergency, raising an alarm"),
    Permission("guildhall:emergency:read", _ADMIN_READ, "see who took a role in an emergency, and why"),
    Permission("guildhall:emergency:review", _ADMIN_WRITE, "review a role that somebody else took in an emergency"),
    Permission("guildhall:access:explain", _ADMIN_READ, "ask why somebody else may do something, or may not"),
    Permission("guildhall:token:read", _ADMIN_READ, "list tokens, never their text"),
    Permission("guildhall:token:issue", _ADMIN_WRITE, "make a token for somebody"),
    Permission("guildhall:token:revoke", _ADMIN_WRITE, "end a token at once"),
    Permission("guildhall:inbox:change", _ADMIN_WRITE, "say whether their own notifications come as mail"),
    Permission("guildhall:webhook:read", _ADMIN_READ, "see webhooks, and what was sent by them and by mail"),
    Permission("guildhall:webhook:change", _ADMIN_WRITE, "have events sent to an address, and send them again"),
    Permission("guildhall:configuration:apply", _ADMIN_WRITE, "apply the organisation's configuration"),
    Permission("guildhall:audit:read", _ADMIN_READ, "read the audit record"),
    Permission("guildhall:audit:archive", _ADMIN_WRITE, "move old months of the audit record into archives"),
    Permission("guildhall:audit:stream", _ADMIN_WRITE, "say from where the audit record is streamed to others again"),
    Permission("guildhall:audit:erase", _ADMIN_WRITE, "erase a person's own values from the audit record"),
    # registry: models, data sets, and access to them
    Permission("registry:model:discover", _DATA_READ, "find a model and read its card, lessons and lineage"),
    Permission("registry:model:register", _DATA_WRITE, "register a model"),
    Permission("registry:model:add-version", _DATA_WRITE, "add a version to a model"),
    Permission("registry:model:describe", _DATA_WRITE, "write a model's card and data needs"),
    Permission("registry:model:publish", _DATA_WRITE, "publish or abandon a version of a model"),
    Permission("registry:model:alias", _DATA_WRITE, "set an alias of a model"),
    Permission("registry:model:protect-alias", _DATA_WRITE, "protect an alias of a model, and move a protected one"),
    Permission("registry:model:adopt", _DATA_WRITE, "adopt a model for their team", in_own_team=True),
    Permission("registry:model:read", _DATA_READ, "read the bytes of a model"),
    Permission("registry:dataset:discover", _DATA_READ, "find a data set and read its description"),
    Permission("registry:dataset:register", _DATA_WRITE, "register a data set"),
    Permission("registry:dataset:add-version", _DATA_WRITE, "add a version to a data set"),
    Permission("registry:dataset:steward", _ADMIN_WRITE, "name a data set's stewards and change its legal record"),
    Permission("registry:dataset:read", _DATA_READ, "read the bytes of a data set"),
    Permission("registry:lesson:record", _DATA_WRITE, "write down what was learned", in_own_team=True),
    Permission("registry:package:create", _DATA_WRITE, "upload a package of training code"),
    Permission("registry:package:read", _DATA_READ, "read a package of training code"),
    Permission("registry:access:request", _ADMIN_WRITE, "ask for access to data"),
    Permission("registry:access:read", _ADMIN_READ, "see who asked for access and who was granted it"),
    Permission("registry:access:decide", _ADMIN_WRITE, "approve or refuse access to data, though never their own"),
    Permission("registry:access:withdraw", _ADMIN_WRITE, "end an access grant before its time"),
    Permission("registry:restriction:loosen", _ADMIN_WRITE, "ask that a model version inherits less from its sources"),
    Permission("registry:restriction:decide", _ADMIN_WRITE, "loosen what a model version inherits, never their own"),
    Permission("registry:reviewer:name", _ADMIN_WRITE, "name who reviews access to models of a risk tier"),
    Permission("registry:alert:read", _ADMIN_READ, "see alerts about unusual reading of data"),
    Permission("registry:alert:acknowledge", _ADMIN_WRITE, "close an alert about reading that was not their own"),
    Permission("registry:purpose:read", _ADMIN_READ, "see the purposes for which data may be used"),
    Permission("registry:purpose:change", _ADMIN_WRITE, "change the list of purposes"),
    # marketplace: credits, prices and quotes
    Permission("marketplace:programme:read", _ADMIN_READ, "see programmes and periods"),
    Permission("marketplace:programme:change", _ADMIN_WRITE, "make or change programmes and periods"),
    Permission("marketplace:price:read", _ADMIN_READ, "see the price lists"),
    Permission("marketplace:price:change", _ADMIN_WRITE, "make or change price lists"),
    Permission("marketplace:credits:allocate", _ADMIN_WRITE, "allocate credits to a team"),
    Permission("marketplace:credits:spend", _DATA_WRITE, "spend a team's credits"),
    Permission("marketplace:credits:send", _DATA_WRITE, "send or return a team's credits"),
    Permission("marketplace:credits:refund", _ADMIN_WRITE, "refund what was charged"),
    Permission("marketplace:wallet:read", _ADMIN_READ, "see a team's credits and what became of them"),
    Permission("marketplace:quote:request", _DATA_WRITE, "ask what a job would cost"),
    Permission("marketplace:quote:read", _DATA_READ, "see a team's quotes"),
    Permission("marketplace:report:read", _ADMIN_READ, "see the finance view of all allocations"),
    # scheduler: jobs and the machines that they run on
    Permission("scheduler:pool:read", _ADMIN_READ, "see pools, their capacity and their rates"),
    Permission("scheduler:pool:change", _ADMIN_WRITE, "make or change clusters and pools"),
    Permission("scheduler:cluster:register", _ADMIN_WRITE, "connect a Kubernetes cluster, change how or let go of it"),
    Permission("scheduler:job:submit", _DATA_WRITE, "run a job on a team's credits"),
    Permission("scheduler:job:read", _DATA_READ, "see a team's jobs, their events and charge"),
    Permission("scheduler:log:read", _DATA_READ, "read what a team's jobs wrote to their logs"),
    Permission("scheduler:job:cancel", _DATA_WRITE, "cancel a job"),
    Permission("scheduler:job:report", _DATA_WRITE, "report as the job itself: progress, metrics, outputs, result"),
    Permission("scheduler:job:settle", _ADMIN_WRITE, "admit, stop and settle jobs, as the scheduler itself does"),
)

PERMISSIONS: Mapping[str, Permission] = MappingProxyType({entry.name: entry for entry in _TABLE})
"""By name, in the order of the table."""


def permission_named(name: str) -> Permission:
    """The permission of that name; an unknown one is a programmer's mistake."""
    assert name in PERMISSIONS, f"{name!r} is no permission: add it to guildhall/auth/permissions.py"
    return PERMISSIONS[name]
