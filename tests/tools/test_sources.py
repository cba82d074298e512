"""Which files the checks see, in a repository made for the purpose."""

import subprocess
from pathlib import Path

from tools.sources import python_sources, repository_files


def repository(root: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    (root / ".gitignore").write_text("/ignored/\n")
    for name in ("tracked.py", "untracked.py", "deleted.py", "ignored/hidden.py", "notes.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(f"NAME = {name!r}\n")
    subprocess.run(["git", "add", "tracked.py", "deleted.py"], cwd=root, check=True)
    (root / "deleted.py").unlink()
    return root


class TestRepositoryFiles:
    def test_lists_tracked_and_untracked_but_neither_ignored_nor_deleted(self, tmp_path: Path) -> None:
        assert repository_files(repository(tmp_path), "*.py") == [Path("tracked.py"), Path("untracked.py")]


class TestPythonSources:
    def test_reads_and_parses_each_file_once(self, tmp_path: Path) -> None:
        found = list(python_sources(repository(tmp_path)))
        assert [(source.path, source.text) for source in found] == [
            (Path("tracked.py"), "NAME = 'tracked.py'\n"),
            (Path("untracked.py"), "NAME = 'untracked.py'\n"),
        ]
        assert all(len(source.tree.body) == 1 for source in found)
