"""Secret keys in files."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from guildhall.keys import KEY_BYTES, KEYS_MAX, Encrypted, KeyMissing, add_key, load_key, load_keyring
from guildhall.settings import SettingsError


class TestLoadKey:
    def test_is_made_once_for_its_owner_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "secret.key"
        key = load_key(path)
        assert len(key) == KEY_BYTES
        assert load_key(path) == key
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [found.name for found in path.parent.iterdir()] == ["secret.key"]

    def test_many_at_once_agree(self, tmp_path: Path) -> None:
        with ThreadPoolExecutor(16) as pool:
            keys = set(pool.map(load_key, [tmp_path / "secret.key"] * 64))
        assert len(keys) == 1
        assert [found.name for found in tmp_path.iterdir()] == ["secret.key"]

    @pytest.mark.parametrize(
        ("content", "sentence"), [("short", "cannot be read"), ("abcd", "holds 2 bytes"), ("", "holds 0")]
    )
    def test_a_wrong_file_is_told_and_kept(self, tmp_path: Path, content: str, sentence: str) -> None:
        path = tmp_path / "secret.key"
        path.write_text(content)
        with pytest.raises(SettingsError, match=sentence):
            load_key(path)
        assert path.read_text() == content

    def test_one_key_means_one(self, tmp_path: Path) -> None:
        path = tmp_path / "secret.key"
        add_key(path)
        with pytest.raises(SettingsError, match="holds 2 keys; it must hold one"):
            load_key(path)


class TestKeyring:
    def test_what_it_encrypted_it_decrypts(self, tmp_path: Path) -> None:
        keyring = load_keyring(tmp_path / "keys")
        stored = keyring.encrypt("a kubeconfig", about=b"cluster 1")
        assert b"kubeconfig" not in stored.ciphertext
        assert load_keyring(tmp_path / "keys").decrypt(stored, about=b"cluster 1") == "a kubeconfig"

    def test_the_same_secret_never_looks_the_same(self, tmp_path: Path) -> None:
        keyring = load_keyring(tmp_path / "keys")
        assert len({keyring.encrypt("secret", about=b"").ciphertext for _ in range(20)}) == 20

    def test_an_added_key_encrypts_and_the_old_one_still_decrypts(self, tmp_path: Path) -> None:
        path = tmp_path / "keys"
        before = load_keyring(path)
        stored = before.encrypt("secret", about=b"1")
        added = add_key(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [found.name for found in tmp_path.iterdir()] == ["keys"]
        assert added.current == load_keyring(path).current != before.current
        assert load_keyring(path).decrypt(stored, about=b"1") == "secret"
        anew = added.encrypt("secret", about=b"1")
        assert anew.key_name == added.current
        with pytest.raises(KeyMissing, match=added.current):
            before.decrypt(anew, about=b"1")

    def test_what_was_altered_or_moved_does_not_decrypt(self, tmp_path: Path) -> None:
        keyring = load_keyring(tmp_path / "keys")
        stored = keyring.encrypt("secret", about=b"1")
        altered = Encrypted(stored.key_name, stored.nonce, stored.ciphertext[:-1] + bytes([stored.ciphertext[-1] ^ 1]))
        for wrong, about in ((stored, b"2"), (altered, b"1")):
            with pytest.raises(KeyMissing, match="does not decrypt"):
                keyring.decrypt(wrong, about=about)

    def test_it_tells_names_only(self, tmp_path: Path) -> None:
        keyring = load_keyring(tmp_path / "keys")
        secret = (tmp_path / "keys").read_text().strip()
        assert repr(keyring) == f"Keyring({keyring.current})"
        assert keyring.current not in secret

    def test_a_file_of_too_many_keys_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "keys"
        last = load_keyring(path)
        for _ in range(KEYS_MAX - 1):
            last = add_key(path)
        with pytest.raises(SettingsError, match="drop the oldest"):
            add_key(path)
        assert load_keyring(path).current == last.current
        path.write_text(("00" * KEY_BYTES + "\n") * (KEYS_MAX + 1))
        with pytest.raises(SettingsError, match="it may hold 8"):
            load_keyring(path)
