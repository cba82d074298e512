"""Accounts of a test cluster: tokens and client certificates as an administrator would give them, or long past."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID

from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.resources import NAMESPACES
from tests.scheduler.clusters.kubernetes.kinds import SERVICE_ACCOUNTS

COORDINATE_BYTES = 32


async def token_of(api: KubernetesApi, *, namespace: str, account: str) -> str:
    """Make a service account and ask for a token of it, as `kubectl create token` does."""
    await api.create(SERVICE_ACCOUNTS, {"metadata": {"name": account}}, namespace=namespace)
    path = SERVICE_ACCOUNTS.path(namespace=namespace, name=account, subresource="token")
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer, _ = await api._transport.call("POST", path, {}, body=request)
    token: str = answer["status"]["token"]
    return token


async def new_namespace(api: KubernetesApi, name: str, **labels: str) -> str:
    """A namespace of that name."""
    await api.create(NAMESPACES, {"metadata": {"name": name, "labels": labels}})
    return name


def expired_token(certificates: Path) -> str:
    """What the cluster's own key signed an hour ago, for half an hour."""
    key = serialization.load_pem_private_key((certificates / "sa.key").read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    issued_at = datetime.now(UTC) - timedelta(hours=1)  # noqa: TID251 - the API server has the machine's clock
    claims = {
        "iss": "https://kubernetes.default.svc",
        "aud": ["https://kubernetes.default.svc"],
        "sub": "system:serviceaccount:default:default",
        "iat": int(issued_at.timestamp()),
        "exp": int((issued_at + timedelta(minutes=30)).timestamp()),
    }
    signed = ".".join(_url_safe(json.dumps(part).encode()) for part in ({"alg": "ES256", "typ": "JWT"}, claims))
    signature = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_url_safe(b''.join(number.to_bytes(COORDINATE_BYTES, 'big') for number in signature))}"


def expired_certificate(certificates: Path) -> dict[str, str]:
    """The `user` of a kubeconfig whose certificate the cluster's authority signed, until an hour ago."""
    authority = x509.load_pem_x509_certificate((certificates / "ca.crt").read_bytes())
    authority_key = serialization.load_pem_private_key((certificates / "ca.key").read_bytes(), password=None)
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)  # noqa: TID251 - the API server has the machine's clock
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=2))
        .not_valid_after(now - timedelta(hours=1))
        .sign(authority_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "client-certificate-data": base64.b64encode(certificate.public_bytes(serialization.Encoding.PEM)).decode(),
        "client-key-data": base64.b64encode(private).decode(),
    }


def _url_safe(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
