"""Signed heads and verifier keys, and texts that are none."""

import pytest

from guildhall.audit.checkpoints import Head, NotACheckpoint, Signer, Verifier, open_head, read_head, sign_head
from guildhall.audit.merkle import EMPTY_ROOT, tile_path
from guildhall.audit.tables import Xid8

SIGNER = Signer("guildhall.example/audit", b"s" * 32)


class TestVerifier:
    def test_a_key_goes_out_and_comes_back(self) -> None:
        assert Verifier.parse(SIGNER.verifier.text) == SIGNER.verifier
        assert repr(SIGNER) == f"Signer({SIGNER.verifier.text})"

    @pytest.mark.parametrize("text", ["", "name", "name+00+!", "name+00+AAAA", "+00000000+" + "A" * 44])
    def test_what_is_no_key(self, text: str) -> None:
        with pytest.raises(NotACheckpoint, match="is no Ed25519 verifier key"):
            Verifier.parse(text)

    def test_a_damaged_key(self) -> None:
        name, told, key = SIGNER.verifier.text.split("+", 2)
        with pytest.raises(NotACheckpoint, match="is damaged"):
            Verifier.parse(f"{name}+{told[::-1]}+{key}")


class TestOpenHead:
    def test_any_key_that_signed_opens_it(self) -> None:
        head = Head(SIGNER.origin, 0, EMPTY_ROOT)
        other = Signer(SIGNER.origin, b"o" * 32)
        note = sign_head(head, [other, SIGNER])
        assert open_head(note, [SIGNER.verifier]) == open_head(note, [other.verifier]) == head

    @pytest.mark.parametrize(
        ("note", "want"),
        [
            ("", "no signed note"),
            ("a\n1\nAA==\n\nunsigned\n", "no signed note"),
            ("a\n\n— a AAAA\n", "no checkpoint"),
            ("a\nmany\nAA==\n\n— a AAAA\n", "no checkpoint"),
        ],
    )
    def test_what_is_no_head(self, note: str, want: str) -> None:
        with pytest.raises(NotACheckpoint, match=want):
            read_head(note)

    @pytest.mark.parametrize("line", ["— guildhall.example/audit !\n", "— other AAAA\n"])
    def test_signatures_that_are_none(self, line: str) -> None:
        with pytest.raises(NotACheckpoint, match="bears no valid signature"):
            open_head(Head(SIGNER.origin, 0, EMPTY_ROOT).text + "\n" + line, [SIGNER.verifier])

    def test_a_head_that_was_changed(self) -> None:
        note = sign_head(Head(SIGNER.origin, 0, EMPTY_ROOT), [SIGNER]).replace("\n0\n", "\n1\n")
        with pytest.raises(NotACheckpoint, match="of 1 leaves bears no valid signature"):
            open_head(note, [SIGNER.verifier])


class TestTilePath:
    def test_numbers_in_threes(self) -> None:
        assert tile_path(0, 1_234_067) == "tile/0/x001/x234/067"
        assert tile_path("entries", 7, 3) == "tile/entries/007.p/3"


class TestXid8:
    def test_its_name_in_a_table(self) -> None:
        assert Xid8().get_col_spec() == "xid8"
