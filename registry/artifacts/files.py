"""What a caller may announce as files: paths that every file system can hold, sizes, digests, no two in one place."""

import mimetypes
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from guildhall.errors import InvalidInput, LimitExceeded, Problem
from registry.artifacts.tables import SHA256_PATTERN

FILES_MAX = 10_000
PATH_BYTES_MAX = 1024
SEGMENT_BYTES_MAX = 255
FILE_BYTES_MAX = 5 * 1024**4
"""Five TiB, the largest object that S3 keeps."""
PROBLEMS_MAX = 50
"""A caller with a thousand wrong paths has one mistake; the first ones show it."""
MEDIA_TYPE_DEFAULT = "application/octet-stream"

_SHA256 = re.compile(SHA256_PATTERN)
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}")


class TooManyFiles(LimitExceeded):
    """More files than one owner may have."""

    code = "TOO_MANY_FILES"


@dataclass(frozen=True, kw_only=True)
class FileSpec:
    """One file as its owner announces it; `sha256` in hexadecimal. None: to be guessed (media type), unknown (rows)."""

    path: str
    size_bytes: int
    sha256: str
    media_type: str | None = None
    rows: int | None = None


def require_files(files: Sequence[FileSpec], *, field: str = "files") -> list[FileSpec]:
    """The files with digests in lower case and media types filled in, or InvalidInput that names each wrong one.

    At least one file, at most FILES_MAX. `field` is the input's list, as in `files[3].path`.
    """
    if len(files) > FILES_MAX:
        raise TooManyFiles(f"{len(files)} files are more than one version may have ({FILES_MAX}).", field=field)
    problems: list[Problem] = []
    if not files:
        problems.append(Problem("FILES_REQUIRED", "Name at least one file.", field))
    for number, file in enumerate(files):
        problems.extend(_problems(file, f"{field}[{number}]"))
    if not problems:
        problems.extend(_collisions(files, field))
    if problems:
        raise InvalidInput(problems[:PROBLEMS_MAX])
    return [
        FileSpec(
            path=file.path,
            size_bytes=file.size_bytes,
            sha256=file.sha256.lower(),
            media_type=file.media_type or media_type_of(file.path),
            rows=file.rows,
        )
        for file in files
    ]


def path_problem(path: str) -> str | None:
    """Why the path cannot be a file's, as the end of the sentence "… cannot be a path: "; None where it can.

    Paths are relative, separated by "/", in Unicode's composed form (NFC), so that one file has one path everywhere.
    """
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    segments = path.split("/")
    plain = path.isascii() and path.isprintable()  # then it is composed, and all of its characters are visible
    checks = [
        (not path, "it is empty"),
        (length > PATH_BYTES_MAX, f"it is longer than {PATH_BYTES_MAX} bytes"),
        (path.startswith("/") or re.match(r"[A-Za-z]:", path) is not None, "it is absolute"),
        ("\\" in path, 'parts are separated by "/", not by "\\"'),
        (not plain and any(unicodedata.category(letter) == "Cc" for letter in path), "it contains a control character"),
        (
            not plain and any(unicodedata.category(letter) == "Cf" for letter in path),
            "it contains an invisible format character",
        ),
        (".." in segments, 'it contains ".."'),
        ("." in segments or "" in segments, 'it contains an empty part or "."'),
        (any(segment.isspace() for segment in segments), "a part is only white space"),
        (any(len(segment.encode()) > SEGMENT_BYTES_MAX for segment in segments), "a part is longer than 255 bytes"),
        (not plain and unicodedata.normalize("NFC", path) != path, "it is not in Unicode's composed form (NFC)"),
    ]
    return next((reason for wrong, reason in checks if wrong), None)


def media_type_of(path: str) -> str:
    """The media type that the ending of the path suggests."""
    guess, encoding = mimetypes.guess_type(path, strict=True)
    return guess if guess is not None and encoding is None else MEDIA_TYPE_DEFAULT


def _problems(file: FileSpec, field: str) -> list[Problem]:
    problems = []
    if (reason := path_problem(file.path)) is not None:
        problems.append(Problem("INVALID_PATH", f"{_shown(file.path)} cannot be a path: {reason}.", f"{field}.path"))
    if not 0 <= file.size_bytes <= FILE_BYTES_MAX:
        message = f"{file.size_bytes} cannot be a size in bytes: it must be from 0 to {FILE_BYTES_MAX}."
        problems.append(Problem("INVALID_SIZE", message, f"{field}.sizeBytes"))
    if _SHA256.fullmatch(file.sha256.lower()) is None:
        message = f"{_shown(file.sha256)} cannot be a SHA-256 digest: it must be 64 hexadecimal digits."
        problems.append(Problem("INVALID_DIGEST", message, f"{field}.sha256"))
    if file.media_type is not None and _MEDIA_TYPE.fullmatch(file.media_type) is None:
        message = f"{_shown(file.media_type)} cannot be a media type: it must look like text/csv."
        problems.append(Problem("INVALID_MEDIA_TYPE", message, f"{field}.mediaType"))
    if file.rows is not None and not 0 <= file.rows < 2**63:
        problems.append(Problem("INVALID_ROWS", f"{file.rows} cannot be a number of rows.", f"{field}.rows"))
    return problems


def _collisions(files: Sequence[FileSpec], field: str) -> list[Problem]:
    """Two files with one path, or a file where another one needs a folder: neither can be laid out in a folder."""
    problems = []
    first: dict[str, int] = {}
    for number, file in enumerate(files):
        if file.path in first:
            message = f"{_shown(file.path)} is named twice."
            problems.append(Problem("DUPLICATE_PATH", message, f"{field}[{number}].path"))
        first.setdefault(file.path, number)
    for number, file in enumerate(files):
        parts = file.path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder in first:
                message = f"{_shown(file.path)} needs {_shown(folder)} as a folder, but that is a file."
                problems.append(Problem("PATH_CONFLICT", message, f"{field}[{number}].path"))
    return problems


def _shown(value: str) -> str:
    return ascii(value) if len(value) <= 120 else ascii(value[:120]) + "…"
