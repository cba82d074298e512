"""Jobs as pods of one Kubernetes cluster: launched by POST, seen through a copy that a watch keeps close.

Names derive from job and attempt, so whoever repeats a call finds what the first one made. The copy is quick to look at
but may lag; what would end a job, or is asked of one name, is read from the API server itself.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from guildhall.clock import Clock
from scheduler.clusters.executor import (
    Launch,
    LaunchConflict,
    LaunchRefused,
    LogLine,
    Machine,
    Observation,
    Phase,
    Reason,
)
from scheduler.clusters.kubernetes import naming
from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.copies import Copies
from scheduler.clusters.kubernetes.ending import forget_objects, stop_objects
from scheduler.clusters.kubernetes.failures import AdmissionRefused, ObjectExists, ObjectInvalid, ObjectMissing
from scheduler.clusters.kubernetes.manifests import job_manifest, neighbours_manifests, token_manifest
from scheduler.clusters.kubernetes.naming import Installation
from scheduler.clusters.kubernetes.nodes import read_machines
from scheduler.clusters.kubernetes.observing import Seen, needs_proof, observe_launch, overdue, silent_nodes
from scheduler.clusters.kubernetes.platform_log import read_platform_log
from scheduler.clusters.kubernetes.pods import PodRules
from scheduler.clusters.kubernetes.reading import last_heard, namespace_ends, read_launch
from scheduler.clusters.kubernetes.resources import JOBS, NETWORK_POLICIES, SECRETS, SERVICES, KubernetesObject
from scheduler.clusters.kubernetes.team_namespace import TeamNamespaces
from scheduler.clusters.kubernetes.waiting import StartLimits

_KINDS = {resource.kind: resource for resource in (SERVICES, NETWORK_POLICIES)}

logger = logging.getLogger(__name__)


class KubernetesExecutor:
    """One cluster for one installation. Starts to watch at the first `observe`; `close` ends that, and nothing else.

    ``api_networks`` are the addresses of our API as pods reach it, in CIDR notation; without them they are those that
    its name has here. ``woken`` is called whenever the cluster says something new.
    """

    def __init__(
        self,
        api: KubernetesApi,
        installation: Installation,
        *,
        clock: Clock,
        api_networks: Sequence[str] = (),
        rules: PodRules | None = None,
        limits: StartLimits | None = None,
        woken: Callable[[], None] = lambda: None,
    ) -> None:
        self._api = api
        self._installation = installation
        self._clock = clock
        self._rules = rules or PodRules()
        self._limits = limits or StartLimits()
        self._namespaces = TeamNamespaces(api, installation, api_networks=api_networks, clock=clock)
        self._copies = Copies(api, installation, woken=woken)
        self._ended: dict[str | None, tuple[Seen, Observation]] = {}

    async def machines(self) -> Sequence[Machine] | None:
        """Every node, with what the pods on it have of its accelerators."""
        await self._copies.require()
        return await read_machines(self._api, self._installation, self._copies.pods())

    async def version(self) -> str | None:
        """What the API server calls itself."""
        return (await self._api.version()).git_version

    async def close(self) -> None:
        """Stop watching, and let go of connections; what runs goes on."""
        await self._copies.close()
        await self._api.close()

    async def launch(self, launch: Launch) -> None:
        """Make the Job, then what belongs to it; its pods wait for the token, so a worker may die in between."""
        if (launch.image or launch.placement.default_image) is None:
            sentence = f"the job names no image, and pool {launch.pool} has none for jobs that bring a package"
            raise LaunchRefused("IMAGE_MISSING", sentence)
        await self._namespaces.ensure(launch)
        namespace = self._installation.namespace(launch.team)
        try:
            job_uid = await self._make_job(launch, namespace)
            for manifest in neighbours_manifests(self._installation, launch, job_uid):
                await self._make(manifest, namespace)
        except ObjectMissing:
            self._namespaces.doubt(launch.team)
            raise
        except ObjectInvalid as refusal:
            raise LaunchRefused("MANIFEST_REFUSED", f"the cluster does not accept it: {refusal.message}") from refusal
        except AdmissionRefused as refusal:
            raise LaunchRefused("ADMISSION_REFUSED", f"the cluster does not admit it: {refusal.message}") from refusal

    async def observe(self) -> Sequence[Observation]:
        """Every launch of ours, ended ones until `remove`; what waits in vain is told to stop on the way."""
        await self._copies.require()
        found = [(seen, await self._observe(seen)) for seen in self._copies.launches()]
        self._ended = {told.name: (seen, told) for seen, told in found if told.phase is Phase.ENDED}
        return [told for _, told in found]

    async def knows(self, name: str) -> bool:
        """Whether the API server has it, whatever our copy says."""
        return await read_launch(self._api, self._installation, name) is not None

    async def stop(self, name: str, *, grace_seconds: int, reason: Reason) -> None:
        """Suspend the Job, which ends its pods; the reason is kept on it, so that it is told whoever sees the end."""
        seen = await read_launch(self._api, self._installation, name)
        if seen is not None and observe_launch(seen, at=self._clock.now()).phase is not Phase.ENDED:
            await stop_objects(self._api, seen, grace_seconds=grace_seconds, reason=reason)

    async def remove(self, name: str) -> None:
        """Delete the Job and all that it owns, and let go of its pods."""
        seen = self._copies.launch(name) or await read_launch(self._api, self._installation, name)
        if seen is not None:
            await forget_objects(self._api, seen)

    async def logs(self, name: str, *, after: int, limit: int) -> Sequence[LogLine]:
        """What the runner itself printed in each pod; the script's own lines come through the runner."""
        seen = self._copies.launch(name) or await read_launch(self._api, self._installation, name)
        lines = [] if seen is None else await read_platform_log(self._api, seen.pods)
        return [LogLine(number, text) for number, text in enumerate(lines, start=1) if number > after][:limit]

    async def _make_job(self, launch: Launch, namespace: str) -> str:
        manifest = job_manifest(self._installation, launch, self._rules)
        try:
            job = await self._api.create(JOBS, manifest, namespace=namespace)
        except ObjectExists:
            job = await self._api.get(JOBS, launch.name, namespace=namespace)
            _require_same(launch, job)
        uid: str = job["metadata"]["uid"]
        try:
            token = token_manifest(self._installation, launch, uid)
            await self._api.create(SECRETS, token, namespace=namespace)
        except ObjectExists:
            # An earlier round's token; it is as good, and may be in use already.
            logger.info("%s has its token from an earlier round.", launch.name)
        return uid

    async def _make(self, manifest: KubernetesObject, namespace: str) -> None:
        try:
            await self._api.create(_KINDS[manifest["kind"]], manifest, namespace=namespace)
        except ObjectExists:
            return

    async def _observe(self, seen: Seen) -> Observation:
        known, told = self._ended.get(naming.launch_of(seen.job or seen.pods[0]), (None, None))
        if told is not None and known is seen:
            return told  # what has ended stays as it ended
        at = self._clock.now()
        silent = silent_nodes(seen.pods, at=at)
        if silent:
            seen = replace(seen, heard=await last_heard(self._api, silent))
        found = observe_launch(seen, at=at)
        if needs_proof(found, seen):
            found = await self._proven(found, seen.heard)
        vain = overdue(seen, at=at, limits=self._limits)
        if vain is not None:
            logger.warning("%s is given up: %s.", found.name, vain.message)
            await self.stop(found.name, grace_seconds=0, reason=vain)
        return found

    async def _proven(self, found: Observation, heard: Mapping[str, datetime]) -> Observation:
        """What looks like a loss, or like somebody else's doing, read anew: two copies may lag differently."""
        fresh = await read_launch(self._api, self._installation, found.name)
        if fresh is None:
            return found
        _, namespace = naming.key_of(fresh.job or fresh.pods[0])
        ends = await namespace_ends(self._api, namespace)
        return observe_launch(replace(fresh, heard=heard, namespace_ends=ends), at=self._clock.now())


def _require_same(launch: Launch, job: KubernetesObject) -> None:
    about = job["metadata"]
    spec_hash = (about.get("annotations") or {}).get(naming.SPEC_HASH, "")
    if spec_hash != launch.spec_hash or (about.get("labels") or {}).get(naming.JOB) != str(launch.job_id):
        raise LaunchConflict(launch.name, spec_hash)
