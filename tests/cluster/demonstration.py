"""`python -m tests.cluster demo`: the story of `demo/`, its jobs in real pods that reach the server on this machine."""

import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

from rich.console import Console

from demo.__main__ import tell
from demo.organisation import POOLS, Platform
from demo.server import DemoFailed
from guildhall.settings import SettingsError
from guildhall_client.errors import GuildhallClientError
from tests.cluster.certificates import NODE
from tests.cluster.configuration import LOOPBACK, NODE_ADDRESS
from tests.cluster.images import TRAINING, training_archive
from tests.cluster.joining import Joined, join

NAME = "forge"


def demonstrate(cluster: str, say: Callable[[str], None]) -> int:
    """0 when the whole story ran on the cluster of that name, which is started where it does not stand."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        with join(cluster, say=say) as joined, ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="guildhall-demo-cluster-"))
            platform = platform_of(joined, say)
            variables = stack.enter_context(reachable(joined))
            # Each demonstration has a database of its own, as the cluster may be another the next time.
            os.environ.update(variables, GUILDHALL_DATA_DIR=folder)
            tell(stack, console, platform=platform)
    except (DemoFailed, GuildhallClientError, SettingsError, RuntimeError, OSError) as error:
        Console(stderr=True).print(f"[red]The demo ended early:[/red] {error}", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def platform_of(joined: Joined, say: Callable[[str], None]) -> Platform:
    """Bring the image that the training needs, and let the node offer what the story's pools are made of."""
    joined.order("load", archive=str(training_archive(say)))
    resources = {accelerator: f"guildhall.example/{accelerator}" for accelerator, _ in POOLS.values()}
    for accelerator, slots in POOLS.values():
        joined.order("offer", resource=resources[accelerator], count=slots)
    return Platform(
        name=NAME,
        kubeconfig=joined.kubeconfig.read_text(encoding="utf-8"),
        image=TRAINING,
        node_selector={"kubernetes.io/hostname": NODE},
        resources=resources,
    )


@contextlib.contextmanager
def reachable(joined: Joined) -> Iterator[Mapping[str, str]]:
    """The settings of a server that is yet to start, with which pods will reach it."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    there = joined.order("expose", port=port, as_port=0)["port"]
    try:
        yield {"GUILDHALL_BIND": f"{LOOPBACK}:{port}", "GUILDHALL_JOBS_URL": f"http://{NODE_ADDRESS}:{there}"}
    finally:
        joined.order("conceal", as_port=there)
