"""How the service signs in to a cluster: a kubeconfig that an administrator gave, or its own pod's account.

A kubeconfig comes from outside and is read on the server, so it may only say what it contains: no file of this machine,
no program to run, no proxy, no other identity. Whatever it leaves out of that is refused with one sentence.
"""

import base64
import binascii
import os
import re
import ssl
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from guildhall.errors import Invalid

KUBECONFIG_CHARACTERS_MAX = 64 * 1024
"""Six clusters with their certificates inline; one is wanted."""
EVENTS_MAX = 5_000
"""Names, values and brackets: those of more than a hundred clusters."""
DEPTH_MAX = 32
ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_READ_AS_SUCH = {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"}
_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})$")


def _loader() -> Any:  # noqa: ANN401 -- two classes without a common base
    """A safe loader that takes plain text as it is, but for truth values, null and short whole numbers.

    Dates, and YAML 1.1's numbers of base 60, which take long to read, are text. In C where the library is built with
    it: this is read between requests.
    """
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    resolvers = {
        first: [(tag, pattern) for tag, pattern in found if tag in _READ_AS_SUCH]
        for first, found in base.yaml_implicit_resolvers.items()
    }
    loader = type("KubeconfigLoader", (base,), {"yaml_implicit_resolvers": resolvers})
    yaml.add_implicit_resolver("tag:yaml.org,2002:int", _NUMBER, list("-+0123456789"), Loader=loader)
    return loader


_LOADER = _loader()

# What a kubeconfig may hold in a cluster and in a user, and why the rest may not be there.
_CLUSTER_REFUSED = {
    "certificate-authority": "names a file; put its content into certificate-authority-data",
    "insecure-skip-tls-verify": "leaves open who answers; give the cluster's authority in certificate-authority-data",
    "proxy-url": "goes through a proxy; the service connects directly",
}
_USER_REFUSED = {
    "exec": "runs a program on the server; create a service account in the cluster and give its token",
    "auth-provider": "needs a plugin; create a service account in the cluster and give its token",
    "tokenFile": "names a file; put its content into token",
    "client-certificate": "names a file; put its content into client-certificate-data",
    "client-key": "names a file; put its content into client-key-data",
    "username": "is a password sign-in, which Kubernetes no longer has; give a token or a client certificate",
    "password": "is a password sign-in, which Kubernetes no longer has; give a token or a client certificate",
    "as": "acts as somebody else; give the credentials of the account itself",
    "as-uid": "acts as somebody else; give the credentials of the account itself",
    "as-groups": "acts as somebody else; give the credentials of the account itself",
    "as-user-extra": "acts as somebody else; give the credentials of the account itself",
}


class CredentialsRefused(Invalid):
    """A kubeconfig that cannot be used as it is; the sentence says which part, and what to put there."""

    code = "KUBECONFIG_INVALID"

    def __init__(self, message: str) -> None:
        super().__init__(message, field="kubeconfig")


@dataclass(frozen=True)
class ClusterCredentials:
    """A kubeconfig's text, or None for the account of the pod that the service runs in."""

    kubeconfig: str | None = field(repr=False)
    account_folder: Path = ACCOUNT_FOLDER


@dataclass(frozen=True)
class ClusterAccess:
    """What a kubeconfig's current context says, complete in itself."""

    context: str
    server: str
    server_name: str | None
    certificate_authority: str | None = field(repr=False)
    token: str | None = field(repr=False)
    client_certificate: bytes | None = field(repr=False)
    client_key: bytes | None = field(repr=False)

    def tls(self) -> ssl.SSLContext:
        """A context that trusts the named authority alone and shows the client certificate, if there is one.

        Raises `CredentialsRefused` where either cannot be read, or certificate and key do not belong together.
        """
        try:
            context = ssl.create_default_context(cadata=self.certificate_authority)
        except (ssl.SSLError, ValueError):
            raise CredentialsRefused(
                "The kubeconfig's certificate-authority-data is not a PEM certificate in base64."
            ) from None
        if self.client_certificate is not None and self.client_key is not None:
            _load_client_certificate(context, self.client_certificate, self.client_key)
        return context


def parse_kubeconfig(text: str) -> ClusterAccess:
    """Read the current context of a kubeconfig; raises `CredentialsRefused` with one sentence.

    Certificates and keys are tried here, so that what is accepted can be connected with.
    """
    document = _document(text)
    context_name = document.get("current-context")
    if not isinstance(context_name, str) or not context_name:
        raise CredentialsRefused("The kubeconfig names no current-context; set one with `kubectl config use-context`.")
    context = _entry(document, "contexts", "context", context_name)
    cluster = _entry(document, "clusters", "cluster", _text(context, "cluster", of=f"context {context_name}"))
    user = _entry(document, "users", "user", _text(context, "user", of=f"context {context_name}"))
    _refuse(cluster, _CLUSTER_REFUSED, of="cluster")
    _refuse(user, _USER_REFUSED, of="user")
    authority = _decoded(cluster, "certificate-authority-data")
    access = ClusterAccess(
        context=context_name,
        server=_server(cluster),
        server_name=_optional_text(cluster, "tls-server-name", of="cluster"),
        # Beside its certificates a PEM file may hold remarks in any language; OpenSSL takes ASCII.
        certificate_authority=authority.decode("ascii", errors="replace").replace("\ufffd", "?") if authority else None,
        token=_token(user),
        client_certificate=_decoded(user, "client-certificate-data"),
        client_key=_decoded(user, "client-key-data"),
    )
    if (access.client_certificate is None) != (access.client_key is None):
        raise CredentialsRefused(
            "The kubeconfig's user has only one of client-certificate-data and client-key-data; both are needed."
        )
    if access.token is None and access.client_certificate is None:
        raise CredentialsRefused(
            "The kubeconfig's user has neither a token nor a client certificate with its key; give one of them."
        )
    access.tls()
    return access


