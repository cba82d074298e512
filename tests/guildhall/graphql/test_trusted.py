"""Documents by hash: named instead of sent, and where nothing else runs."""

from typing import Any

import pytest

from guildhall.graphql.trusted import (
    AmbiguousDocument,
    TrustedDocuments,
    UnknownDocument,
    UntrustedDocument,
    digest_of,
    load_trusted_documents,
)
from guildhall_client import documents

KNOWN, OTHER = "{ __typename }", "{ viewer { id } }"
TEXTS = {digest_of(KNOWN): KNOWN}
ANY = TrustedDocuments(TEXTS, only=False)
ONLY = TrustedDocuments(TEXTS, only=True)


def apollo(text: str) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": digest_of(text)}}


class TestTextOf:
    @pytest.mark.parametrize("trusted", [ANY, ONLY])
    def test_a_known_document_is_named_or_sent(self, trusted: TrustedDocuments) -> None:
        assert trusted.text_of(None, "sha256:" + digest_of(KNOWN), {}) == KNOWN
        assert trusted.text_of(None, digest_of(KNOWN), {}) == KNOWN
        assert trusted.text_of(None, None, apollo(KNOWN)) == KNOWN
        assert trusted.text_of(KNOWN, None, apollo(KNOWN)) == KNOWN
        assert trusted.text_of(KNOWN, None, {}) == KNOWN

    @pytest.mark.parametrize("trusted", [ANY, ONLY])
    @pytest.mark.parametrize("document_id", ["", "sha256:", "x" * 64, digest_of(OTHER)])
    def test_an_unknown_hash_asks_for_the_text(self, trusted: TrustedDocuments, document_id: str) -> None:
        with pytest.raises(UnknownDocument, match="send its text") as refused:
            trusted.text_of(None, document_id, {})
        assert refused.value.code == "PERSISTED_QUERY_NOT_FOUND"

    @pytest.mark.parametrize("extensions", [{}, {"persistedQuery": 7}, {"persistedQuery": {"sha256Hash": ["x"]}}])
    def test_neither_text_nor_hash_is_no_request(self, extensions: dict[str, Any]) -> None:
        with pytest.raises(AmbiguousDocument, match="`query` is missing"):
            ANY.text_of(None, None, extensions)

    @pytest.mark.parametrize("trusted", [ANY, ONLY])
    def test_a_hash_of_another_text_is_refused(self, trusted: TrustedDocuments) -> None:
        with pytest.raises(AmbiguousDocument, match="not the document that the hash stands for"):
            trusted.text_of(OTHER, digest_of(KNOWN), {})

    def test_another_document_runs_only_where_any_may(self) -> None:
        assert ANY.text_of(OTHER, None, {}) == OTHER
        assert ANY.text_of(OTHER, digest_of(OTHER), {}) == OTHER
        for digest in (None, digest_of(OTHER)):
            with pytest.raises(UntrustedDocument, match="its manifest only"):
                ONLY.text_of(OTHER, digest, {})


class TestLoad:
    def test_the_manifest_holds_what_the_client_sends(self) -> None:
        trusted = load_trusted_documents(only=True)
        for text in (KNOWN, documents.JOB, documents.CREATE_PACKAGE):
            assert trusted.text_of(None, digest_of(text), {}) == text
