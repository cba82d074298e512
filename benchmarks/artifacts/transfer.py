"""One transfer in a process of its own, timed by itself: `upload`, `download` through the client, or a bare `copy`.

Prints one line of JSON: the seconds that it took, by how much its memory grew, and what is worth knowing of it.
"""

import hashlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from guildhall_client.bundles import Wanted
from guildhall_client.client import Client

COPY_BYTES = 1 << 20
PAGE = 100
FILES = """
query Files($id: ID!, $first: Int!, $after: String) {
  node(id: $id) {
    ... on ModelVersion {
      artifacts(first: $first, after: $after) {
        nodes { path url sizeBytes sha256 } pageInfo { hasNextPage endCursor }
      }
    }
  }
}
"""
TOKEN_VARIABLE = "BENCH_TOKEN"  # noqa: S105 -- the name of a variable


def upload(client: Client, model: str, folder: Path) -> str:
    """A new version of the folder's files; its id."""
    details: dict[str, Any] = {"metrics": [], "parameters": {}, "sources": []}
    return str(client.upload_model_version(model, folder, details)["id"])


def download(client: Client, version: str, folder: Path) -> int:
    """Every file of the version; how many."""
    wanted: list[Wanted] = []
    after, more = None, True
    while more:
        page = client.execute(FILES, {"id": version, "first": PAGE, "after": after})["node"]["artifacts"]
        wanted += [
            Wanted(file["path"], file["url"], folder / file["path"], int(file["sizeBytes"]), file["sha256"])
            for file in page["nodes"]
        ]
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    client.download_all(wanted)
    return len(wanted)


def copy(source: Path, target: Path) -> int:
    """Every file of a folder, read once, hashed and written: what no transfer that knows its digests can undercut."""
    count = 0
    for path in sorted(source.rglob("*")):
        if path.is_file():
            _copy_file(path, target / path.relative_to(source))
            count += 1
    return count


def _copy_file(source: Path, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as reading, target.open("wb") as writing:
        while chunk := reading.read(COPY_BYTES):
            digest.update(chunk)
            writing.write(chunk)
    return digest.hexdigest()


def main(what: str, *arguments: str) -> None:
    """One of the three."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer: str | int
    if what == "copy":
        began = time.perf_counter()
        answer = copy(Path(arguments[0]), Path(arguments[1]))
    else:
        url, name, folder = arguments
        with Client(url, os.environ[TOKEN_VARIABLE]) as client:
            client.execute("{ viewer { __typename } }")  # the connection stands before the time counts
            began = time.perf_counter()
            answer = (upload if what == "upload" else download)(client, name, Path(folder))
    seconds = time.perf_counter() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"seconds": seconds, "grown_mib": grown, "answer": answer}))


if __name__ == "__main__":
    main(*sys.argv[1:])
