"""The whole product as its users start it: processes, a data folder of the test's own, a free port."""

from collections.abc import Iterator
from contextlib import ExitStack
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from demo.__main__ import tell
from demo.world import World


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guildhall")


@pytest.fixture(scope="session")
def said() -> StringIO:
    """What the demo printed."""
    return StringIO()


@pytest.fixture(scope="session")
def told(data_dir: Path, said: StringIO) -> Iterator[World]:
    """The world after the story of the demo, its server still running."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("GUILDHALL_DATA_DIR", str(data_dir))
        yield tell(stack, Console(file=said, width=120))
