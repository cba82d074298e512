import base64
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml

from scheduler.clusters.kubernetes.credentials import (
    KUBECONFIG_CHARACTERS_MAX,
    ClusterCredentials,
    CredentialsRefused,
    parse_kubeconfig,
)
from tests.cluster.certificates import Authority

TOKEN_USER = {"token": "a-token"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authority")
    authority = Authority(folder)
    authority.client("somebody", "somebody", None)
    authority.client("another", "another", None)
    return folder


def inline(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def document(
    cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [
            {"name": "elsewhere", "context": {"cluster": "no", "user": "no"}},
            {"name": "here", "context": {"cluster": "research", "user": "guildhall"}},
        ],
        "clusters": [{"name": "research", "cluster": {"server": "https://10.1.2.3:6443/", **(cluster or {})}}],
        "users": [{"name": "guildhall", "user": TOKEN_USER if user is None else user}],
        **changes,
    }


class TestParseKubeconfig:
    def test_a_token_and_the_machine_s_authorities(self) -> None:
        access = parse_kubeconfig(yaml.safe_dump(document()))
        assert (access.context, access.server, access.server_name) == ("here", "https://10.1.2.3:6443", None)
        assert (access.token, access.certificate_authority, access.client_certificate) == ("a-token", None, None)

    def test_an_authority_of_its_own_a_client_certificate_and_the_name_that_the_server_shows(
        self, folder: Path
    ) -> None:
        text = yaml.safe_dump(
            document(
                {"certificate-authority-data": inline(folder / "ca.crt"), "tls-server-name": "api.research"},
                {
                    "client-certificate-data": inline(folder / "somebody.crt"),
                    "client-key-data": inline(folder / "somebody.key"),
                },
            )
        )
        access = parse_kubeconfig(text)
        assert access.server_name == "api.research"
        assert access.token is None
        context = access.tls()
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert [found["subject"] for found in context.get_ca_certs()] == [
            ((("commonName", "guildhall-test-cluster"),),)
        ]

    def test_a_path_on_the_server_stays(self) -> None:
        text = yaml.safe_dump(document({"server": "https://rancher.example/k8s/clusters/c-1"}))
        assert parse_kubeconfig(text).server == "https://rancher.example/k8s/clusters/c-1"

    def test_what_looks_like_a_date_or_a_number_of_base_60_is_text(self) -> None:
        user = {"name": "guildhall", "user": {"token": "TOKEN"}}
        for text in ("2026-11-21", "12:30:45", "1.5"):
            assert parse_kubeconfig(yaml.safe_dump(document(users=[user])).replace("TOKEN", text)).token == text

    def test_json_is_yaml(self) -> None:
        assert parse_kubeconfig(str(document()).replace("'", '"')).token == "a-token"

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"current-context": ""}, "names no current-context; set one with `kubectl config use-context`."),
            ({"current-context": 7}, "names no current-context; set one with `kubectl config use-context`."),
            ({"current-context": "gone"}, "speaks of the context 'gone' but has no such entry under contexts."),
            ({"contexts": 3}, "speaks of the context 'here' but has no such entry under contexts."),
            ({"clusters": [7, {}]}, "speaks of the cluster 'research' but has no such entry under clusters."),
            ({"users": None}, "speaks of the user 'guildhall' but has no such entry under users."),
            ({"contexts": [{"name": "here", "context": {"user": "guildhall"}}]}, "context here has no cluster."),
        ],
    )
    def test_what_does_not_hang_together(self, changes: dict[str, Any], sentence: str) -> None:
        refused(document(**changes), f"The kubeconfig {sentence}" if not sentence.startswith("context") else sentence)

    @pytest.mark.parametrize(
        ("cluster", "sentence"),
        [
            ({"certificate-authority": "/etc/ca.crt"}, "put its content into certificate-authority-data"),
            ({"insecure-skip-tls-verify": True}, "has insecure-skip-tls-verify, which leaves open who answers"),
            ({"proxy-url": "http://169.254.169.254"}, "has proxy-url, which goes through a proxy"),
            ({"server": ""}, "cluster has no server."),
            ({"server": ["x"]}, "cluster has a server that is not text."),
            ({"server": "http://10.1.2.3:8080"}, "'http://10.1.2.3:8080' is not reached over https; give an address"),
            ({"server": "10.1.2.3:6443"}, "is not reached over https"),
            ({"server": "file:///etc/passwd"}, "is not reached over https"),
            ({"server": "https://"}, "is more or less than a server"),
            ({"server": "https://me:word@10.1.2.3"}, "is more or less than a server"),
            ({"server": "https://10.1.2.3?x=1"}, "is more or less than a server"),
            ({"server": "https://10.1.2.3:99999"}, "is not an address"),
            ({"server": "https://[::1"}, "is not an address"),
            ({"certificate-authority-data": "!"}, "certificate-authority-data is not base64."),
            ({"certificate-authority-data": 7}, "certificate-authority-data is not base64."),
            ({"certificate-authority-data": "aGFsbG8="}, "is not a PEM certificate in base64."),
            ({"certificate-authority-data": "/9j/4AAQ"}, "is not a PEM certificate in base64."),
        ],
    )
    def test_clusters_that_are_refused(self, cluster: dict[str, Any], sentence: str) -> None:
        refused(document(cluster), sentence)

    @pytest.mark.parametrize(
        ("user", "sentence"),
        [
            ({"x": 1}, "has neither a token nor a client certificate"),
            ({"exec": {"command": "aws"}}, "has exec, which runs a program on the server; create a service account"),
            ({"auth-provider": {"name": "gcp"}}, "has auth-provider, which needs a plugin"),
            ({"tokenFile": "/etc/shadow"}, "has tokenFile, which names a file; put its content into token."),
            ({"client-certificate": "x", "client-key": "y"}, "put its content into client-certificate-data."),
            ({"token": "t", "client-key": "y"}, "has client-key, which names a file"),
            ({"username": "u", "password": "p"}, "has username, which is a password sign-in"),
            ({"token": "t", "as": "system:admin"}, "has as, which acts as somebody else"),
            ({"token": "t", "as-groups": ["system:masters"]}, "has as-groups, which acts as somebody else"),
            ({"token": "a\nb"}, "token has characters that no token has."),
            ({"token": "ü"}, "token has characters that no token has."),
            ({"token": 7}, "user has a token that is not text."),
            ({"token": "  "}, "has neither a token nor a client certificate"),
            ({"client-key-data": "aGFsbG8="}, "both are needed."),
            ({"client-certificate-data": "aGFsbG8=", "client-key-data": "aGFsbG8="}, "its own key."),
        ],
    )
    def test_users_that_are_refused(self, user: dict[str, Any], sentence: str) -> None:
        refused(document(user=user), sentence)

    def test_a_key_of_another_certificate(self, folder: Path) -> None:
        certificate, key = inline(folder / "somebody.crt"), inline(folder / "another.key")
        user = {"client-certificate-data": certificate, "client-key-data": key}
        refused(document(user=user), "are not a PEM certificate and its own key.")

    def test_a_key_under_a_passphrase_is_refused_and_nobody_asked(self, folder: Path) -> None:
        key = base64.b64encode(
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nxx\n-----END ENCRYPTED PRIVATE KEY-----"
        ).decode()
        user = {"client-certificate-data": inline(folder / "somebody.crt"), "client-key-data": key}
        refused(document(user=user), "is encrypted with a passphrase; give a plain key.")

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("", "This is not a kubeconfig: a document of kind Config is wanted."),
            ("hello", "This is not a kubeconfig: a document of kind Config is wanted."),
            ("- 1", "This is not a kubeconfig: a document of kind Config is wanted."),
            ("kind: Pod", "This is not a kubeconfig: a document of kind Config is wanted."),
            ("a: [1", "The kubeconfig is not YAML in line 2: did not find expected ',' or ']'."),
            ("a: b\n---\nc: d", "The kubeconfig is not YAML in line 2: but found another document."),
            ("\x00", "The kubeconfig is not YAML."),
            (
                "!!python/object/apply:os.system ['true']",
                "The kubeconfig has an anchor, alias, merge key or tag in line 1; ",
            ),
            ("[" * 50_000, "The kubeconfig has more, or deeper, entries than can be meant; "),
            ("[" + "1," * 30_000 + "1]", "The kubeconfig has more, or deeper, entries than can be meant; "),
            ("a: &x {b: c}", "The kubeconfig has an anchor, alias, merge key or tag in line 1; write out"),
            ("a: b\nc: *x", "The kubeconfig has an anchor, alias, merge key or tag in line 2; write out"),
            ("a: b\n<<: {c: d}", "The kubeconfig has an anchor, alias, merge key or tag in line 2; write out"),
            ("!!timestamp x", "The kubeconfig has an anchor, alias, merge key or tag in line 1; write out"),
            ("1" + ":1" * 32_000, "This is not a kubeconfig: a document of kind Config is wanted."),
            ("9" * 60_000, "This is not a kubeconfig: a document of kind Config is wanted."),
            ("!!int 1:1", "The kubeconfig has an anchor, alias, merge key or tag in line 1; write out"),
            ("\ud800", "The kubeconfig is not YAML."),
            ("x" * (KUBECONFIG_CHARACTERS_MAX + 1), "A kubeconfig has at most 65536 characters."),
        ],
    )
    def test_texts_that_are_no_kubeconfig(self, text: str, sentence: str) -> None:
        with pytest.raises(CredentialsRefused) as refusal:
            parse_kubeconfig(text)
        assert refusal.value.message.startswith(sentence)


class TestClusterCredentials:
    def test_secrets_stay_out_of_what_is_logged(self) -> None:
        text = yaml.safe_dump(document())
        assert "a-token" not in repr(ClusterCredentials(text)) + repr(parse_kubeconfig(text))


def refused(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CredentialsRefused) as refusal:
        parse_kubeconfig(yaml.safe_dump(config))
    assert sentence in refusal.value.message
    assert refusal.value.message.count("\n") == 0
    assert (refusal.value.code, refusal.value.field) == ("KUBECONFIG_INVALID", "kubeconfig")
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None
