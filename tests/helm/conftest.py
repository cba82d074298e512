import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.helm_program import built_helm
from tests.cluster.unavailable import ClusterUnavailable
from tests.cluster.versitygw_program import built_versitygw

_REQUIRED = os.environ.get("GUILDHALL_REQUIRE_CLUSTER") == "1"  # read when pytest starts, as the fixtures of clusters


@pytest.fixture(scope="session")
def helm() -> Path:
    """The pinned Helm, built once; without Go the test is skipped, in CI it fails."""
    return _built(built_helm)


@pytest.fixture(scope="session")
def versitygw() -> Path:
    """The pinned S3 server, in the same way."""
    return _built(built_versitygw)


def _built(build: Callable[[Callable[[str], None]], Path]) -> Path:
    try:
        return build(lambda sentence: print(sentence, file=sys.stderr))  # noqa: T201 -- a build of minutes
    except ClusterUnavailable as error:
        if _REQUIRED:
            pytest.fail(f"GUILDHALL_REQUIRE_CLUSTER=1, and yet: {error}", pytrace=False)
        pytest.skip(str(error))
