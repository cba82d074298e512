"""The layers of import-linter name every part of guildhall, so that a new module cannot stand outside of them."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Alembic loads the revisions by file; nothing imports them.
OUTSIDE = {"guildhall.migrations"}


def test_every_part_of_guildhall_has_its_layer() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = next(each for each in project["tool"]["importlinter"]["contracts"] if each["type"] == "layers")["layers"]
    named = {name for layer in layers for name in re.findall(r"[a-z_.]+", layer)}
    parts = {
        f"guildhall.{path.stem}"
        for path in (ROOT / "guildhall").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert parts - {"guildhall.__init__"} - OUTSIDE - named == set()
