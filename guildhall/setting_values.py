"""How the values of settings are read from their texts: each parser raises ValueError or KeyError for what is wrong."""

from collections.abc import Callable
from email.utils import formataddr, parseaddr
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

POSTGRES_OPTIONS = frozenset(
    {"host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "ssl_min_protocol_version"}
)
POSTGRES_ENCRYPTION = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def whole(minimum: int, maximum: int) -> Callable[[str], int]:
    """A parser of whole numbers of that range."""

    def parse(value: str) -> int:
        number = int(value)
        if not minimum <= number <= maximum:
            raise ValueError(value)
        return number

    return parse


def switch(value: str) -> bool:
    """True or false, in the words for it. Raises ValueError or KeyError for anything else."""
    return {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}[value.lower()]


def host_and_port(value: str) -> str:
    """Where to listen. Raises ValueError or KeyError for anything else."""
    host, _, port = value.rpartition(":")
    whole(1, 65535)(port)
    if not host:
        raise ValueError(value)
    return value


def web_url(value: str) -> str:
    """An address of the web, without a slash at its end. Raises ValueError or KeyError for anything else."""
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(value)
    return value.rstrip("/")


def issuer_url(value: str) -> str:
    """As it stands: issuers compare their own name letter by letter, with or without a slash at the end."""
    parts = urlsplit(value)
    guarded = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    if not guarded or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(value)
    return value


def words(value: str) -> tuple[str, ...]:
    """Words between spaces or commas, each once. Raises ValueError or KeyError for anything else."""
    return tuple(dict.fromkeys(value.replace(",", " ").split()))


def networks(value: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks of addresses in CIDR notation. Raises ValueError or KeyError for anything else."""
    return tuple(ip_network(text, strict=False) for text in words(value))


def postgres_url(value: str) -> str:
    """The address of a database, with options in libpq's words. Raises ValueError for anything else.

    An option that nobody reads would be taken for one that is obeyed, such as a misspelt `sslmode`.
    """
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in {"postgresql", "postgres", "postgresql+asyncpg"}:
        raise ValueError(value)
    given = parse_qs(urlsplit(value).query, keep_blank_values=True, strict_parsing=True) if "?" in value else {}
    if not given.keys() <= POSTGRES_OPTIONS or not {*given.get("sslmode", [])} <= {*POSTGRES_ENCRYPTION}:
        raise ValueError(value)
    return f"postgresql+asyncpg://{rest}"


def smtp_url(value: str) -> str:
    """A server for mail, encrypted where we sign in to it. Raises ValueError for anything else."""
    parts = urlsplit(value)
    open_to_all = parts.scheme == "smtp" and not is_loopback(parts.hostname or "")
    if parts.scheme not in {"smtp", "smtp+starttls", "smtps"} or not parts.hostname or parts.port == 0:
        raise ValueError(value)
    if parts.path not in {"", "/"} or parts.query or parts.fragment or (parts.username is not None and open_to_all):
        raise ValueError(value)
    return value


def mail_address(value: str) -> str:
    """Who mail is from, with or without a name. Raises ValueError for anything else."""
    name, address = parseaddr(value)
    local, at, domain = address.rpartition("@")
    if not (value.isprintable() and address.isascii() and local and at and domain) or any(map(str.isspace, address)):
        raise ValueError(value)
    return formataddr((name, address))


def log_origin(value: str) -> str:
    """The name of a log in its signed heads: no scheme, no spaces, no plus sign."""
    if not value or any(char.isspace() or char == "+" for char in value) or "://" in value:
        raise ValueError(value)
    return value


def store_url(value: str) -> str:
    """Where artifacts are kept. Raises ValueError or KeyError for anything else."""
    parts = urlsplit(value)
    if parts.scheme not in {"file", "s3", "gs", "az"} or not (parts.netloc or parts.path):
        raise ValueError(value)
    return value.rstrip("/")


def sink_url(value: str) -> str:
    """A file, or an address of the web as it stands. Raises ValueError or KeyError for anything else."""
    parts = urlsplit(value)
    if parts.scheme == "file" and not parts.netloc and parts.path.strip("/"):
        return value
    web_url(value)
    return value


def one_of(*allowed: str) -> Callable[[str], str]:
    """A parser of one of these words."""

    def parse(value: str) -> str:
        if value.lower() not in allowed:
            raise ValueError(value)
        return value.lower()

    return parse


def folder(value: str) -> Path:
    """A folder or file by its absolute path. Raises ValueError or KeyError for anything else."""
    return Path(value).expanduser().absolute()


def log_level(value: str) -> str:
    """How much is logged. Raises ValueError or KeyError for anything else."""
    level = value.upper()
    if level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError(value)
    return level


def is_loopback(host: str) -> bool:
    """Whether the host is this machine itself, where nobody listens in between."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
