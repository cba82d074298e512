"""What others run in production: a PostgreSQL, an S3 store and a mail server behind TLS, known by secrets alone."""

import re
import secrets
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guildhall.db.embedded import EmbeddedServer
from tests.cluster.certificates import Authority
from tests.cluster.handle import RealCluster
from tests.cluster.object_store import ObjectStore, object_store
from tests.conftest import run_as_superuser
from tests.encrypted_database import EncryptedDatabase, encrypted_database
from tests.guildhall.inbox.mail_sink import PASSWORD, USER, Sink, mail_sink
from tests.helm.installation import LITTLE, Installation
from tools.chart_checks import CHART

GUIDE = CHART.parents[1] / "docs" / "kubernetes-chart.md"
BUCKET, HEADS = "house-artifacts", "house-heads"
SERVICES = {"api": ("10.96.0.203", 8321)}
KEYS = ("secret.key", "audit.key", "credentials.key", "seal.key")


@dataclass(frozen=True)
class Surroundings:
    """The three, and where pods reach them."""

    database: EncryptedDatabase
    database_urls: dict[str, str]
    store: ObjectStore
    store_variables: dict[str, str]
    mail: Sink
    mail_url: str
    authority: Authority


@asynccontextmanager
async def surroundings(
    cluster: RealCluster, server: EmbeddedServer, versitygw: Path, folder: Path
) -> AsyncIterator[Surroundings]:
    """All signed for by one authority, the database with the logins that the guide says."""
    authority = Authority(folder)
    host = cluster.host_for_pods
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(encrypted_database(server, authority, host))
        store = await stack.enter_async_context(object_store(versitygw, folder, authority, [BUCKET, HEADS], host))
        mail = await stack.enter_async_context(mail_sink(starttls=_shown(authority, host), sign_in=True))
        database_port, store_port, mail_port = [
            int((await stack.enter_async_context(cluster.exposed(port))).rpartition(":")[2])
            for port in (database.port, store.port, mail.port)
        ]
        passwords = await stack.enter_async_context(_logins_of_the_guide(server))
        where = f"{host}:{database_port}/house?sslmode=verify-full"
        urls = {
            "url": f"postgresql://house:{passwords['house']}@{where}",
            "migrationUrl": f"postgresql://house_owner:{passwords['house_owner']}@{where}",
        }
        yield Surroundings(
            database, urls, store, store.at(store_port).variables(host), mail, f"smtp+starttls://{USER}@{host}:{mail_port}",
            authority,
        )  # fmt: skip


async def install_by_secrets(installation: Installation, around: Surroundings) -> None:
    """Make the secrets that the values name, and install: nothing in the values is one."""
    await installation.prepare()
    await _make_secret(installation, "house-database", around.database_urls)
    await _make_secret(installation, "house-store", around.store_variables)
    await _make_secret(installation, "house-keys", {name: secrets.token_hex(32) for name in KEYS})
    await _make_secret(installation, "house-mail", {"password": PASSWORD})
    certificate = (around.authority.folder / "ca.crt").read_text(encoding="ascii")
    await installation.make("configmaps", "house-authorities", data={"ca.crt": certificate})
    await installation.install(values_by_secrets(around))


def values_by_secrets(around: Surroundings) -> dict[str, Any]:
    """Those of production, with the names of what was made."""
    return {
        "database": {"existingSecret": "house-database"},
        "artifacts": {"url": f"s3://{BUCKET}/artifacts", "existingSecret": "house-store"},
        "sealer": {"headsUrl": f"s3://{HEADS}/heads", "resources": LITTLE},
        "keys": {"existingSecret": "house-keys"},
        "authorities": {"existingConfigMap": "house-authorities"},
        "mail": {
            "url": around.mail_url,
            "from": "Guildhall <guildhall@example.org>",
            "existingSecret": "house-mail",
        },
        "api": {"replicas": 1, "processes": 2, "resources": LITTLE},
    }


def _shown(authority: Authority, host: str) -> ssl.SSLContext:
    """What the mail server shows."""
    authority.server("mail", ["127.0.0.1", host])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.folder / "mail.crt", authority.folder / "mail.key")
    return context


@asynccontextmanager
async def _logins_of_the_guide(server: EmbeddedServer) -> AsyncIterator[dict[str, str]]:
    """The guide's own statements, under names of ours; the role that the service's logins share is there already."""
    (statements,) = re.findall(r"```sql\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    passwords = {}
    for statement in statements.replace("guildhall_owner", "house_owner").split(";"):
        named = re.sub(r"\bguildhall\b", "house", statement).strip()
        if not named or named == "CREATE ROLE guildhall_service NOLOGIN":
            continue
        if "'…'" in named:
            password = passwords[named.split()[2]] = secrets.token_hex(16)
            named = named.replace("…", password)
        await run_as_superuser(server, named)
    try:
        yield passwords
    finally:
        await run_as_superuser(server, "DROP DATABASE house WITH (FORCE)")
        for name in passwords:
            await run_as_superuser(server, f"DROP ROLE {name}")


async def _make_secret(installation: Installation, name: str, values: dict[str, str]) -> None:
    await installation.make(
        "secrets", name, data={key: b64encode(value.encode()).decode() for key, value in values.items()}
    )
