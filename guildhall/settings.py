"""Every setting: environment variables `GUILDHALL_*`, each with a default that works on a laptop.

The fields of `Settings` are the one list; `describe()` prints it. A wrong value stops the program with one sentence.
"""

# ruff: noqa: RUF009 -- `_variable` is dataclasses.field with our metadata, which ruff cannot know
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from guildhall.errors import GuildhallError
from guildhall.setting_fields import Variable
from guildhall.setting_fields import number as _number
from guildhall.setting_fields import variable as _variable
from guildhall.setting_values import (
    folder,
    host_and_port,
    issuer_url,
    log_level,
    log_origin,
    mail_address,
    networks,
    one_of,
    postgres_url,
    sink_url,
    smtp_url,
    store_url,
    switch,
    web_url,
    words,
)

PREFIX = "GUILDHALL_"
API_PROCESSES_MAX = 64


class SettingsError(GuildhallError):
    """An environment variable that cannot be used; the message names it, its value and what would be right."""

    code = "SETTINGS"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one process, checked. Make one with `from_environment`, or by name in a test."""

    data_dir: Path = _variable(
        Path(), folder, right="a folder", default_text="$XDG_DATA_HOME/guildhall or ~/.local/share/guildhall",
        text="Where the embedded database, the artifacts and the keys live.",
    )  # fmt: skip
    database_url: str | None = _variable(
        None, postgres_url, secret=True,
        right="a URL such as postgresql://user:password@host/database?sslmode=verify-full",
        default_text="an embedded PostgreSQL in the data folder",
        text="The database that the service uses, as a login that is a member of guildhall_service and owns no table.",
    )  # fmt: skip
    migration_database_url: str | None = _variable(
        None, postgres_url, secret=True,
        right="a URL such as postgresql://owner:password@host/database?sslmode=verify-full",
        default_text="the value of GUILDHALL_DATABASE_URL",
        text="The same database, as the login that owns the tables; only `migrate` uses it.",
    )  # fmt: skip
    database_pool_size: int = _number(
        10, 2, 500, "The most database connections of one command; the processes of `api` share them."
    )
    database_kept_connections: int = _number(
        8,
        1,
        500,
        "The most connections of one command beside those, for GraphQL reads and ends of downloads; as above.",
    )
    database_statement_seconds: int = _number(30, 1, 3600, "How long one SQL statement may run before it is ended.")
    artifacts_url: str = _variable(
        "", store_url, right="a URL that begins with file:///, s3://, gs:// or az://",
        default_text="the folder `artifacts` in the data folder",
        text="Where the bytes of models and data sets are kept.",
    )  # fmt: skip
    bind: str = _variable(
        "127.0.0.1:8321", host_and_port, right="host:port, the port from 1 to 65535", text="Where the API listens.",
    )  # fmt: skip
    api_processes: int = _number(
        1, 1, API_PROCESSES_MAX,
        "How many processes of `api` answer at that address: as many as it has processors. What other settings say of "
        "one process holds for each.",
    )  # fmt: skip
    public_url: str = _variable(
        "", web_url, right="a URL that begins with http:// or https://",
        default_text="http:// and the value of GUILDHALL_BIND",
        text="The address under which callers reach the API.",
    )  # fmt: skip
    jobs_url: str = _variable(
        "", web_url, right="a URL that begins with http:// or https://",
        default_text="the value of GUILDHALL_PUBLIC_URL",
        text="The address under which jobs reach the API, where pods do not see it under that of callers.",
    )  # fmt: skip
    jobs_networks: tuple[IPv4Network | IPv6Network, ...] = _variable(
        (), networks, right="networks such as 10.0.0.0/16,192.0.2.7/32",
        default_text="the addresses that the host of GUILDHALL_JOBS_URL has where a worker looks it up",
        text="The networks in which pods may reach the API, where its host has other addresses within clusters.",
    )  # fmt: skip
    log_level: str = _variable(
        "INFO", log_level, right="DEBUG, INFO, WARNING or ERROR", text="How much is logged.",
    )  # fmt: skip
    graphql_introspection: bool = _variable(
        True, switch, right="true or false", text="Whether callers may introspect the schema.",
    )  # fmt: skip
    graphql_suggestions: bool = _variable(
        True, switch, right="true or false",
        text="Whether a document that does not fit the schema is told why, with suggestions; otherwise the log is.",
    )  # fmt: skip
    graphql_graphiql: bool = _variable(
        True, switch, right="true or false", text="Whether browsers get GraphiQL at /graphql.",
    )  # fmt: skip
    graphql_document_bytes_max: int = _number(16_384, 1_024, 1_048_576, "The longest GraphQL document, in bytes.")
    graphql_variables_bytes_max: int = _number(1_048_576, 1_024, 67_108_864, "The longest GraphQL variables, in bytes.")
    graphql_tokens_max: int = _number(2_000, 100, 100_000, "The most tokens in one GraphQL document.")
    graphql_depth_max: int = _number(15, 3, 50, "The most fields within each other in one GraphQL document.")
    graphql_fields_max: int = _number(2_000, 50, 100_000, "The most fields of one GraphQL document, fragments opened.")
    graphql_aliases_max: int = _number(50, 0, 10_000, "The most aliases of one GraphQL document, fragments opened.")
    graphql_directives_max: int = _number(
        50, 0, 10_000, "The most directives of one GraphQL document, fragments opened."
    )
    graphql_duplicates_max: int = _number(
        100, 0, 10_000, "The most repeated fields of one GraphQL document, fragments opened."
    )
    graphql_reads_max: int = _number(
        250, 50, 10_000, "The most tables that one GraphQL document reads, a reference one for each of its types."
    )
    graphql_page_max: int = _number(100, 1, 1_000, "The largest `first` of a connection.")
    graphql_rows_max: int = _number(
        1_000_000, 100, 100_000_000, "The most rows that one GraphQL document may come to, all of its lists full."
    )
    graphql_seconds_max: int = _number(30, 1, 600, "How long a GraphQL query may take, in seconds.")
    graphql_slow_milliseconds: int = _number(
        1_000, 1, 600_000, "From when on a GraphQL document is logged as slow, with its hash and its SQL."
    )
    graphql_working_max: int = _number(50, 1, 10_000, "How many GraphQL requests one process works on at once.")
    graphql_waiting_max: int = _number(
        250, 0, 100_000, "How many more may wait for that; whoever comes after them is told to come again (503)."
    )
    graphql_subscriptions_max: int = _number(1_000, 1, 100_000, "How many things callers may follow in one process.")
    graphql_subscriptions_per_caller_max: int = _number(
        50, 1, 10_000, "How many things a caller may follow in one process, or ask on one WebSocket."
    )
    graphql_keepalive_seconds: int = _number(
        15, 1, 600, "How often a silent stream shows that it is alive, in seconds."
    )
    graphql_stream_patience_seconds: int = _number(
        20, 1, 600, "How long a stream waits for a client that takes nothing, in seconds."
    )
    graphql_trusted_only: bool = _variable(
        False, switch, right="true or false",
        text="Whether only the documents of guildhall/trusted_documents.json are run.",
    )  # fmt: skip
    upload_part_bytes: int = _number(
        8 * 1024 * 1024, 64 * 1024, 1024**3,
        "The size of the parts in which files are uploaded, in bytes; those of large files are larger.",
    )  # fmt: skip
    bundle_files_max: int = _number(2_000, 500, 10_000, "How many small files one request may bring or fetch.")
    bundle_bytes_max: int = _number(
        64 * 1024 * 1024, 16 * 1024 * 1024, 1024**3, "How many bytes the small files of one request may have."
    )
    quote_valid_seconds: int = _number(900, 30, 86_400, "How long a quote can be accepted, in seconds.")
    runner_grace_seconds: int = _number(10, 1, 600, "The time between asking a job to end and ending it, in seconds.")
    worker_lease_seconds: int = _number(30, 2, 3_600, "How long a worker may hold a row without renewing, in seconds.")
    worker_poll_milliseconds: int = _number(250, 10, 60_000, "How often an idle worker looks for work.")
    worker_patience_milliseconds: int = _number(
        1_000, 10, 60_000, "How long a worker's cycle waits for one slow cluster before it goes on with the others."
    )
    cluster_answer_seconds: int = _number(
        20, 1, 600, "How long a cluster may take to answer one question before it counts as unreachable."
    )
    local_disk_bytes: int = _number(
        16 * 1024**3, 1024**2, 1024**5, "What a local job that states no limit may keep in its folder, in bytes."
    )
    secret_key_file: Path = _variable(
        Path(), folder, right="a file", default_text="`secret.key` in the data folder, made at the first start",
        text="The key that signs cursors and upload addresses; every replica needs the same one.",
    )  # fmt: skip
    audit_key_file: Path = _variable(
        Path(), folder, right="a file", default_text="`audit.key` in the data folder, made at the first start",
        text="The key of the audit record's authentication codes; the database must not have it.",
    )  # fmt: skip
    seal_key_file: Path = _variable(
        Path(), folder, right="a file", default_text="`seal.key` in the data folder, made at the first start",
        text="The Ed25519 keys that sign the heads of the audit record, one a line, the present one first; only the "
        "sealer needs it, the database must not have it.",
    )  # fmt: skip
    audit_origin: str = _variable(
        "guildhall.internal/audit/log", log_origin,
        right="a name such as guildhall.example.org/audit, without a scheme, spaces or +",
        text="The name of the audit record in its signed heads; it must never change.",
    )  # fmt: skip
    audit_heads_url: str = _variable(
        "", store_url, right="a URL that begins with file:///, s3://, gs:// or az://",
        default_text="the folder `audit-heads` in the data folder",
        text="Where the sealer publishes signed heads, one object each; the database's role must not write there.",
    )  # fmt: skip
    audit_retention_days: int = _number(
        400, 31, 36_500, "How many days audit events stay in the database before `archive-audit` may move them away."
    )
    webhook_networks: tuple[IPv4Network | IPv6Network, ...] = _variable(
        (), networks, right="networks such as 10.0.0.0/16,192.0.2.7/32", default_text="none",
        text="The networks beside the public ones that webhooks may lead into, as those of internal receivers.",
    )  # fmt: skip
    smtp_url: str | None = _variable(
        None, smtp_url, secret=True, default_text="none: nobody gets mail",
        right="smtps://, smtp+starttls:// or smtp:// with a host, and a user only where the connection is encrypted",
        text="The server that mails are handed to, such as smtps://user@mail.example.org.",
    )  # fmt: skip
    smtp_password_file: Path = _variable(
        Path(), folder, right="a file", default_text="none: the password in GUILDHALL_SMTP_URL, if there is one",
        text="The file with the password for that server.",
    )  # fmt: skip
    mail_from: str = _variable(
        "", mail_address, right="an address such as Guildhall <guildhall@example.org>", default_text="none",
        text="Who mails are from.",
    )  # fmt: skip
    deliveries_kept_days: int = _number(
        30, 1, 366, "How many days deliveries by webhook and mail are kept after they arrived or were given up."
    )
    notifications_days: int = _number(90, 30, 3_650, "How many days notifications are kept after they were read.")
    audit_stream_url: str = _variable(
        "", sink_url, right="a URL that begins with file:///, http:// or https://", default_text="none", secret=True,
        text="Where sealers send every sealed audit event in OCSF's form, each at least once: a file of JSON lines, or "
        "an address that takes batches by POST.",
    )  # fmt: skip
    audit_stream_secret_file: Path | None = _variable(
        None, folder, right="a file", default_text="none", text="The secret that the receiver knows the stream by.",
    )  # fmt: skip
    audit_stream_authentication: str = _variable(
        "bearer", one_of("bearer", "hmac"), right="bearer or hmac",
        text="How the secret is used: as the token of an Authorization header (or all of it, where it has a space), or "
        "to sign each body as Standard Webhooks does.",
    )  # fmt: skip
    audit_stream_body: str = _variable(
        "ndjson", one_of("ndjson", "array"), right="ndjson or array",
        text="Whether a batch is an event a line or one JSON array; it is compressed with gzip.",
    )  # fmt: skip
    audit_stream_file_bytes: int = _number(
        64 << 20, 1 << 10, 1 << 40, "At which size the file of the stream is moved aside, in bytes."
    )
    audit_stream_personal_values: bool = _variable(
        True, switch, right="true or false",
        text="Whether the stream has the caller's address and justification, which nobody can erase over there.",
    )  # fmt: skip
    audit_witness_url: str = _variable(
        "", web_url, right="a URL that begins with http:// or https://", default_text="none",
        text="The submission address of a C2SP tlog-witness that signs our heads as well.",
    )  # fmt: skip
    audit_witness_key: str = _variable(
        "", str, right="a verifier key", default_text="none", text="The verifier key of that witness.",
    )  # fmt: skip
    credentials_key_file: Path = _variable(
        Path(), folder, right="a file", default_text="`credentials.key` in the data folder, made at the first start",
        text="The keys under which the credentials of clusters are encrypted, one a line, the current one first; the "
        "API and the workers need the same ones, the database must not have them.",
    )  # fmt: skip

    oidc_issuer: str | None = _variable(
        None, issuer_url, right="the issuer's https:// address, or one of http:// on this machine",
        default_text="none: people sign in with tokens of Guildhall",
        text="The OpenID issuer that people sign in with; see docs/identity.md.",
    )  # fmt: skip
    oidc_audience: str = _variable(
        "", str, right="a text", default_text="the value of GUILDHALL_PUBLIC_URL",
        text="What an access token's `aud` must hold to count here.",
    )  # fmt: skip
    oidc_client_id: str | None = _variable(
        None, str, right="a text", default_text="none: no sign-in with a browser",
        text="Our client at the issuer for browsers.",
    )  # fmt: skip
    oidc_client_secret: str | None = _variable(
        None, str, right="a text", default_text="none: a public client", secret=True,
        text="Its secret, where it has one.",
    )  # fmt: skip
    oidc_cli_client_id: str | None = _variable(
        None, str, right="a text", default_text="none: no sign-in with the command line",
        text="The public client at the issuer for the command line, which may use the device flow.",
    )  # fmt: skip
    oidc_scopes: tuple[str, ...] = _variable(
        ("openid", "profile", "email", "offline_access"), words, right="words",
        default_text="openid profile email offline_access", text="What the clients ask the issuer for.",
    )  # fmt: skip
    oidc_groups_claim: str = _variable(
        "groups", str, right="a text",
        text="The claim that lists somebody's groups, or its path, such as realm_access.roles.",
    )  # fmt: skip
    oidc_emails_verified: bool = _variable(
        False, switch, right="true or false",
        text="Whether addresses count as verified where the issuer does not say; it must let nobody choose theirs.",
    )  # fmt: skip
    oidc_clock_skew_seconds: int = _number(60, 0, 300, "How far the issuer's clock may be from ours, in seconds.")
    oidc_keys_seconds: int = _number(
        86_400, 600, 604_800, "How long the issuer's known keys go on counting while it cannot be reached, in seconds."
    )
    session_seconds: int = _number(43_200, 300, 2_592_000, "How long a browser's session lasts at most, in seconds.")
    session_idle_seconds: int = _number(7_200, 60, 2_592_000, "How long a browser's session may lie idle, in seconds.")
    session_outage_seconds: int = _number(
        1_800, 0, 86_400, "How long a session whose groups are due goes on while the issuer is away, in seconds."
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = _variable(
        (), networks, right="networks such as 10.0.0.0/8, separated by spaces or commas", default_text="none",
        text="The proxies whose X-Forwarded-For is believed; nobody else's is.",
    )  # fmt: skip
    failed_sign_ins_per_minute: int = _number(
        60, 1, 100_000, "How often an address may fail to sign in within a minute, anywhere; then it waits (429)."
    )

    def __post_init__(self) -> None:
        """Fill in what follows from other settings."""
        if (self.smtp_url is None) == bool(self.mail_from):
            raise SettingsError("GUILDHALL_SMTP_URL and GUILDHALL_MAIL_FROM go together: set both or neither.")
        data_dir = self.data_dir if self.data_dir != Path() else default_data_dir(os.environ)
        public_url = self.public_url or f"http://{_reachable(self.bind)}"
        derived: dict[str, Any] = {
            "data_dir": data_dir,
            "migration_database_url": self.migration_database_url or self.database_url,
            "artifacts_url": self.artifacts_url or (data_dir / "artifacts").as_uri(),
            "public_url": public_url,
            "oidc_audience": self.oidc_audience or public_url,
            "jobs_url": self.jobs_url or public_url,
            "secret_key_file": self.secret_key_file if self.secret_key_file != Path() else data_dir / "secret.key",
            "seal_key_file": self.seal_key_file if self.seal_key_file != Path() else data_dir / "seal.key",
            "audit_heads_url": self.audit_heads_url or (data_dir / "audit-heads").as_uri(),
            "audit_key_file": self.audit_key_file if self.audit_key_file != Path() else data_dir / "audit.key",
            "credentials_key_file": (
                self.credentials_key_file if self.credentials_key_file != Path() else data_dir / "credentials.key"
            ),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Read and check every `GUILDHALL_*` variable; an empty value counts as not set. Raises SettingsError."""
        values: dict[str, Any] = {}
        for name, about in _variables().items():
            value = environ.get(PREFIX + name.upper(), "")
            if not value:
                continue
            try:
                values[name] = about.parse(value)
            except (ValueError, KeyError) as error:
                shown = "its value (not shown, it may hold a password)" if about.secret else repr(value)
                message = f"{PREFIX}{name.upper()} cannot be {shown}: it must be {about.right}."
                raise SettingsError(message, field=PREFIX + name.upper()) from error
        if "data_dir" not in values:
            values["data_dir"] = default_data_dir(environ)
        return cls(**values)

    @property
    def bind_host(self) -> str:
        """The host part of `bind`, an IPv6 address without its brackets."""
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def bind_port(self) -> int:
        """The port part of `bind`."""
        return int(self.bind.rpartition(":")[2])


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """One sentence for each `GUILDHALL_*` variable that nothing reads, so that a typing mistake is seen."""
    known = {PREFIX + name.upper() for name in _variables()}
    return [
        f"{name} is set but is not a setting of Guildhall; `python -m guildhall settings` lists them."
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in known
    ]


def describe() -> list[tuple[str, str, str]]:
    """The documented list: variable, default in words, and what it is for."""
    rows = []
    for entry in fields(Settings):
        about: Variable = entry.metadata["variable"]
        default = about.default_text or str(entry.default).lower() if entry.type is bool else about.default_text
        rows.append((PREFIX + entry.name.upper(), default or str(entry.default), about.text))
    return rows


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """The folder `guildhall` among the user's data, after the XDG base directory specification."""
    base = environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base else Path(environ.get("HOME") or Path.home()) / ".local" / "share") / "guildhall"


def _variables() -> dict[str, Variable]:
    return {entry.name: entry.metadata["variable"] for entry in fields(Settings)}


def _reachable(bind: str) -> str:
    """A listening address as something to connect to: every interface includes loopback."""
    host, _, port = bind.rpartition(":")
    return f"{'127.0.0.1' if host in {'0.0.0.0', '[::]', '*'} else host}:{port}"  # noqa: S104 -- compared, not bound
