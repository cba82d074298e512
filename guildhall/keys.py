"""Secret keys in files of the data folder: made at the first start, readable by their owner alone.

What the database keeps but must not be able to read (the credentials of clusters) is encrypted under such a key.
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from guildhall.errors import Unavailable
from guildhall.settings import SettingsError

KEY_BYTES = 32
KEYS_MAX = 8
"""Keys in one file: the one that encrypts, and earlier ones that still decrypt until everything is encrypted anew."""
NONCE_BYTES = 12


class KeyMissing(Unavailable):
    """What is stored was encrypted under a key that this process does not have, or was altered since."""

    code = "KEY_MISSING"


@dataclass(frozen=True)
class Encrypted:
    """A secret as the database keeps it: AES-256-GCM, under the key of that name."""

    key_name: str
    nonce: bytes
    ciphertext: bytes


class Keyring:
    """Keys by name; the first encrypts, all decrypt. Its text form tells names only."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {key_name(key): key for key in keys}
        self.current = next(iter(self._keys))

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._keys)})"

    def encrypt(self, secret: str, *, about: bytes, random: Callable[[int], bytes] = secrets.token_bytes) -> Encrypted:
        """The secret under the current key. It can be read only as belonging to `about`, the id of its owner."""
        nonce = random(NONCE_BYTES)
        ciphertext = AESGCM(self._keys[self.current]).encrypt(nonce, secret.encode(), about)
        return Encrypted(self.current, nonce, ciphertext)

    def decrypt(self, encrypted: Encrypted, *, about: bytes) -> str:
        """The secret. Raises KeyMissing where its key is not here, or where it was altered or belongs to another."""
        key = self._keys.get(encrypted.key_name)
        if key is None:
            raise KeyMissing(
                f"A secret was encrypted under the key {encrypted.key_name}, which GUILDHALL_CREDENTIALS_KEY_FILE "
                f"does not hold (it holds {', '.join(self._keys)})."
            )
        try:
            return AESGCM(key).decrypt(encrypted.nonce, encrypted.ciphertext, about).decode()
        except InvalidTag:
            raise KeyMissing(
                f"A secret that was encrypted under the key {encrypted.key_name} does not decrypt: it was altered, or "
                "moved from another row."
            ) from None


def key_name(key: bytes) -> str:
    """The first hexadecimal digits of the key's hash: tells keys apart, gives nothing away."""
    return hashlib.sha256(b"guildhall key " + key).hexdigest()[:16]


def load_key(path: Path) -> bytes:
    """The key in the file; a missing file is made with a fresh key, mode 0600. Raises SettingsError for a wrong one.

    Two processes that start at once agree: the file appears whole under its name, and the first one stays.
    """
    keys = _load(path)
    if len(keys) != 1:
        raise SettingsError(f"The key file {path} holds {len(keys)} keys; it must hold one.")
    return keys[0]


def load_keys(path: Path) -> list[bytes]:
    """The keys in the file, one a line, the present one first; otherwise as `load_key`."""
    keys = _load(path)
    if len(keys) > KEYS_MAX:
        raise SettingsError(f"The key file {path} holds {len(keys)} keys; it may hold {KEYS_MAX}: drop the oldest.")
    return keys


def load_keyring(path: Path) -> Keyring:
    """The keys of `load_keys`, to encrypt and decrypt with."""
    return Keyring(load_keys(path))


def add_key(path: Path) -> Keyring:
    """Put a fresh key before those of the file, whole or not at all, and return them; the fresh one encrypts."""
    keys = [secrets.token_bytes(KEY_BYTES), *_load(path)]
    if len(keys) > KEYS_MAX:
        raise SettingsError(f"The key file {path} holds {KEYS_MAX} keys already: drop the oldest.")
    _draft(path, keys).replace(path)
    return Keyring(keys)


def _load(path: Path) -> list[bytes]:
    if not path.exists():
        _create(path)
    try:
        keys = [bytes.fromhex(line) for line in path.read_text(encoding="ascii").split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        raise SettingsError(f"The key file {path} cannot be read as {KEY_BYTES} bytes in hexadecimal.") from error
    for key in keys or [b""]:
        if len(key) != KEY_BYTES:
            raise SettingsError(f"The key file {path} holds {len(key)} bytes; it must hold {KEY_BYTES} in hexadecimal.")
    return keys


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path, [secrets.token_bytes(KEY_BYTES)])
    try:
        os.link(draft, path)  # unlike a rename, a link refuses to replace what a rival has just made
    except FileExistsError:
        return
    finally:
        draft.unlink()


def _draft(path: Path, keys: Sequence[bytes]) -> Path:
    """A file beside the one that is to be, on the disk before anybody finds it under its name."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write("".join(key.hex() + "\n" for key in keys))
        file.flush()
        os.fsync(file.fileno())
    return draft
