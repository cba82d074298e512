"""Secret keys in files of the data folder: made at the first start, readable by their owner alone."""

import os
import secrets
from pathlib import Path

from guildhall.settings import SettingsError

KEY_BYTES = 32


def load_key(path: Path) -> bytes:
    """The key in the file; a missing file is made with a fresh key, mode 0600. Raises SettingsError for a wrong one.

    Two processes that start at once agree: the file appears whole under its name, and the first one stays.
    """
    if not path.exists():
        _create(path)
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise SettingsError(f"The key file {path} cannot be read as {KEY_BYTES} bytes in hexadecimal.") from error
    if len(key) != KEY_BYTES:
        raise SettingsError(f"The key file {path} holds {len(key)} bytes; it must hold {KEY_BYTES} in hexadecimal.")
    return key


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_bytes(KEY_BYTES).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # unlike a rename, a link refuses to replace what a rival has just made
        except FileExistsError:
            return
    finally:
        draft.unlink()
