import os
import sys
from pathlib import Path

import pytest

from tests.cluster.helm_program import built_helm
from tests.cluster.unavailable import ClusterUnavailable

_REQUIRED = os.environ.get("GUILDHALL_REQUIRE_CLUSTER") == "1"  # read when pytest starts, as the fixtures of clusters


@pytest.fixture(scope="session")
def helm() -> Path:
    """The pinned Helm, built once; without Go the test is skipped, in CI it fails."""
    try:
        return built_helm(lambda sentence: print(sentence, file=sys.stderr))  # noqa: T201 -- a build of minutes
    except ClusterUnavailable as error:
        if _REQUIRED:
            pytest.fail(f"GUILDHALL_REQUIRE_CLUSTER=1, and yet: {error}", pytrace=False)
        pytest.skip(str(error))
