"""Documents that are known by their hash: those that the client and the UI registered when they were built.

`make trusted-documents` writes the manifest; it is committed, so that a document joins it in review. Any caller may
name one by its hash; with `GUILDHALL_GRAPHQL_TRUSTED_ONLY` no other document runs.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guildhall.errors import Forbidden, Invalid, NotFound

MANIFEST = Path(__file__).parent.parent / "trusted_documents.json"
ALGORITHM = "sha256:"


class UnknownDocument(NotFound):
    """A hash that stands for none of the documents. The code is the one that clients wait for, to send the text."""

    code = "PERSISTED_QUERY_NOT_FOUND"


class UntrustedDocument(Forbidden):
    """A document that is none of the manifest, where only those run."""

    code = "DOCUMENT_NOT_TRUSTED"


class AmbiguousDocument(Invalid):
    """No document, or two that differ."""

    code = "BAD_REQUEST"


class TrustedDocuments:
    """The manifest, and whether it is all that may run."""

    def __init__(self, texts: Mapping[str, str], *, only: bool) -> None:
        self._texts = texts
        self._only = only

    def text_of(self, text: str | None, document_id: str | None, extensions: Mapping[str, Any]) -> str:
        """The text to run, sent or named: by `documentId`, or as Apollo's and urql's links do in `extensions`."""
        digest = _digest(document_id, extensions) if document_id is not None or extensions else None
        if text is None:
            if digest is None:
                raise AmbiguousDocument("`query` is missing: the text of a document.")
            found = self._texts.get(digest)
            if found is None:
                raise UnknownDocument("PersistedQueryNotFound: no document is known under this hash; send its text.")
            return found
        if digest is None and not self._only:
            return text
        own = digest_of(text)
        if digest is not None and digest != own:
            raise AmbiguousDocument("`query` is not the document that the hash stands for.")
        if self._only and own not in self._texts:
            raise UntrustedDocument("This server runs the documents of its manifest only; this is none of them.")
        return text


def load_trusted_documents(*, only: bool) -> TrustedDocuments:
    """The manifest that came with the program."""
    return TrustedDocuments(json.loads(MANIFEST.read_text(encoding="utf-8")), only=only)


def digest_of(text: str) -> str:
    """The hash of a document, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(document_id: str | None, extensions: Mapping[str, Any]) -> str | None:
    if document_id is not None:
        return document_id.removeprefix(ALGORITHM)
    persisted = extensions.get("persistedQuery")
    digest = persisted.get("sha256Hash") if isinstance(persisted, Mapping) else None
    return digest if isinstance(digest, str) else None
