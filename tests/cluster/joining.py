"""How tests and the command line come to a cluster: join the one of that name, or start it."""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.cluster.binaries import built_binaries
from tests.cluster.caching import locked
from tests.cluster.configuration import CNI_PLUGINS
from tests.cluster.coredns_program import built_coredns
from tests.cluster.images import REPOSITORY, archives
from tests.cluster.keeper import LISTENING, SOCKET, lock_of
from tests.cluster.standing import remove_control_group, remove_folder
from tests.cluster.unavailable import ClusterUnavailable

SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
DOWN_SECONDS_MAX = 120
ANSWER_SECONDS_MAX = 300
_NODE_PROGRAMS: Mapping[str, str] = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "unshare": "util-linux",
}


def states_folder() -> Path:
    """Where clusters of this user live; short, because the path of a Unix socket has room for about 100 bytes."""
    return Path(tempfile.gettempdir()) / f"guildhall-cluster-{os.getuid()}"


def name_of_checkout() -> str:
    """The name under which `up` and `down` of this checkout mean one cluster, and those of another a second."""
    return f"dev-{hashlib.sha256(str(REPOSITORY).encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Joined:
    """A cluster in use: it stands at least until `leave`, or until this process ends in whatever way."""

    state: Path
    kubeconfig: Path
    pid: int
    real_node: bool
    lifeline: socket.socket

    def order(self, do: str, **rest: Any) -> dict[str, Any]:
        """Give the keeper an order and wait for its answer."""
        return order(self.state, do, **rest)

    async def ordered(self, do: str, **rest: Any) -> dict[str, Any]:
        """Same, without holding up the event loop."""
        return await asyncio.to_thread(order, self.state, do, **rest)

    def leave(self) -> None:
        """Let go; if nobody else uses it, wait until nothing of it is left."""
        self.lifeline.close()
        ends_at = time.monotonic() + DOWN_SECONDS_MAX
        while time.monotonic() < ends_at:
            with contextlib.suppress(OSError), _connected(self.state) as still:
                answer = _ask(still, {"do": "users"})
                if answer.get("lifelines") or answer.get("pinned"):
                    return
            if not self.state.exists():
                return
            time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


def join(name: str, *, real_node: bool = True, say: Callable[[str], None] | None = None) -> Joined:
    """Join the cluster of that name, started first where there is none; building it first may take minutes."""
    tell = say or (lambda _: None)
    check_machine(real_node=real_node)
    binaries = built_binaries(tell)
    images = archives(binaries, tell) if real_node else []
    if real_node:
        built_coredns(tell)  # the keeper, who starts it, has nobody to tell that it takes a while
    states = states_folder()
    states.mkdir(mode=0o700, exist_ok=True)
    sweep(states)
    state = states / name
    with locked(lock_of(state)):
        try:
            lifeline = _connected(state)
        except OSError:
            _start(
                state,
                {
                    "state": str(state),
                    "binaries": str(binaries.folder),
                    "archives": [str(image) for image in images],
                    "real_node": real_node,
                },
            )
            lifeline = _connected(state)
    try:
        answer = _ask(lifeline, {"do": "join"})
        return Joined(state, Path(answer["kubeconfig"]), answer["pid"], answer["real_node"], lifeline)
    except BaseException:
        lifeline.close()
        raise


def order(state: Path, do: str, **rest: Any) -> dict[str, Any]:
    """Give the keeper of that folder one order."""
    with _connected(state) as connection:
        return _ask(connection, {"do": do, **rest})


def take_down(name: str) -> bool:
    """End the cluster of that name; False where there is none."""
    state = states_folder() / name
    if not state.exists():
        return False
    try:
        order(state, "down")
    except OSError:
        sweep(states_folder())  # its keeper was killed
    ends_at = time.monotonic() + DOWN_SECONDS_MAX
    while state.exists():
        if time.monotonic() > ends_at:
            raise ClusterUnavailable(f"{DOWN_SECONDS_MAX} seconds were not enough to take {name} down ({state})")
        time.sleep(0.05)
    return True


def sweep(states: Path) -> None:
    """Remove what clusters left whose keeper was killed: their processes are gone, their folders are not."""
    for state in states.iterdir() if states.is_dir() else ():
        if not state.is_dir():
            continue
        with locked(lock_of(state)):
            try:
                _connected(state).close()
            except OSError:
                remove_control_group(f"guildhall-{state.name}")
                remove_folder(state)


def check_machine(*, real_node: bool) -> None:
    """Refuse in one line where a cluster cannot stand."""
    if sys.platform != "linux":
        raise ClusterUnavailable(f"the test cluster needs Linux, this is {sys.platform}")
    if not real_node:
        return
    if os.geteuid() != 0:
        raise ClusterUnavailable("the test cluster's node needs root (the control plane alone does not)")
    path = f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}"
    missing = {package for program, package in _NODE_PROGRAMS.items() if shutil.which(program, path=path) is None}
    if not (CNI_PLUGINS / "bridge").exists():
        missing.add("containernetworking-plugins")
    if missing:
        raise ClusterUnavailable(f"the test cluster's node needs these Debian packages: {' '.join(sorted(missing))}")
    tried = subprocess.run(
        ["unshare", "--net", "--pid", "--mount", "--ipc", "--fork", "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        raise ClusterUnavailable(f"namespaces cannot be made here: {tried.stderr.strip()}")


def _start(state: Path, handed_over: Mapping[str, Any]) -> None:
    """Start a keeper that outlives us, and wait until it listens."""
    state.mkdir(mode=0o700)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("COVERAGE", "COV_"))}
    environment["PATH"] = f"{environment.get('PATH', os.defpath)}:{SYSTEM_PATH}"
    with subprocess.Popen(
        ["setsid", "--fork", sys.executable, "-m", "tests.cluster.keeper", json.dumps(handed_over)],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as starting:
        assert starting.stdout is not None
        said = starting.stdout.readline()
        if said != LISTENING:
            said += starting.stdout.read()
            remove_folder(state)
            last = (said.decode(errors="replace").strip().splitlines() or ["no word"])[-1]
            raise ClusterUnavailable(f"the keeper of the cluster did not start: {last}")


def _connected(state: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(ANSWER_SECONDS_MAX)
    try:
        connection.connect(str(state / SOCKET))
    except BaseException:
        connection.close()
        raise
    return connection


def _ask(connection: socket.socket, question: Mapping[str, Any]) -> dict[str, Any]:
    connection.sendall(json.dumps(question).encode() + b"\n")
    with connection.makefile("rb") as lines:
        line = lines.readline()
    if not line:
        raise ClusterUnavailable("the cluster was taken down")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise ClusterUnavailable(answer["error"])
    return answer
