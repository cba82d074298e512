"""The server is an application: its packages have names that others own on PyPI, so they must never be installed."""

import importlib
import importlib.metadata
import re
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("guildhall", "registry", "marketplace", "scheduler", "demo", "tools", "tests")


@pytest.mark.parametrize("package", OURS)
def test_no_distribution_provides_a_package_of_the_server(package: str) -> None:
    assert importlib.metadata.packages_distributions().get(package, []) == []


@pytest.mark.parametrize("package", ["guildhall", "registry", "marketplace", "scheduler"])
def test_the_package_comes_from_this_repository(package: str) -> None:
    assert importlib.import_module(package).__file__ == str(ROOT / package / "__init__.py")


def test_the_server_is_not_installed_not_even_editable() -> None:
    # An editable install is a path file that packages_distributions() does not look into.
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.distribution("guildhall-server")
    path_files = Path(sysconfig.get_path("purelib")).glob("*.pth")
    assert str(ROOT) not in [line for path_file in path_files for line in path_file.read_text().splitlines()]


def test_the_client_is_a_distribution_of_its_own_that_brings_little() -> None:
    requirements = importlib.metadata.requires("guildhall-client") or []
    needed = [re.split(r"[^a-z]", requirement)[0] for requirement in requirements if "extra ==" not in requirement]
    assert needed == ["click", "filelock", "httpx", "pathspec", "platformdirs", "pyyaml", "rich"]
    assert importlib.import_module("guildhall_client").__file__ == str(
        ROOT / "client" / "src" / "guildhall_client" / "__init__.py"
    )


def test_uv_is_told_that_the_server_is_no_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["uv"]["package"] is False
    assert "build-system" not in project


def test_at_the_top_lies_what_the_design_names() -> None:
    wanted = {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "Makefile",
        "alembic.ini",
        "registry",
        "marketplace",
        "scheduler",
        "guildhall",
        "client",
        "helm",
        "tests",
        "docs",
    }
    assert wanted - {path.name for path in ROOT.iterdir()} == set()
