"""Helm installs the chart on a real Kubernetes, and the publishing half of the story is told through the service."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from demo.narrator import Narrator
from demo.story import organisation, publishing
from demo.world import World
from guildhall.clock import SystemClock
from tests.cluster.demonstration import platform_of
from tests.cluster.handle import RealCluster
from tests.helm.installation import Installation, installed_trial, loaded_image, ready

BOOTSTRAP = ("python3", "-m", "guildhall", "bootstrap", "--email", "pat@guildhall.example", "--name", "Pat Porter")
CHAPTERS = (
    organisation.set_up,
    publishing.register_data,
    publishing.train,
    publishing.publish,
    publishing.learn,
)


@pytest.fixture(scope="module")
async def image(own_cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    return await loaded_image(own_cluster, tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
async def installation(
    own_cluster: RealCluster, helm: Path, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Installation:
    made = Installation(own_cluster, helm, tmp_path_factory.mktemp("chart"), image)
    await installed_trial(made)
    return made


@pytest.fixture(scope="module")
async def administrator(installation: Installation) -> str:
    """The token that `bootstrap` printed in the API's pod."""
    return (await installation.execute("api", *BOOTSTRAP)).strip().splitlines()[-1]


@pytest.fixture(scope="module")
def told(installation: Installation, administrator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world after the publishing half of the story; its jobs ran in pods beside the installation's own."""
    platform = platform_of(installation.joined, lambda _: None)
    with ExitStack() as stack:
        world = World(
            installation.url,
            Narrator(Console(file=StringIO(), width=120)),
            tmp_path_factory.mktemp("story"),
            SystemClock().now,
            stack,
            replace(platform, kubeconfig=None),
        )
        world.sign_in("pat", administrator)
        for chapter in CHAPTERS:
            chapter(world)
        yield world


class TestInstallation:
    async def test_every_part_runs_restricted_and_has_never_been_restarted(self, installation: Installation) -> None:
        pods = await installation.pods()
        assert set(pods) == {"api", "worker", "sealer", "migration", "trial-database"}
        assert pods.pop("migration")["status"]["phase"] == "Succeeded"
        for part, pod in pods.items():
            assert pod["status"]["phase"] == "Running", part
            assert [each["restartCount"] for each in pod["status"]["containerStatuses"]] == [0], part
        assert await ready(installation.url) == 200

    async def test_a_second_administrator_is_refused(self, installation: Installation, administrator: str) -> None:
        assert administrator.startswith("ghu_")
        again = await installation.execute("api", *BOOTSTRAP)
        assert "ghu_" not in again
        assert len(again.strip().splitlines()) == 1

    async def test_helm_knows_of_it(self, installation: Installation) -> None:
        told = installation.run_helm("status", installation.release, "--namespace", installation.namespace)
        assert f"NAME: {installation.release}\n" in told


class TestStory:
    def test_the_version_is_published_with_what_was_observed(self, told: World) -> None:
        version = publishing.model_version(told, "mira", told.ids["version"])
        assert version["status"] == "PUBLISHED"
        observed = {link["kind"] for link in version["lineage"]["links"] if link["basis"] == "OBSERVED"}
        assert "TRAINED_ON" in observed
        assert told.facts["accuracy"] > 0.9

    def test_the_run_was_paid_by_its_interval(self, told: World) -> None:
        charge = told.facts["train_job"]["charge"]
        assert float(charge["captured"]) > 0
        assert float(charge["released"]) > 0

    def test_what_was_abandoned_kept_its_lesson(self, told: World) -> None:
        assert told.facts["abandoned_status"] == "ABANDONED"
