"""Object stores by their addresses: a folder of this machine, S3, GCS, Azure, or memory; and why one refused.

Credentials and endpoints come from the environment, as each cloud's own tools read them (AWS_*, GOOGLE_*, …).
"""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
"""How S3, Azure and GCS say it. Only in an answer with a body: to HEAD a missing bucket looks like a missing key."""

_CODE = re.compile(r"<Code>(\w+)</Code>")


def open_store(url: str) -> ObjectStore:
    """The store at file:///folder (made if missing), s3://bucket/prefix, gs://…, az://… or memory:///."""
    if urlsplit(url).scheme == "memory":
        return MemoryStore()
    folder = folder_of(url)
    if folder is None:
        return from_url(url)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return LocalStore(folder)


def folder_of(url: str) -> Path | None:
    """The folder, where the store is one."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def bucket_of(url: str) -> str | None:
    """The bucket or container, where the store is one."""
    parts = urlsplit(url)
    return parts.netloc if parts.scheme not in {"file", "memory"} else None


def lacks_bucket(error: Exception) -> bool:
    """Whether the store answered that there is no such bucket."""
    text = str(error)
    return any(word in text for word in _NO_BUCKET)


def lost_upload(error: Exception) -> bool:
    """Whether the store answered that it no longer knows an upload in parts, which a rule of the bucket may end."""
    return "NoSuchUpload" in str(error)


def reason_of(error: Exception) -> str:
    """Why it refused, in a line: of an answer in XML the code, where obstore would show the answer."""
    line = str(error).partition("\n")[0].partition("<?xml")[0].strip().rstrip(".:")
    code = _CODE.search(str(error))
    return f"{line} ({code[1]})" if code else line or type(error).__name__
