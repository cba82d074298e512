"""Clusters are shared by name, stand side by side, and leave nothing: not after leaving, not after a kill -9."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from guildhall.clock import new_id
from tests.cluster import fixtures, joining
from tests.cluster.binaries import Binaries
from tests.cluster.caching import cache_folder
from tests.cluster.handle import RealCluster
from tests.cluster.images import REPOSITORY
from tests.cluster.joining import join, order, states_folder, sweep, take_down
from tests.cluster.keeper import lock_of
from tests.cluster.standing import CONTROL_GROUPS
from tests.cluster.unavailable import ClusterUnavailable

SECONDS_MAX = 120
HOLDER = """
import sys
from tests.cluster.joining import join
joined = join(sys.argv[1], real_node=sys.argv[2] == "node")
print(joined.pid, flush=True)
sys.stdin.read()
"""


def name_of(identity: UUID) -> str:
    return f"t-{identity.hex[-10:]}"


@pytest.fixture
def name() -> Iterator[str]:
    """The name of a cluster that this test alone knows; the test leaves nothing of it."""
    made = name_of(new_id())
    yield made
    assert not take_down(made)


def until(is_so: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + SECONDS_MAX
    while not is_so():
        assert time.monotonic() < ends_at, f"not within {SECONDS_MAX} seconds"
        time.sleep(0.05)


def processes_of(name: str) -> list[psutil.Process]:
    """Keeper, supervisor and components: they all name the cluster's folder in their arguments."""
    here = str(states_folder() / name)
    found = []
    for process in psutil.process_iter():
        try:
            arguments = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if f"{here}/" in arguments or f'"{here}"' in arguments:
            found.append(process)
    return found


def nothing_is_left(name: str) -> bool:
    paths = [states_folder() / name, lock_of(states_folder() / name), *control_groups_of(name)]
    return not processes_of(name) and not any(path.exists() for path in paths)


def control_groups_of(name: str) -> list[Path]:
    return [*CONTROL_GROUPS.glob(f"guildhall-{name}"), *CONTROL_GROUPS.glob(f"*/guildhall-{name}")]


def environment() -> Mapping[str, str]:
    return {**os.environ, "GUILDHALL_CACHE": str(cache_folder())}


@pytest.fixture
def holder(name: str, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process that has joined the cluster and holds it until it ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, name, request.param],
        cwd=REPOSITORY,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


class TestKilled:
    @pytest.mark.parametrize("holder", ["node"], indirect=True)
    async def test_user_leaves_nothing_and_the_neighbour_stands(
        self, cluster: RealCluster, name: str, holder: subprocess.Popen[str]
    ) -> None:
        assert holder.stdout is not None
        inside = int(holder.stdout.readline())
        assert {process.name() for process in processes_of(name)} >= {"kubernetes", "containerd"}
        assert control_groups_of(name) != []
        holder.kill()
        until(lambda: nothing_is_left(name))
        assert not psutil.pid_exists(inside)
        async with cluster.client() as http:
            assert (await http.get("/readyz")).text == "ok"

    @pytest.mark.parametrize("holder", ["control plane"], indirect=True)
    def test_keeper_takes_all_processes_along_and_the_next_start_sweeps(
        self, control_plane: RealCluster, name: str, holder: subprocess.Popen[str]
    ) -> None:
        assert holder.stdout is not None
        holder.stdout.readline()
        keepers = [process for process in processes_of(name) if "tests.cluster.keeper" in process.cmdline()]
        assert len(keepers) == 1
        keepers[0].send_signal(signal.SIGKILL)
        until(lambda: not processes_of(name))
        assert (states_folder() / name).exists()
        sweep(states_folder())
        until(lambda: nothing_is_left(name))


class TestJoin:
    def test_the_last_to_leave_takes_it_down(self, control_plane: RealCluster, name: str) -> None:
        first = join(name, real_node=False)
        second = join(name, real_node=False)
        assert first.pid == second.pid
        first.leave()
        assert order(second.state, "users") == {"lifelines": 1, "pinned": False}
        second.leave()
        until(lambda: nothing_is_left(name))

    def test_what_does_not_come_up_says_why_and_leaves_nothing(
        self, control_plane: RealCluster, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for program in ("kubernetes", "kwok"):
            (tmp_path / program).write_text("#!/bin/sh\necho no such luck >&2\nexit 3\n")
            (tmp_path / program).chmod(0o755)
        monkeypatch.setattr(joining, "built_binaries", lambda _: Binaries(tmp_path))
        with pytest.raises(ClusterUnavailable, match=r"^(etcd|kube-apiserver) ended with code 3: no such luck$"):
            join(name, real_node=False)
        until(lambda: nothing_is_left(name))


class TestCommandLine:
    def test_up_stands_until_down_and_down_twice_is_fine(self, control_plane: RealCluster, name: str) -> None:
        def command(*arguments: str) -> str:
            return subprocess.run(
                [sys.executable, "-m", "tests.cluster", *arguments, "--name", name],
                cwd=REPOSITORY,
                env=environment(),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            ).stdout

        kubeconfig = states_folder() / name / "kubeconfig"
        assert command("up", "--control-plane-only") == f"export KUBECONFIG={kubeconfig}\n"
        assert command("up", "--control-plane-only") == f"export KUBECONFIG={kubeconfig}\n"
        assert kubeconfig.exists()
        assert command("down") == f"{name} is down\n"
        until(lambda: nothing_is_left(name))
        assert command("down") == f"no cluster {name} stands\n"


class TestCheckMachine:
    def test_names_what_is_missing(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(joining, "SYSTEM_PATH", str(tmp_path))
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(joining, "CNI_PLUGINS", tmp_path)
        with pytest.raises(ClusterUnavailable) as refused:
            joining.check_machine(real_node=True)
        assert str(refused.value) == (
            "the test cluster's node needs these Debian packages: "
            "containerd containernetworking-plugins iproute2 runc util-linux"
        )

    def test_needs_root_for_a_node_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        joining.check_machine(real_node=False)
        with pytest.raises(ClusterUnavailable, match="needs root"):
            joining.check_machine(real_node=True)


class TestFixtures:
    @pytest.fixture(autouse=True)
    def nowhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(name: str, *, real_node: bool) -> None:
            raise ClusterUnavailable("there is no room")

        monkeypatch.setattr(fixtures, "join", refuse)

    def test_skip_with_the_reason(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fixtures, "_REQUIRED", False)
        with pytest.raises(pytest.skip.Exception, match="there is no room"):
            next(fixtures._standing("any", real_node=True))

    def test_fail_where_a_cluster_is_required(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fixtures, "_REQUIRED", True)
        with pytest.raises(pytest.fail.Exception, match="there is no room"):
            next(fixtures._standing("any", real_node=True))
