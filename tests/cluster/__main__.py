"""`python -m tests.cluster build | up | down | run | demo`: the test cluster by hand."""

import argparse
import os
import signal
import subprocess
import sys

from tests.cluster.binaries import built_binaries
from tests.cluster.coredns_program import built_coredns
from tests.cluster.demonstration import demonstrate
from tests.cluster.helm_program import built_helm
from tests.cluster.images import archives, training_archive
from tests.cluster.joining import check_machine, join, name_of_checkout, take_down
from tests.cluster.server_image import dependencies_archive
from tests.cluster.unavailable import ClusterUnavailable
from tests.cluster.versitygw_program import built_versitygw


def main() -> int:
    """0, or 1 and one line that says why not."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description="A real Kubernetes for tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build the binaries and images into the cache; nothing is started")
    up = commands.add_parser("up", help="start a cluster, or find the one that stands, and print its kubeconfig")
    down = commands.add_parser("down", help="take it down; twice does no harm")
    enter = commands.add_parser("run", help="run a command in its network and mounts: run -- ctr -n k8s.io images ls")
    enter.add_argument("argv", nargs="+")
    story = commands.add_parser("demo", help="tell the story of demo/ with its jobs in pods of the cluster")
    for command in (up, down, enter, story):
        command.add_argument("--name", default=name_of_checkout(), help="several can stand side by side")
    up.add_argument("--control-plane-only", action="store_true", help="without a real node: needs no root")
    options = parser.parse_args()
    try:
        return int({"build": build, "up": stand, "down": end, "run": run, "demo": demo}[options.command](options))
    except ClusterUnavailable as error:
        print(error, file=sys.stderr)
        return 1


def build(_: argparse.Namespace) -> int:
    """Fill the cache, so that no test waits for a compiler."""
    check_machine(real_node=True)
    archives(built_binaries(complain), complain)
    training_archive(complain)
    dependencies_archive(complain)
    built_coredns(complain)
    built_helm(complain)
    built_versitygw(complain)
    return 0


def stand(options: argparse.Namespace) -> int:
    """Leave a cluster that stands until `down`."""
    with join(options.name, real_node=not options.control_plane_only, say=complain) as joined:
        joined.order("pin")
        print(f"export KUBECONFIG={joined.kubeconfig}")
        if joined.real_node:
            print(f"# its network and mounts: nsenter --target {joined.pid} --net --mount --pid")
    return 0


def end(options: argparse.Namespace) -> int:
    """Say what was done."""
    print(f"{options.name} is down" if take_down(options.name) else f"no cluster {options.name} stands")
    return 0


def run(options: argparse.Namespace) -> int:
    """Run a command as the parts of the cluster would see it."""
    with join(options.name) as joined:
        enter = ["nsenter", f"--target={joined.pid}", "--net", "--mount", "--pid", "--"]
        return subprocess.run([*enter, *options.argv], check=False, env=os.environ).returncode


def demo(options: argparse.Namespace) -> int:
    """The story, on the cluster that stands, or on one that ends with it."""
    # The cluster is this process's to leave: it must do so also when it is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return demonstrate(options.name, complain)


def complain(sentence: str) -> None:
    """Progress goes where it does not mix with the answer."""
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
