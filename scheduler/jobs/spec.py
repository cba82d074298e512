"""What a job is to do, normalised: the shape that a quote binds, a job keeps and an attempt is launched from."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from marketplace.tables import Tier


class InputKind(StrEnum):
    """What a job can read."""

    DATASET_VERSION = "DATASET_VERSION"
    MODEL_VERSION = "MODEL_VERSION"


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """One thing to stage in at `mount_path` (rooted at the workspace), for one purpose."""

    kind: InputKind
    source_id: UUID
    mount_path: str
    purpose: str


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """The model that gets a new version from what lies at `path` when the command has ended well."""

    model_id: UUID
    path: str


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """What each of the job's nodes has; cpu in cores. None: any kind of accelerator, the pool's own measure."""

    accelerator: str | None
    accelerator_count: int
    cpu: float | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """One job. Exactly one of `package_id` and `image` says where its code comes from."""

    name: str
    command: tuple[str, ...]
    package_id: UUID | None
    image: str | None
    inputs: tuple[InputSpec, ...]
    output: OutputSpec | None
    nodes: int
    per_node: NodeSpec
    walltime_seconds: int
    tier: Tier
    start_by: datetime
    environment: tuple[tuple[str, str], ...]

    @property
    def slots(self) -> int:
        """Accelerators over all nodes: what is priced and what is taken from a pool."""
        return self.nodes * self.per_node.accelerator_count

    def to_json(self) -> dict[str, Any]:
        """As quotes and jobs keep it; `from_json` gives an equal spec."""
        value = asdict(self)
        value["environment"] = [list(pair) for pair in self.environment]
        return json.loads(json.dumps(value, default=_plain))  # type: ignore[no-any-return]  # an object goes in

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        output = value["output"]
        inputs = tuple(
            InputSpec(**{**each, "kind": InputKind(each["kind"]), "source_id": UUID(each["source_id"])})
            for each in value["inputs"]
        )
        return cls(
            **{
                **value,
                "command": tuple(value["command"]),
                "package_id": UUID(value["package_id"]) if value["package_id"] else None,
                "inputs": inputs,
                "output": output and OutputSpec(model_id=UUID(output["model_id"]), path=output["path"]),
                "per_node": NodeSpec(**value["per_node"]),
                "tier": Tier(value["tier"]),
                "start_by": datetime.fromisoformat(value["start_by"]),
                "environment": tuple((name, text) for name, text in value["environment"]),
            }
        )

    def digest(self) -> str:
        """SHA-256, hexadecimal, of the spec: equal specs have equal digests, whoever computes them."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


def _plain(value: object) -> str:
    assert isinstance(value, UUID | datetime), f"a spec holds no {type(value).__name__}"
    return value.isoformat() if isinstance(value, datetime) else str(value)
