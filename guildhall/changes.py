"""What applying a configuration did to each thing that it names."""

from dataclasses import dataclass
from enum import StrEnum


class ChangeAction(StrEnum):
    """What happened, or with `dryRun` would happen, to one named thing."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    UNCHANGED = "UNCHANGED"


@dataclass(frozen=True)
class Change:
    """One named thing of a configuration: `kind` is its word in the glossary, as "Team"."""

    kind: str
    name: str
    action: ChangeAction
