"""An S3 store for tests: versitygw on loopback over a folder, by TLS, with a bucket and its credentials."""

import asyncio
import contextlib
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.certificates import Authority
from tests.cluster.standing import free_ports

REGION = "us-east-1"
START_SECONDS_MAX = 180
END_SECONDS_MAX = 20
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class ObjectStore:
    """Where it listens, and who may use it."""

    port: int
    access_key: str
    secret_key: str
    buckets: Path

    def variables(self, host: str = "127.0.0.1") -> dict[str, str]:
        """What a program's environment must say to use it at that host."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": f"https://{host}:{self.port}",
        }

    def at(self, port: int) -> "ObjectStore":
        """The same, where it is reached through another port."""
        return ObjectStore(port, self.access_key, self.secret_key, self.buckets)

    def keys(self, bucket: str) -> list[str]:
        """The whole objects that lie in a bucket now."""
        top = self.buckets / bucket
        files = (path.relative_to(top) for path in top.rglob("*") if path.is_file())
        return sorted(str(path) for path in files if not path.parts[0].startswith(".sgwtmp"))


@contextlib.asynccontextmanager
async def object_store(
    program: Path, folder: Path, authority: Authority, buckets: Sequence[str], *addresses: str
) -> AsyncIterator[ObjectStore]:
    """The store with these empty buckets, for as long as the block; the authority signs for it at these addresses."""
    authority.server("store", ["127.0.0.1", *addresses])
    top = folder / "buckets"
    for bucket in buckets:
        (top / bucket).mkdir(parents=True)
    (port,) = free_ports(1)
    store = ObjectStore(port, f"key{secrets.token_hex(8)}", secrets.token_hex(20), top)
    certificate = authority.folder / "store"
    with (folder / "store.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(str(program), "--port", f"127.0.0.1:{port}", "--region", REGION),
            *("--cert", f"{certificate}.crt", "--key", f"{certificate}.key", "posix", str(top)),
            env={**os.environ, "ROOT_ACCESS_KEY": store.access_key, "ROOT_SECRET_KEY": store.secret_key},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
        )
    try:
        await _listening(process, port, authority.folder / "ca.crt", folder / "store.log")
        yield store
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_SECONDS_MAX)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _listening(process: asyncio.subprocess.Process, port: int, authority: Path, log: Path) -> None:
    trusted = ssl.create_default_context(cafile=str(authority))
    async with asyncio.timeout(START_SECONDS_MAX):
        while True:
            assert process.returncode is None, log.read_text(encoding="utf-8", errors="replace")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusted)
            except OSError:
                await asyncio.sleep(_POLL_SECONDS)
            else:
                writer.close()
                await writer.wait_closed()
                return
