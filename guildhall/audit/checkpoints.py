"""Signed tree heads as C2SP checkpoints: a signed note with the log's origin, its size and its root.

Keys are Ed25519 and never in the database. A head carries a signature of every key in the file, so that who knows only
an earlier one can check it while keys are replaced.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from guildhall.errors import Invalid

ED25519 = 0x01
COSIGNATURE = 0x04
_LINE = "— "


class NotACheckpoint(Invalid):
    """A text that should be a signed head, or a key that should be one, and is not."""

    code = "NOT_A_CHECKPOINT"


@dataclass(frozen=True)
class Head:
    """What a checkpoint says: this log, this many leaves, this root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True)
class Signer:
    """A key of ours under the log's origin."""

    origin: str
    seed: bytes

    @cached_property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    @cached_property
    def verifier(self) -> "Verifier":
        """The public half."""
        return Verifier(self.origin, ED25519, self._key.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """The line of a note with the signature."""
        return signature_line(self.origin, self.verifier.key_hash, self._key.sign(text.encode()))

    def __repr__(self) -> str:
        return f"Signer({self.verifier.text})"


@dataclass(frozen=True)
class Verifier:
    """A public key as C2SP writes it: `name+hash+key`. Type 1 is a log's, type 4 a witness's."""

    name: str
    kind: int
    public: bytes

    @classmethod
    def parse(cls, text: str) -> "Verifier":
        """Read a verifier key. Raises NotACheckpoint."""
        name, _, rest = text.strip().partition("+")
        told, _, encoded = rest.partition("+")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raw = b""
        if len(raw) != 33 or raw[0] not in {ED25519, COSIGNATURE} or not name:
            raise NotACheckpoint(f"{text[:80]!r} is no Ed25519 verifier key like name+0123abcd+AQ….")
        verifier = cls(name, raw[0], raw[1:])
        if verifier.key_hash.hex() != told:
            raise NotACheckpoint(f"The verifier key of {name!r} is damaged: its hash is not {told!r}.")
        return verifier

    @cached_property
    def key_hash(self) -> bytes:
        """The four bytes by which a signature names its key."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @property
    def text(self) -> str:
        """As others are given it."""
        return f"{self.name}+{self.key_hash.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    def verifies(self, note: str) -> bool:
        """Whether the note bears a valid signature of this key."""
        text, lines = split_note(note)
        return any(self._valid(text, line) for line in lines)

    def _valid(self, text: str, line: str) -> bool:
        name, _, encoded = line.removeprefix(_LINE).partition(" ")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return False
        if name != self.name or raw[:4] != self.key_hash:
            return False
        signed, signature = text, raw[4:]
        if self.kind == COSIGNATURE:
            signed = f"cosignature/v1\ntime {int.from_bytes(raw[4:12], 'big')}\n{text}"
            signature = raw[12:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, signed.encode())
        except InvalidSignature:
            return False
        return True


def sign_head(head: Head, signers: Sequence[Signer]) -> str:
    """The checkpoint, with a line for each key."""
    return head.text + "\n" + "".join(signer.sign(head.text) for signer in signers)


def open_head(note: str, verifiers: Sequence[Verifier]) -> Head:
    """The head in a checkpoint that one of the keys has signed. Raises NotACheckpoint."""
    head = read_head(note)
    if not any(verifier.verifies(note) for verifier in verifiers):
        raise NotACheckpoint(f"The head of {head.size} leaves bears no valid signature of a key that is known.")
    return head


def read_head(note: str) -> Head:
    """The head in a checkpoint, whoever signed it. Raises NotACheckpoint."""
    text, _ = split_note(note)
    lines = text.split("\n")
    try:
        origin, size, root = lines[0], int(lines[1]), base64.b64decode(lines[2], validate=True)
    except (ValueError, IndexError) as error:
        raise NotACheckpoint("This is no checkpoint: origin, size and root are its first three lines.") from error
    return Head(origin, size, root)


def split_note(note: str) -> tuple[str, list[str]]:
    """The signed text of a note, and its signature lines. Raises NotACheckpoint."""
    text, separator, signatures = note.rpartition("\n\n")
    lines = signatures.splitlines()
    if not separator or not lines or not all(line.startswith(_LINE) for line in lines):
        raise NotACheckpoint("This is no signed note: a text, an empty line, and signatures that begin with a dash.")
    return text + "\n", lines


def signature_line(name: str, key_hash: bytes, signature: bytes) -> str:
    """One signature as a note has it."""
    return f"{_LINE}{name} {base64.b64encode(key_hash + signature).decode()}\n"
