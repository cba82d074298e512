"""The first process of a cluster's own namespaces: it starts what it is told to, and takes all with it when it ends.

Runs by its path under `python -I -S`, so it imports the standard library alone. As process 1 of a process namespace it
adopts what loses its parent; when it ends, the kernel kills everything in that namespace and drops its mounts and its
network. Its master speaks JSON lines on standard input; the end of that input is the end of everything. Without
namespaces (no root) the same module starts plain processes that die with it.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1
_MS_NOSUID_NODEV = 2 | 4
_MS_BIND = 4096
_CLONE_NEWCGROUP = 0x02000000
_CONTROL_GROUPS = "/sys/fs/cgroup"
# What containerd, runc and kubelet write outside the folders they are given; here it is written to nowhere.
_PRIVATE = ("/run", "/var/lib", "/var/log")
_libc = ctypes.CDLL(None, use_errno=True)


class Supervisor:
    """Starts, signals and buries processes; tells its master what ended."""

    def __init__(self, *, own_namespaces: bool) -> None:
        self._own_namespaces = own_namespaces
        self._names: dict[int, str] = {}
        self._runs: dict[int, tuple[Any, str]] = {}

    def serve(self) -> None:
        """Follow orders until the master is gone."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        rest = b""
        while True:
            ready, _, _ = select.select([0, reader], [], [])
            if reader in ready:
                os.read(reader, 4096)
                self._bury()
            if 0 in ready:
                block = os.read(0, 1 << 16)
                if not block:
                    break
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    self._follow(json.loads(line))
        self._end()

    def _follow(self, order: dict[str, Any]) -> None:
        try:
            answer = getattr(self, f"do_{order['do']}")(order)
        except (OSError, KeyError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        if answer is not None:
            tell({"id": order["id"], **answer})

    def do_start(self, order: dict[str, Any]) -> dict[str, Any]:
        """Start what goes on; its end is told when it comes."""
        with open(order["log"], "ab") as log:
            self._names[self._spawn(order["argv"], order.get("environment"), log)] = order["name"]
        return {}

    def do_run(self, order: dict[str, Any]) -> None:
        """Start what ends soon; the answer comes with its end."""
        with open(order["log"], "wb") as log:
            self._runs[self._spawn(order["argv"], order.get("environment"), log)] = (order["id"], order["log"])

    def do_signal(self, order: dict[str, Any]) -> dict[str, Any]:
        """Signal what was started under that name; nothing where it has ended."""
        found = [pid for pid, name in self._names.items() if name == order["name"]]
        for pid in found:
            os.kill(pid, order["signal"])
        return {"found": len(found)}

    def _spawn(self, argv: list[str], environment: dict[str, str] | None, log: Any) -> int:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            preexec_fn=None if self._own_namespaces else die_with_parent,
        )
        process.returncode = 0  # it is buried below; Popen must not look for it as well
        return process.pid

    def _bury(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            if pid in self._names:
                tell({"ended": self._names.pop(pid), "code": code})
            elif pid in self._runs:
                number, path = self._runs.pop(pid)
                with open(path, encoding="utf-8", errors="replace") as log:
                    tell({"id": number, "code": code, "said": log.read()[-4000:]})

    def _end(self) -> None:
        """Without namespaces nobody else ends them; with them, leaving is enough."""
        if self._own_namespaces:
            return
        for signal_number in (signal.SIGCONT, signal.SIGKILL):
            for pid in (*self._names, *self._runs):
                os.kill(pid, signal_number)
        for pid in (*self._names, *self._runs):
            os.waitpid(pid, 0)


def tell(message: dict[str, Any]) -> None:
    """One line to the master; one who is gone needs none."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(message).encode() + b"\n")


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the one that started it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def make_private(group: str) -> None:
    """Mounts of our own, seen by nobody else: /proc of these processes, and empty folders where others write.

    Each hierarchy of control groups begins at a group made for us, so that what runc makes lies under it.
    """
    tops = hierarchies()
    for top in tops:
        os.makedirs(f"{top}/{group}", exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # in version 1 a new group has none, and then no process may enter
            if top != _CONTROL_GROUPS and os.path.exists(f"{top}/{name}"):
                with open(f"{top}/{name}", encoding="ascii") as file:
                    write(f"{top}/{group}/{name}", file.read())
        write(f"{top}/{group}/cgroup.procs", "0")
    if _libc.unshare(_CLONE_NEWCGROUP) != 0:
        raise OSError(ctypes.get_errno(), "a namespace of control groups cannot be made")
    for top in tops:
        mount(f"{top}/{group}", top, "", _MS_BIND)
    if tops == [_CONTROL_GROUPS]:  # in version 2 a group with processes has no groups with limits below it
        os.makedirs(f"{_CONTROL_GROUPS}/components", exist_ok=True)
        write(f"{_CONTROL_GROUPS}/components/cgroup.procs", "0")
    for target, kind in (("/proc", "proc"), *((folder, "tmpfs") for folder in _PRIVATE)):
        mount(kind, target, kind, _MS_NOSUID_NODEV)


def hierarchies() -> list[str]:
    """Where control groups are made: one place in version 2, one for each controller in version 1."""
    if not os.path.exists(f"{_CONTROL_GROUPS}/cgroup.controllers"):
        found = (entry.path for entry in os.scandir(_CONTROL_GROUPS) if not entry.is_symlink())
        return [path for path in found if os.path.ismount(path)]
    with open(f"{_CONTROL_GROUPS}/cgroup.controllers", encoding="ascii") as file:
        write(f"{_CONTROL_GROUPS}/cgroup.subtree_control", " ".join(f"+{name}" for name in file.read().split()))
    return [_CONTROL_GROUPS]


def mount(source: str, target: str, kind: str, flags: int) -> None:
    """mount(2), which the standard library lacks."""
    if _libc.mount(source.encode(), target.encode(), kind.encode(), flags, None) != 0:
        raise OSError(ctypes.get_errno(), f"{target} cannot be mounted")


def write(path: str, content: str) -> None:
    """One write, as files of the kernel want it."""
    with open(path, "w", encoding="ascii") as file:
        file.write(content)


def main() -> None:
    """`inside.py GROUP` as process 1 of namespaces of its own, `inside.py` as a plain process."""
    # Still the /proc of outside: it tells the number under which the others know us.
    tell({"pid": int(os.readlink("/proc/self"))})
    own_namespaces = len(sys.argv) > 1
    if own_namespaces:
        make_private(sys.argv[1])
    else:
        die_with_parent()
    Supervisor(own_namespaces=own_namespaces).serve()


if __name__ == "__main__":
    main()
