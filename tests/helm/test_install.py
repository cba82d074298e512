"""Helm installs the chart on a real Kubernetes, and the publishing half of the story is told through the service.

Beside the trial a second release works on a database and a store of others, which it knows by secrets.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
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
from guildhall.db.embedded import EmbeddedServer
from guildhall_client.command.documents.access import REQUEST_ACCESS
from guildhall_client.command.documents.datasets import REGISTER_DATASET
from tests.cluster.demonstration import platform_of
from tests.cluster.handle import RealCluster
from tests.guildhall.inbox.mail_sink import PASSWORD
from tests.helm.external import (
    BUCKET,
    HEADS,
    SERVICES,
    Surroundings,
    install_by_secrets,
    surroundings,
    values_by_secrets,
)
from tests.helm.installation import Installation, installed_trial, loaded_image, ready

BOOTSTRAP = ("python3", "-m", "guildhall", "bootstrap", "--email", "pat@guildhall.example", "--name", "Pat Porter")
SEALED_SECONDS_MAX = 120
MAILED_SECONDS_MAX = 120
WANT_MAIL = """
mutation Want($input: UpdateInboxSettingsInput!) {
  updateInboxSettings(input: $input) { settings { mail } errors { code field message } }
}
"""
DIALS = {
    "team": "maintenance", "name": "dials", "description": "Photographs of dials.", "classification": "CONFIDENTIAL",
    "visibility": "ORGANISATION", "stewards": ["stella@guildhall.example"],
    "legal": {
        "licence": "CC0", "legalBasis": "contract", "permittedPurposes": ["defect-detection"], "regions": ["eu-local"],
    },
}  # fmt: skip
MODEL = {
    "team": "maintenance", "name": "gauge-reader", "task": "image-classification", "visibility": "ORGANISATION",
    "riskTier": "LIMITED", "description": "Reads the handwritten digits on pressure gauges.",
}  # fmt: skip
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


@pytest.fixture(scope="module")
async def around(
    own_cluster: RealCluster, server: EmbeddedServer, versitygw: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Surroundings]:
    async with surroundings(own_cluster, server, versitygw, tmp_path_factory.mktemp("around")) as standing:
        yield standing


@pytest.fixture(scope="module")
async def house(
    own_cluster: RealCluster, helm: Path, image: str, around: Surroundings, tmp_path_factory: pytest.TempPathFactory
) -> Installation:
    made = Installation(own_cluster, helm, tmp_path_factory.mktemp("house"), image, "guildhall", "house", SERVICES)
    await install_by_secrets(made, around)
    return made


@pytest.fixture(scope="module")
async def house_administrator(house: Installation) -> str:
    return (await house.execute("api", *BOOTSTRAP)).strip().splitlines()[-1]


def published_and_fetched(url: str, token: str, made: Path, folder: Path) -> dict[str, bytes]:
    """A model of the folder's files, published by the story's people; the files as they come back, by their paths."""
    with ExitStack() as stack:
        narrator = Narrator(Console(file=StringIO(), width=120))
        world = World(url, narrator, folder / "story", SystemClock().now, stack)
        world.sign_in("pat", token)
        organisation.set_up(world)
        model = world.change("mira", "RegisterModel", **MODEL)["model"]
        version = world.people["mira"].upload_model_version(model["id"], made, {})
        card = [*publishing.CARD, *({"name": name, "body": "As on paper."} for name in ("Procedure", "Metrics"))]
        inputs = {"modelVersionId": version["id"], "sections": card, "dataNeeds": publishing.DATA_NEEDS}
        world.change("mira", "UpdateCard", **inputs)
        world.change("mira", "PublishModelVersion", modelVersionId=version["id"])
        files = publishing.model_version(world, "mira", version["id"])["artifacts"]["nodes"]
        fetched = {}
        for number, file in enumerate(files):
            target = folder / f"back-{number}"
            size, digest = int(file["sizeBytes"]), file["sha256"]
            world.people["mira"].download(file["url"], target, size_bytes=size, sha256=digest)
            fetched[file["path"]] = target.read_bytes()
        return fetched


def asked_for_data(url: str, token: str, folder: Path) -> None:
    """A steward who wants mail is asked for access to data."""
    with ExitStack() as stack:
        world = World(url, Narrator(Console(file=StringIO(), width=120)), folder, SystemClock().now, stack)
        world.sign_in("pat", token)
        organisation.set_up(world)
        world.people["stella"].mutate(WANT_MAIL, {"mail": "ALL"})
        dataset = world.people["mira"].mutate(REGISTER_DATASET, DIALS)["dataset"]
        inputs = {
            "resourceIds": [dataset["id"]], "beneficiary": {"team": "quality"}, "purpose": "defect-detection",
            "justification": "our presses carry the same dials", "durationSeconds": 86_400,
        }  # fmt: skip
        world.people["quentin"].mutate(REQUEST_ACCESS, inputs)


class TestExternal:
    """In the same cluster, after the trial: a second one would cost more than all of this."""

    async def test_files_lie_in_the_bucket_and_come_back(
        self, house: Installation, house_administrator: str, around: Surroundings, tmp_path: Path
    ) -> None:
        files = {"weights.bin": os.urandom(300_000), "notes/read me.txt": b"As it was trained."}
        made = tmp_path / "made"
        for name, content in files.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_bytes(content)
        assert await asyncio.to_thread(published_and_fetched, house.url, house_administrator, made, tmp_path) == files
        keys = around.store.keys(BUCKET)
        assert len(keys) >= len(files)
        assert all(key.startswith("artifacts/") for key in keys)

    async def test_every_connection_to_the_database_was_encrypted(
        self, house: Installation, around: Surroundings
    ) -> None:
        assert await ready(house.url) == 200
        assert around.database.encrypted > 0
        assert around.database.refused == 0

    async def test_the_sealer_signs_heads_into_the_other_bucket(
        self, house: Installation, around: Surroundings
    ) -> None:
        async with asyncio.timeout(SEALED_SECONDS_MAX):
            while not around.store.keys(HEADS):
                await asyncio.sleep(1)
        assert all(key.startswith("heads/") for key in around.store.keys(HEADS))

    async def test_only_the_worker_has_the_password_for_mail(self, house: Installation) -> None:
        command = ("sh", "-c", "cat /etc/guildhall/secrets/* 2>&1")
        assert await house.execute("worker", *command) == PASSWORD
        assert "No such file" in await house.execute("api", *command)

    async def test_mail_leaves_the_worker_encrypted_and_signed_in(
        self, house: Installation, house_administrator: str, around: Surroundings, tmp_path: Path
    ) -> None:
        await asyncio.to_thread(asked_for_data, house.url, house_administrator, tmp_path)
        async with asyncio.timeout(MAILED_SECONDS_MAX):
            while not around.mail.mails:
                await asyncio.sleep(1)
        (mail,), (envelope,) = around.mail.mails, around.mail.envelopes
        assert (envelope.mail_from, envelope.rcpt_tos) == ("guildhall@example.org", ["stella@guildhall.example"])
        assert mail["Subject"] == "Quentin Quast asks for access to maintenance/dials"
        assert "our presses carry the same dials" in mail.get_content()
        assert around.mail.encrypted == [True]

    async def test_an_upgrade_migrates_again_and_goes_on_with_what_is_there(
        self, house: Installation, house_administrator: str, around: Surroundings
    ) -> None:
        assert house_administrator.startswith("ghu_")
        before = await house.pods()
        await house.upgrade({**values_by_secrets(around), "settings": {"LOG_LEVEL": "DEBUG"}})
        after = await house.pods()
        assert after["migration"]["metadata"]["name"].startswith("guildhall-migration-2-")
        assert after["migration"]["status"]["phase"] == "Succeeded"
        for part in ("api", "worker", "sealer"):
            assert after[part]["metadata"]["name"] != before[part]["metadata"]["name"]
        assert (await house.execute("api", "printenv", "GUILDHALL_LOG_LEVEL")).strip() == "DEBUG"
        assert await ready(house.url) == 200
        assert "ghu_" not in await house.execute("api", *BOOTSTRAP)
        assert around.database.refused == 0