def _document(text: str) -> Mapping[str, Any]:
    if len(text) > KUBECONFIG_CHARACTERS_MAX:
        raise CredentialsRefused(f"A kubeconfig has at most {KUBECONFIG_CHARACTERS_MAX} characters.")
    try:
        _refuse_what_swells(text)
        document = yaml.load(text, Loader=_LOADER)  # noqa: S506 -- the safe one
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise CredentialsRefused(f"The kubeconfig is not YAML{where}: {error.problem}.") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        raise CredentialsRefused("The kubeconfig is not YAML.") from None
    if not isinstance(document, dict) or document.get("kind", "Config") != "Config":
        raise CredentialsRefused("This is not a kubeconfig: a document of kind Config is wanted.")
    return document


def _refuse_what_swells(text: str) -> None:
    """Refuse what takes long to build out of little text, before it is built."""
    depth = 0
    events: Iterable[Any] = yaml.parse(text, Loader=_LOADER)
    for number, event in enumerate(events):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if number >= EVENTS_MAX or depth > DEPTH_MAX:
            raise CredentialsRefused(
                "The kubeconfig has more, or deeper, entries than can be meant; give one with a single context, as "
                "`kubectl config view --minify --flatten --raw` writes it."
            )
        named = getattr(event, "anchor", None) is not None or getattr(event, "tag", None) is not None
        if named or getattr(event, "value", None) == "<<":
            raise CredentialsRefused(
                f"The kubeconfig has an anchor, alias, merge key or tag in line {event.start_mark.line + 1}; write out "
                "what is meant."
            )


def _entry(document: Mapping[str, Any], section: str, key: str, name: str) -> Mapping[str, Any]:
    """The entry of that name in a list such as ``clusters: [{name: …, cluster: {…}}]``."""
    listed = document.get(section)
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(key), dict):
            found: Mapping[str, Any] = entry[key]
            return found
    raise CredentialsRefused(f"The kubeconfig speaks of the {key} {name!r} but has no such entry under {section}.")


def _refuse(entry: Mapping[str, Any], refused: Mapping[str, str], *, of: str) -> None:
    for key, why in refused.items():
        if entry.get(key):
            raise CredentialsRefused(f"The kubeconfig's {of} has {key}, which {why}.")


def _server(cluster: Mapping[str, Any]) -> str:
    server = _text(cluster, "server", of="cluster")
    wanted = "an address such as https://cluster.example:6443"
    try:
        parts = urlsplit(server)
        port = parts.port
    except ValueError:
        raise CredentialsRefused(f"The kubeconfig's server {server!r} is not an address; give {wanted}.") from None
    if parts.scheme != "https":
        raise CredentialsRefused(f"The kubeconfig's server {server!r} is not reached over https; give {wanted}.")
    if not parts.hostname or port == 0 or parts.query or parts.fragment or "@" in parts.netloc:
        raise CredentialsRefused(f"The kubeconfig's server {server!r} is more or less than a server; give {wanted}.")
    return server.rstrip("/")


def _token(user: Mapping[str, Any]) -> str | None:
    token = _optional_text(user, "token", of="user")
    if token is None:
        return None
    token = token.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise CredentialsRefused("The kubeconfig's token has characters that no token has.")
    return token or None


def _text(entry: Mapping[str, Any], key: str, *, of: str) -> str:
    text = _optional_text(entry, key, of=of)
    if text is None:
        raise CredentialsRefused(f"The kubeconfig's {of} has no {key}.")
    return text


def _optional_text(entry: Mapping[str, Any], key: str, *, of: str) -> str | None:
    value = entry.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise CredentialsRefused(f"The kubeconfig's {of} has a {key} that is not text.")
    return value


def _decoded(entry: Mapping[str, Any], key: str) -> bytes | None:
    value = entry.get(key)
    if value is None or value == "":
        return None
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (AttributeError, binascii.Error, ValueError):
        raise CredentialsRefused(f"The kubeconfig's {key} is not base64.") from None


def _load_client_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """OpenSSL takes a client certificate from a file only: one of ours alone, and only for that moment."""
    if b"ENCRYPTED" in key:
        raise CredentialsRefused("The kubeconfig's client-key-data is encrypted with a passphrase; give a plain key.")
    number, path = tempfile.mkstemp(prefix="guildhall-client-certificate-")
    try:
        with os.fdopen(number, "wb") as chain:
            chain.write(certificate.rstrip() + b"\n" + key)
        context.load_cert_chain(path, password="")
    except (ssl.SSLError, OSError, ValueError):
        raise CredentialsRefused(
            "The kubeconfig's client-certificate-data and client-key-data are not a PEM certificate and its own key."
        ) from None
    finally:
        Path(path).unlink()
