"""What keeps a local job apart where the service runs as root on Linux: a user, mounts and process ids of its own.

The job sees neither the data folder nor any folder that is closed to other users, has a ``/tmp`` of its own, and dies
whole when its first process does. Elsewhere a job runs as the caller, which the documentation says.
"""

import ctypes
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
TEMPORARY_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 -- these are covered, not used
PROCESSES_MAX = 1024
OPEN_FILES_MAX = 4096
EXIT_ISOLATION_FAILED = 71


def isolation_available() -> bool:
    """Whether this process may make the namespaces; tried in a child, because they cannot be left again."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    child = os.fork()
    if child == 0:  # pragma: no cover -- the child leaves through os._exit, past any measurement
        try:
            _unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC)
            _mount("none", "/", "", MS_REC | MS_PRIVATE)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def become_subreaper() -> None:
    """Make orphaned descendants ours, so that what a job leaves behind can be found and killed."""
    if sys.platform == "linux":
        _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:  # pragma: no cover -- runs between fork and exec
    """Ask the kernel to kill this process when its parent dies."""
    if sys.platform == "linux":
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def limit_resources(*, disk_bytes: int, own_user: bool) -> None:  # pragma: no cover -- runs between fork and exec
    """Limit what one process may take; sums over a whole job are the supervisor's to watch."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_FSIZE, disk_bytes)
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES_MAX)
    if own_user:
        # The limit counts all processes of a user, so it only fits a user that is the job's alone.
        _lower(resource.RLIMIT_NPROC, PROCESSES_MAX)


def start_isolated(
    command: Sequence[str],
    *,
    environment: dict[str, str],
    workspace: Path,
    user_id: int,
    hidden_folders: Sequence[Path],
    readable_folders: Sequence[Path],
    disk_bytes: int,
    output: int,
) -> int:
    """Start ``command`` as ``user_id`` in namespaces of its own; answer with the pid of their first process.

    That process ends with the command's exit code, or 128 + signal, and everything in the namespace ends with it.
    ``output`` is the descriptor that the command's standard output and error go to.
    """
    _unshare(CLONE_NEWPID)
    first = os.fork()
    if first != 0:
        return first
    try:  # pragma: no cover -- children leave through exec or os._exit, past any measurement
        die_with_parent()
        _unshare(CLONE_NEWNS | CLONE_NEWIPC)
        _arrange_mounts(workspace, hidden_folders, readable_folders)

        def become_job() -> None:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.chdir(workspace)
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            limit_resources(disk_bytes=disk_bytes, own_user=True)
            os.setgroups([])
            os.setgid(user_id)
            os.setuid(user_id)
            _prctl(PR_SET_NO_NEW_PRIVS, 1)
            os.execve(command[0], list(command), environment)  # noqa: S606 -- the runner, by its absolute path

        _be_first_process(become_job)
    except BaseException as error:  # noqa: BLE001 -- whatever it is, this process must not go on as a second supervisor
        os.write(output, f"guildhall: the job could not be set apart: {error}\n".encode())
        os._exit(EXIT_ISOLATION_FAILED)


def closed_folders(kept: Sequence[Path]) -> list[Path]:
    """Folders on the way to ``kept`` that other users may not enter: their rest is hidden, the kept part laid in."""
    found = []
    for path in kept:
        for folder in reversed(path.parents):
            if not folder.stat().st_mode & 0o001:
                found.append(folder)
                break
    return found


def _be_first_process(become_job: Callable[[], None]) -> NoReturn:  # pragma: no cover -- runs in a forked child
    job = os.fork()
    if job == 0:
        become_job()
    signal.signal(signal.SIGTERM, lambda *_: os.kill(job, signal.SIGTERM))
    while True:
        # As the first process of its namespace it inherits every orphan, and must wait for them all.
        ended, status = os.wait()
        if ended == job:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _arrange_mounts(  # pragma: no cover -- runs in a forked child
    workspace: Path, hidden_folders: Sequence[Path], readable_folders: Sequence[Path]
) -> None:
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    kept = [workspace, *readable_folders]
    descriptors = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in kept}
    temporary = [Path(name) for name in TEMPORARY_FOLDERS if Path(name).is_dir()]
    hidden = outermost([*hidden_folders, *closed_folders(kept), *temporary])
    os.umask(0o022)
    for folder in hidden:
        _mount("tmpfs", str(folder), "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777" if folder in temporary else "mode=0755")
    for path in kept:
        if any(path.is_relative_to(folder) for folder in hidden):
            path.mkdir(parents=True, exist_ok=True)
            _mount(f"/proc/self/fd/{descriptors[path]}", str(path), "", MS_BIND | MS_REC)
            if path != workspace:
                _mount("none", str(path), "", MS_REMOUNT | MS_BIND | MS_RDONLY)
        os.close(descriptors[path])
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV)
    os.umask(0o077)


def outermost(folders: Sequence[Path]) -> list[Path]:
    """The folders without those that lie inside another of them, sorted, each resolved and once."""
    resolved = sorted({folder.resolve() for folder in folders})
    return [f for f in resolved if not any(f != other and f.is_relative_to(other) for other in resolved)]


def interpreter_folders() -> list[Path]:
    """What a job needs to see to run this interpreter and its installed distributions."""
    return outermost([Path(sys.prefix), Path(sys.base_prefix)])


def temporary_name(prefix: str, folder: Path) -> Path:
    """A new folder beside the jobs, to be renamed into place when it is complete."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=folder))


def _lower(limit: int, wanted: int) -> None:  # pragma: no cover -- runs between fork and exec
    hard = resource.getrlimit(limit)[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(limit, (value, value))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _unshare(flags: int) -> None:
    _checked(_libc().unshare(flags), "unshare")


def _prctl(option: int, value: int) -> None:
    _checked(_libc().prctl(option, value, 0, 0, 0), "prctl")


def _mount(  # pragma: no cover -- runs in a forked child
    source: str, target: str, filesystem: str, flags: int, options: str = ""
) -> None:
    arguments = (source.encode(), target.encode(), filesystem.encode() or None, ctypes.c_ulong(flags), options.encode())
    _checked(_libc().mount(*arguments), f"mount {target}")


def _checked(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
