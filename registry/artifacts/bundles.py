"""Bundles: many small files in one stream, as an uncompressed tar of plain files named by their paths.

What is written is POSIX pax without owners or times; what is read may also be GNU tar's. docs/decisions has why.
"""

import tarfile
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from guildhall.errors import Invalid, LimitExceeded

FILE_BYTES_MAX = 1 << 20
"""The largest file of a bundle on its way in: each is held in memory once. Larger ones come in parts."""
EXTENSION_BYTES_MAX = 64 * 1024
"""What a header that only says more of the next file may have."""
HEADERS_PER_FILE_MAX = 8
"""Folders and headers that only say more of a file carry nothing that is counted; a file needs few of them."""
END = bytes(2 * tarfile.BLOCKSIZE)
_PLAIN = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE})


class BundleDamaged(Invalid):
    """The stream is no tar, or ends too early. What had arrived whole before is kept."""

    code = "BUNDLE_DAMAGED"


class NotAPlainFile(Invalid):
    """A link, a device or the like; nobody can upload one."""

    code = "NOT_A_PLAIN_FILE"


class BundleTooLarge(LimitExceeded):
    """More files, or more bytes, than a bundle may have."""

    code = "BUNDLE_TOO_LARGE"


@dataclass(frozen=True, kw_only=True)
class BundleLimits:
    """What one request may carry; `bytes_max` is of the files' own bytes."""

    files_max: int
    bytes_max: int


@dataclass(frozen=True)
class Member:
    """One file of a bundle."""

    path: str
    content: bytes


def head(path: str, size_bytes: int) -> bytes:
    """What goes before a file's bytes; a path that is long or not ASCII takes blocks of its own."""
    member = tarfile.TarInfo(path)
    member.size = size_bytes
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def padding(size_bytes: int) -> bytes:
    """What goes after them."""
    return bytes(-size_bytes % tarfile.BLOCKSIZE)


async def members(chunks: AsyncIterator[bytes], limits: BundleLimits) -> AsyncGenerator[Member]:
    """The files of a bundle as they arrive, one in memory at a time; folders are passed over.

    Raises BundleDamaged, NotAPlainFile and BundleTooLarge where it comes to it, and whatever `chunks` raises.
    """
    stream = _Stream(chunks)
    headers = files = size_bytes = 0
    headers_max = limits.files_max * HEADERS_PER_FILE_MAX
    longer_name: str | None = None
    while (block := await stream.take(tarfile.BLOCKSIZE)) and block.count(0) < tarfile.BLOCKSIZE:
        about = _header(block)
        headers += 1
        if headers > headers_max:
            raise BundleTooLarge(f"A bundle of {limits.files_max} files may have {headers_max} headers at most.")
        if about.type in {tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE}:
            content = await stream.content(about.size, EXTENSION_BYTES_MAX, about.name)
            if about.type != tarfile.XGLTYPE:
                longer_name = _longer_name(about.type, content) or longer_name
            continue
        path, longer_name = (longer_name or about.name).removeprefix("./"), None
        if about.type == tarfile.DIRTYPE:
            continue
        if about.type not in _PLAIN:
            raise NotAPlainFile(f"{path} is not a plain file.", details={"path": path})
        files, size_bytes = files + 1, size_bytes + about.size
        if files > limits.files_max or size_bytes > limits.bytes_max:
            message = f"A bundle may have {limits.files_max} files and {limits.bytes_max} bytes at most."
            raise BundleTooLarge(message, details={"path": path})
        yield Member(path, await stream.content(about.size, FILE_BYTES_MAX, path))


class _Stream:
    """Chunks of any size, taken in pieces of the size asked for."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._held = bytearray()

    async def take(self, size_bytes: int) -> bytes:
        """So many bytes; nothing where the stream has ended just here. Raises BundleDamaged where it ends within."""
        while len(self._held) < size_bytes:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                if not self._held:
                    return b""
                raise BundleDamaged("The bundle ends in the middle of a file.")
            self._held += chunk
        taken = bytes(memoryview(self._held)[:size_bytes])
        del self._held[:size_bytes]
        return taken

    async def content(self, size_bytes: int, most: int, path: str) -> bytes:
        """A file's bytes, without what fills its last block."""
        if size_bytes > most:
            message = f"{path} has {size_bytes} bytes; in a bundle a file may have {most}. Send it in parts."
            raise BundleTooLarge(message, details={"path": path})
        padded = await self.take(size_bytes + len(padding(size_bytes)))
        if len(padded) < size_bytes:
            raise BundleDamaged(f"The bundle ends in the middle of {path}.", details={"path": path})
        return padded[:size_bytes]


def _header(block: bytes) -> tarfile.TarInfo:
    try:
        about = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise BundleDamaged(f"The bundle is no tar, or was damaged on its way: {error}.") from error
    if about.size < 0:  # a tar can say so
        raise BundleDamaged(f"{about.name} cannot have {about.size} bytes.")
    return about


def _longer_name(kind: bytes, content: bytes) -> str | None:
    """The next file's path, where the header in front of it names one."""
    try:
        if kind == tarfile.GNUTYPE_LONGNAME:
            return content.rstrip(b"\0").decode()
        return _pax_records(content).get("path")
    except ValueError as error:
        raise BundleDamaged("A header of the bundle cannot be read.") from error


def _pax_records(content: bytes) -> dict[str, str]:
    """Records are `LENGTH KEY=VALUE` and a line feed, the length being that of all of it. Raises ValueError."""
    records = {}
    while content:
        length = int(content[: content.index(b" ")])
        key, _, value = content[content.index(b" ") + 1 : length - 1].partition(b"=")
        if not 0 < length <= len(content):
            raise ValueError(length)
        records[key.decode()] = value.decode()
        content = content[length:]
    return records
