"""Secret keys in files."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from guildhall.keys import KEY_BYTES, load_key
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
