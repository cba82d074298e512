"""What the scheduler asks of a cluster: launch, observe, stop, remove, logs.

Desired state lives in PostgreSQL; an executor only makes one cluster follow it. Every call may come twice, from two
workers, or after a restart, so every call is idempotent by the launch's name. Nothing here opens a transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

LAUNCH_NAME_CHARACTERS_MAX = 52
"""A Kubernetes Job's name leaves room for the suffixes of its pods."""


class Phase(StrEnum):
    """How far the platform says an attempt has come."""

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    ENDED = "ENDED"
    LOST = "LOST"


@dataclass(frozen=True)
class Reason:
    """Why something is as it is: a code for programs, a sentence for people."""

    code: str
    message: str


class ClusterAway(Exception):
    """The cluster does not answer, or not in time; the message is one sentence. What runs there is not lost."""


class ClusterRefuses(Exception):
    """The cluster answers, but does not let us do what we must: an expired token, a right that is missing."""


class LaunchRefused(Exception):
    """The cluster cannot start this launch, now or later; the job fails with code and sentence, and pays nothing."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class LaunchConflict(Exception):
    """The name is taken by a launch of another spec: an incident, because names derive from job and attempt."""

    def __init__(self, name: str, found_hash: str) -> None:
        super().__init__(f"{name} runs already with another spec ({found_hash[:12]})")
        self.name = name
        self.found_hash = found_hash


@dataclass(frozen=True, kw_only=True)
class Toleration:
    """A taint that pods of a pool may stand on. Without a key every taint, without a value every value of the key."""

    key: str | None = None
    value: str | None = None
    effect: str | None = None


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where in a cluster a pool's jobs run, and as what.

    ``accelerator_resource`` is the name under which nodes offer accelerators, as ``nvidia.com/gpu``; without one a job
    asks for none. ``default_image`` runs what names no image of its own; it has Python 3.9 or newer as ``python3``.
    """

    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    accelerator_resource: str | None = None
    default_image: str | None = None
    writable_root: bool = False


@dataclass(frozen=True)
class Launch:
    """One attempt to start. The token is outside ``spec_hash``: it is made anew when a launch is repeated.

    ``accelerator_slots`` are those of all nodes, ``accelerators_per_node``, cpu, memory and disk of each. ``machines``,
    one for each node, are those that the plan counted on: a preference, not a demand.
    """

    name: str
    spec_hash: str
    job_id: UUID
    attempt_id: UUID
    pool: str
    accelerator_slots: int
    slot_indexes: tuple[int, ...]
    cpu: float | None
    memory_bytes: int | None
    walltime_seconds: int
    environment: Mapping[str, str]
    token: str
    api_url: str
    grace_seconds: int
    team: str
    disk_bytes: int | None
    sensitive: bool
    image: str | None = None
    nodes: int = 1
    accelerators_per_node: int = 0
    placement: Placement = field(default_factory=Placement)
    machines: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Names are ours, so a long one is a mistake."""
        assert 0 < len(self.name) <= LAUNCH_NAME_CHARACTERS_MAX, self.name


@dataclass(frozen=True)
class ContainerRun:
    """One container from start to stop, under the platform's own uid: what a node of the launch is billed for."""

    source_uid: str
    started_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the platform says of one launch as a whole, and of each container that it has started for it.

    It has ended once every container has; ``exit_code`` is then that of the first to fail, or 0. A LOST one carries in
    ``ended_at`` the moment at which it was last seen alive; one that is STARTING says in ``reason`` what it waits for.
    """

    name: str
    spec_hash: str
    phase: Phase
    runs: tuple[ContainerRun, ...] = ()
    ended_at: datetime | None = None
    exit_code: int | None = None
    reason: Reason | None = None

    @property
    def started_at(self) -> datetime | None:
        """When the first container started."""
        return min((run.started_at for run in self.runs), default=None)


@dataclass(frozen=True)
class LogLine:
    """One line that the runner itself printed, numbered from 1."""

    number: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Taint:
    """What keeps pods off a machine unless they tolerate it."""

    key: str
    effect: str
    value: str | None = None


@dataclass(frozen=True, kw_only=True)
class MachineUse:
    """The accelerators, by resource, that one pod on a machine has. `launch` is ours; None: it is somebody else's."""

    launch: str | None
    accelerators: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One node of a cluster: what pods may have of it in all, and what they have.

    ``unschedulable`` says why it takes nothing new (cordoned, not ready); None: it does.
    """

    name: str
    labels: Mapping[str, str]
    accelerators: Mapping[str, int]
    cpu_millis: int
    memory_bytes: int
    taints: tuple[Taint, ...] = ()
    uses: tuple[MachineUse, ...] = ()
    unschedulable: str | None = None


class Executor(Protocol):
    """One cluster. Any call may raise ClusterAway or ClusterRefuses; anything else counts as the first of the two."""

    async def machines(self) -> Sequence[Machine] | None:
        """Every machine as it is now. None: this cluster has none that could be counted, what is typed in holds."""

    async def version(self) -> str | None:
        """What it calls its own version."""

    async def close(self) -> None:
        """Let go of connections; what runs goes on."""

    async def launch(self, launch: Launch) -> None:
        """Start it, once. Same name and hash: success. Raises LaunchConflict or LaunchRefused."""

    async def observe(self) -> Sequence[Observation]:
        """Every launch of ours that the cluster still knows, ended ones until ``remove``: the truth, not a hint."""

    async def knows(self, name: str) -> bool:
        """Whether the cluster has this launch at this moment; asked before a launch missing from a list is given up."""

    async def stop(self, name: str, *, grace_seconds: int, reason: Reason) -> None:
        """Ask it to end, and end it after the grace. An unknown or ended name is success."""

    async def remove(self, name: str) -> None:
        """Forget an ended launch; leaves no process, file or token behind. An unknown name is success."""

    async def logs(self, name: str, *, after: int, limit: int) -> Sequence[LogLine]:
        """What the runner itself printed, as the platform saw it, kept until ``remove``."""
