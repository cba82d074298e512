"""A cluster in simulated time: what each job does is scripted, and every call is counted.

It behaves like a real one where that matters to the scheduler: names are idempotent, ended jobs stay until removed, a
stop takes time, and it may be told to lose a job, to refuse, or to be away.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from guildhall.clock import Clock
from scheduler.clusters.executor import (
    ClusterAway,
    ContainerRun,
    Launch,
    LaunchConflict,
    LaunchRefused,
    LogLine,
    Machine,
    MachineUse,
    Observation,
    Phase,
    Reason,
)

SIGTERM_EXIT = 143


@dataclass(frozen=True, kw_only=True)
class FakeRun:
    """What a job will do: start after a while, run for a while, end with a code; or be refused, or be lost."""

    start_seconds: float = 0
    run_seconds: float = 60
    exit_code: int = 0
    stop_seconds: float = 1
    refusal: LaunchRefused | None = None
    lost_after_seconds: float | None = None


@dataclass
class _Process:
    launch: Launch
    run: FakeRun
    launched_at: datetime
    stop: Reason | None = None
    stopped_at: datetime | None = None
    told: bool = False

    @property
    def started_at(self) -> datetime:
        return self.launched_at + timedelta(seconds=self.run.start_seconds)

    @property
    def lost_at(self) -> datetime | None:
        after = self.run.lost_after_seconds
        return None if after is None else self.started_at + timedelta(seconds=after)

    def ended_at(self) -> datetime:
        natural = self.started_at + timedelta(seconds=self.run.run_seconds)
        if self.stopped_at is None:
            return natural
        return min(natural, max(self.stopped_at, self.launched_at) + timedelta(seconds=self.run.stop_seconds))

    def stopped_early(self) -> bool:
        return self.ended_at() < self.started_at + timedelta(seconds=self.run.run_seconds)

    def observation(self, at: datetime) -> Observation:
        ended_at = self.ended_at()
        starting = Observation(name=self.launch.name, spec_hash=self.launch.spec_hash, phase=Phase.STARTING)
        running = replace(
            starting, phase=Phase.RUNNING, runs=(ContainerRun(f"uid-{self.launch.name}", self.started_at),)
        )
        if self.lost_at is not None and self.lost_at <= min(at, ended_at):
            lost = Reason("NODE_LOST", "the node has not been heard of")
            return replace(_over(running, self.lost_at), phase=Phase.LOST, reason=lost)
        if ended_at <= at:
            code = SIGTERM_EXIT if self.stopped_early() else self.run.exit_code
            reason = self.stop if self.stopped_early() else None
            ended = _over(running if self.started_at < ended_at else starting, ended_at)
            return replace(ended, phase=Phase.ENDED, exit_code=code, reason=reason)
        return running if self.started_at <= at else starting


def _over(observation: Observation, ended_at: datetime) -> Observation:
    runs = tuple(replace(run, ended_at=ended_at) for run in observation.runs)
    return replace(observation, runs=runs, ended_at=ended_at)


@dataclass
class FakeCluster:
    """``script`` says what each launch will do.

    ``on_end`` is awaited once for each that ended by itself, as a runner reports its result before its end is seen.
    While ``away`` it answers nothing, and never what it is ``deaf_to``.
    """

    clock: Clock
    script: Callable[[Launch], FakeRun] = field(default=lambda _: FakeRun())
    on_end: Callable[[Launch, int], Awaitable[None]] | None = None
    calls: Counter[str] = field(default_factory=Counter)
    launches: dict[str, Launch] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)
    removed: set[str] = field(default_factory=set)
    away: bool = False
    deaf_to: frozenset[str] = frozenset()
    inventory: list[Machine] | None = None
    moved: dict[str, tuple[str, ...]] = field(default_factory=dict)
    closed: bool = False
    slots_in_use_max: Counter[str] = field(default_factory=Counter)
    _processes: dict[str, _Process] = field(default_factory=dict)

    async def machines(self) -> Sequence[Machine] | None:
        """The `inventory` that the test gave it, with what runs where: as the launch wished, or as `moved` says."""
        self._called("machines")
        if self.inventory is None:
            return None
        uses: dict[str, list[MachineUse]] = {}
        for launch in self._alive():
            for name in self.moved.get(launch.name, launch.machines):
                resource = launch.placement.accelerator_resource or ""
                use = MachineUse(launch=launch.name, accelerators={resource: launch.accelerators_per_node})
                uses.setdefault(name, []).append(use)
        return [replace(each, uses=(*each.uses, *uses.get(each.name, ()))) for each in self.inventory]

    async def version(self) -> str | None:
        """Always the same."""
        self._called("version")
        return "v0.0.0-fake"

    async def close(self) -> None:
        """Remember it."""
        self.closed = True

    async def launch(self, launch: Launch) -> None:
        """Start it, once for each name."""
        self._called("launch")
        found = self._processes.get(launch.name)
        if found is not None:
            if found.launch.spec_hash != launch.spec_hash:
                raise LaunchConflict(launch.name, found.launch.spec_hash)
            return
        run = self.script(launch)
        if run.refusal is not None:
            raise run.refusal
        self.launches[launch.name] = launch
        self.starts[launch.name] += 1
        self._processes[launch.name] = _Process(launch, run, self.clock.now())
        self._count_slots(launch.pool)

    async def observe(self) -> Sequence[Observation]:
        """All that is known here, after the runners of those that ended have reported."""
        self._called("observe")
        at = self.clock.now()
        for process in list(self._processes.values()):
            seen = process.observation(at)
            by_itself = seen.phase is Phase.ENDED and not process.stopped_early()
            if by_itself and not process.told and self.on_end is not None:
                process.told = True
                await self.on_end(process.launch, process.run.exit_code)
        return [process.observation(at) for process in self._processes.values()]

    async def knows(self, name: str) -> bool:
        """Whether it is there, ended or not."""
        self._called("knows")
        return name in self._processes

    async def stop(self, name: str, *, grace_seconds: int, reason: Reason) -> None:
        """Let it end soon; how soon is the script's, at most the grace."""
        self._called("stop")
        process = self._processes.get(name)
        if process is not None and process.stop is None:
            process.stop = reason
            process.stopped_at = self.clock.now()
            process.run = replace(process.run, stop_seconds=min(process.run.stop_seconds, grace_seconds))

    async def remove(self, name: str) -> None:
        """Forget it."""
        self._called("remove")
        process = self._processes.pop(name, None)
        if process is not None:
            assert process.observation(self.clock.now()).phase in {Phase.ENDED, Phase.LOST}, "removed while it runs"
            self.removed.add(name)

    async def logs(self, name: str, *, after: int, limit: int) -> Sequence[LogLine]:
        """One line for each job."""
        self._called("logs")
        lines = [LogLine(1, f"runner of {name}")] if name in self._processes else []
        return [line for line in lines if line.number > after][:limit]

    def forget(self, name: str) -> None:
        """As if somebody had deleted it by hand."""
        del self._processes[name]

    def names(self) -> set[str]:
        """What is there now, ended or not."""
        return set(self._processes)

    def _called(self, what: str) -> None:
        self.calls[what] += 1
        if self.away or what in self.deaf_to:
            raise ClusterAway("connection refused")

    def _count_slots(self, pool: str) -> None:
        """The most accelerators of a pool that ran at once, and that none was given out twice."""
        indexes = [index for launch in self._alive() if launch.pool == pool for index in launch.slot_indexes]
        assert len(indexes) == len(set(indexes)), f"an accelerator of {pool} was given out twice"
        self.slots_in_use_max[pool] = max(self.slots_in_use_max[pool], len(indexes))

    def _alive(self) -> list[Launch]:
        at = self.clock.now()
        return [
            process.launch
            for process in self._processes.values()
            if process.observation(at).phase in {Phase.STARTING, Phase.RUNNING}
        ]
