"""How what is ours is called on a cluster: labels, annotations, the finalizer of pods, the namespaces of teams.

Several installations may share a cluster, so every label selector names the installation.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scheduler.clusters.executor import Launch

MANAGED_BY = "app.kubernetes.io/managed-by"
INSTALLATION = "guildhall.io/installation"
TEAM = "guildhall.io/team"
LAUNCH = "guildhall.io/launch"
JOB = "guildhall.io/job"
ATTEMPT = "guildhall.io/attempt"
POOL = "guildhall.io/pool"
SPEC_HASH = "guildhall.io/spec-hash"
NODES = "guildhall.io/nodes"
STOP_CODE = "guildhall.io/stop-code"
STOP_MESSAGE = "guildhall.io/stop-message"

SETTLEMENT = "guildhall.io/settlement"
"""The finalizer of our pods: whoever deletes one, its container's start and end stay until they have been settled."""

INDEX = "batch.kubernetes.io/job-completion-index"
NAMESPACE_CHARACTERS_MAX = 63
INSTALLATION_CHARACTERS = 8


@dataclass(frozen=True)
class Installation:
    """One Guildhall, as clusters know it; ``id`` is a label's value."""

    id: str

    @property
    def labels(self) -> dict[str, str]:
        """What everything of ours carries."""
        return {MANAGED_BY: "guildhall", INSTALLATION: self.id}

    @property
    def selector(self) -> str:
        """What finds it again."""
        return ",".join(f"{key}={value}" for key, value in self.labels.items())

    @property
    def others(self) -> str:
        """What finds all that is not ours."""
        return f"{INSTALLATION}!={self.id}"

    def namespace(self, team: str) -> str:
        """The namespace of a team's jobs. A name that would be too long ends in a digest, so that no two meet."""
        prefix = f"guildhall-{self.id.replace('-', '')[-INSTALLATION_CHARACTERS:]}"
        name = f"{prefix}-{team}"
        if len(name) <= NAMESPACE_CHARACTERS_MAX:
            return name
        digest = hashlib.sha256(team.encode()).hexdigest()[:8]
        return f"{name[: NAMESPACE_CHARACTERS_MAX - 9].rstrip('-')}-{digest}"


def launch_labels(installation: Installation, launch: Launch) -> dict[str, str]:
    """What every object of a launch carries."""
    return {
        **installation.labels,
        LAUNCH: launch.name,
        JOB: str(launch.job_id),
        ATTEMPT: str(launch.attempt_id),
        POOL: launch.pool,
    }


def launch_of(thing: Mapping[str, Any]) -> str | None:
    """The launch that an object belongs to."""
    found: str | None = (thing["metadata"].get("labels") or {}).get(LAUNCH)
    return found


def key_of(thing: Mapping[str, Any]) -> tuple[str, str]:
    """An object's name and namespace."""
    return thing["metadata"]["name"], thing["metadata"]["namespace"]


def node_index_of(pod: Mapping[str, Any]) -> int:
    """Which of the launch's nodes a pod is."""
    return int((pod["metadata"].get("annotations") or {}).get(INDEX, 0))
