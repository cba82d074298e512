"""Write `guildhall/trusted_documents.json` from the documents that our own clients send, or say that it is not that.

With `GUILDHALL_GRAPHQL_TRUSTED_ONLY` a server runs these and no others, so the file is committed and read in review.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys

from guildhall.graphql.trusted import MANIFEST, digest_of
from guildhall_client import documents
from guildhall_client.command import documents as command_documents

ACTIONS = ("write", "check")
ALIVE = ("{ __typename }", "{__typename}")
"""What a probe asks that has no token, as people write it."""


def main() -> None:
    """Do what the one argument says, `write` or `check`; a difference exits 1."""
    if sys.argv[1:] not in [[action] for action in ACTIONS]:
        sys.exit(f"one of {', '.join(ACTIONS)}, please")
    wanted = manifest()
    if sys.argv[1] == "write":
        MANIFEST.write_text(wanted, encoding="utf-8")
        print(f"{MANIFEST.name} written")
    elif not MANIFEST.exists() or MANIFEST.read_text(encoding="utf-8") != wanted:
        sys.exit(f"{MANIFEST.name} is not what the clients send; run `make trusted-documents` and review the change")
    else:
        print(f"{MANIFEST.name} is what the clients send")


def manifest() -> str:
    """The file's text: documents by hash, in the order of their text."""
    own = [
        importlib.import_module(f"{command_documents.__name__}.{found.name}")
        for found in pkgutil.iter_modules(command_documents.__path__)
    ]
    sent = [value for module in (documents, *own) for value in vars(module).values()]
    texts = sorted({*ALIVE, *(text for text in sent if isinstance(text, documents.Document))})
    return json.dumps({digest_of(text): text for text in texts}, indent=2) + "\n"


if __name__ == "__main__":
    main()
