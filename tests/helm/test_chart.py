"""What the chart renders, and which values it refuses."""

import re
from base64 import b64decode
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from guildhall.settings import PREFIX, Settings, describe
from tools.chart_checks import CHART, EXAMPLES, ChartRefused, rendered

IMAGE = ("--set", "image.repository=here/guildhall")
TRIAL = (*IMAGE, "--set", "trial.enabled=true")
DOCS = CHART.parents[1] / "docs"


def example(helm: Path, name: str, *more: str) -> list[dict[str, Any]]:
    return rendered(helm, "--values", str(CHART / "examples" / f"{name}.yaml"), *more)


def of_kind(manifests: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def pods(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    kinds = ("Deployment", "StatefulSet", "Job")
    return {
        each["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"]["template"]["spec"]
        for each in manifests
        if each["kind"] in kinds
    }


class TestValues:
    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ((), "artifacts.url is missing: an object store such as s3://bucket/prefix, or trial.enabled=true"),
            (("--set", "trial.enabled=true"), "image.repository is missing: name the image that helm/image/Contain"),
            (
                (*IMAGE, "--set", "artifacts.url=s3://bucket", "--set", "sealer.enabled=false"),
                "database.existingSecret is missing: a secret with the addresses of a PostgreSQL, or trial.enabled",
            ),
            (
                (*IMAGE, "--set", "artifacts.url=s3://bucket", "--set", "database.existingSecret=addresses"),
                "sealer.headsUrl is missing: where the signed heads of the audit record go, such as s3://audit/heads",
            ),
            ((*TRIAL, "--set", "replica=2"), "additional properties 'replica' not allowed"),
            ((*TRIAL, "--set", "image.tag=latest"), "image/tag"),
            ((*TRIAL, "--set", "image.digest=sha256:12"), "image/digest"),
            ((*TRIAL, "--set", "api.replicas=-1"), "api/replicas"),
            ((*TRIAL, "--set", "settings.GUILDHALL_LOG_LEVEL=DEBUG"), "'GUILDHALL_LOG_LEVEL'"),
            ((*TRIAL, "--set", "settings.DATABASE_URL=postgresql://x"), "'DATABASE_URL'"),
            ((*TRIAL, "--set", "settings.SMTP_URL=smtps://mail.example.org"), "'SMTP_URL'"),
            ((*TRIAL, "--set", "secretSettings.OIDC_CLIENT_SECRET=geheim"), "secretSettings/OIDC_CLIENT_SECRET"),
            ((*TRIAL, "--set", "secretSettings.OIDC_CLIENT_SECRET.name=oidc"), "missing property 'key'"),
            ((*TRIAL, "--set", "mail.url=smtps://user:geheim@mail.example.org"), "mail/url"),
            (
                (*TRIAL, "--set", "mail.url=smtps://mail.example.org"),
                "mail.from is missing: who mails are from, such as Guildhall <guildhall@example.org>",
            ),
            (
                (*TRIAL, "--set", "mail.existingSecret=mail"),
                "mail.url is missing: the server that mail.existingSecret has the password for",
            ),
            ((*TRIAL, "--set", "webhooks.networks={10.0.0.1}"), "webhooks/networks/0"),
            ((*TRIAL, "--set", "api.processes=0"), "api/processes"),
            ((*TRIAL, "--set", "publicUrl=guildhall.example.org"), "publicUrl"),
            ((*TRIAL, "--set", "artifacts.url=file:///tmp"), "artifacts/url"),
        ],
    )
    def test_what_is_missing_or_wrong_is_named(self, helm: Path, arguments: tuple[str, ...], sentence: str) -> None:
        with pytest.raises(ChartRefused, match=re.escape(sentence)):
            rendered(helm, *arguments)


class TestProduction:
    def test_callers_may_not_introspect(self, helm: Path) -> None:
        settings = of_kind(example(helm, "production"), "ConfigMap")["guildhall"]["data"]
        told = ("INTROSPECTION", "SUGGESTIONS", "GRAPHIQL")
        assert {settings[f"GUILDHALL_GRAPHQL_{name}"] for name in told} == {"false"}
        assert settings["GUILDHALL_PUBLIC_URL"] == "https://guildhall.example.org"
        assert settings["GUILDHALL_JOBS_URL"] == "http://guildhall.guildhall.svc:8321"
        assert settings["GUILDHALL_OIDC_ISSUER"] == "https://login.example.org"

    def test_no_secret_is_made(self, helm: Path) -> None:
        assert of_kind(example(helm, "production"), "Secret") == {}

    def test_the_owner_s_address_is_seen_by_the_migration_alone(self, helm: Path) -> None:
        variables = {
            part: {
                each["name"] for each in [*pod.get("initContainers", []), *pod["containers"]] for each in each["env"]
            }
            for part, pod in pods(example(helm, "production")).items()
        }
        authorities = {"SSL_CERT_FILE", "PGSSLROOTCERT"}
        addresses = {"GUILDHALL_DATABASE_URL", "GUILDHALL_MIGRATION_DATABASE_URL"}
        assert variables.pop("migration") == addresses | authorities
        assert set(variables) == {"api", "worker", "sealer"}
        assert all("GUILDHALL_MIGRATION_DATABASE_URL" not in names for names in variables.values())

    def test_only_what_speaks_to_the_cluster_has_its_account(self, helm: Path) -> None:
        mounted = {part: pod["automountServiceAccountToken"] for part, pod in pods(example(helm, "production")).items()}
        assert mounted == {"api": True, "worker": True, "sealer": False, "migration": False}
        without = example(helm, "production", "--set", "clusterAccess.create=false")
        assert not any(pod["automountServiceAccountToken"] for pod in pods(without).values())
        assert of_kind(without, "ClusterRole") == {}

    def test_the_key_of_the_seal_is_the_sealer_s_alone(self, helm: Path) -> None:
        mounted = {}
        for part, pod in pods(example(helm, "production")).items():
            volumes = {each["name"]: each for each in pod["volumes"]}
            mounted[part] = {each["key"] for each in volumes.get("keys", {}).get("secret", {}).get("items", [])}
        of_all = {"secret.key", "audit.key", "credentials.key"}
        assert mounted == {"api": of_all, "worker": of_all, "sealer": {*of_all, "seal.key"}, "migration": set()}

    def test_the_store_s_credentials_are_seen_by_whom_they_are_for(self, helm: Path) -> None:
        seen = {}
        for part, pod in pods(example(helm, "production")).items():
            for container in [*pod.get("initContainers", []), *pod["containers"]]:
                secrets = {each["secretRef"]["name"] for each in container["envFrom"] if "secretRef" in each}
                seen[part, container["name"]] = secrets
        assert {name: secrets for name, secrets in seen.items() if secrets} == {
            ("api", "api"): {"guildhall-store"},
            ("worker", "worker"): {"guildhall-store"},
            ("sealer", "sealer"): {"guildhall-audit-store"},
        }

    def test_the_password_for_mail_is_a_file_of_the_worker_alone(self, helm: Path) -> None:
        manifests = example(helm, "production")
        settings = of_kind(manifests, "ConfigMap")["guildhall"]["data"]
        assert settings["GUILDHALL_SMTP_URL"] == "smtps://guildhall@mail.example.org"
        assert settings["GUILDHALL_MAIL_FROM"] == "Guildhall <guildhall@example.org>"
        found = {part: pod for part, pod in pods(manifests).items() if "guildhall-mail" in str(pod)}
        assert set(found) == {"worker"}
        (container,) = found["worker"]["containers"]
        variables = {each["name"]: each.get("value") for each in container["env"]}
        assert variables["GUILDHALL_SMTP_PASSWORD_FILE"] == "/etc/guildhall/secrets/SMTP_PASSWORD_FILE"
        (volume,) = (each for each in found["worker"]["volumes"] if each["name"] == "secrets")
        item = {"key": "password", "path": "SMTP_PASSWORD_FILE"}
        assert volume["projected"]["sources"] == [{"secret": {"name": "guildhall-mail", "items": [item]}}]
        (mount,) = (each for each in container["volumeMounts"] if each["name"] == "secrets")
        assert mount == {"name": "secrets", "mountPath": "/etc/guildhall/secrets", "readOnly": True}

    def test_secrets_are_variables_or_files_as_their_settings_want_them(self, helm: Path) -> None:
        secret = "secretSettings.AUDIT_STREAM_SECRET_FILE"
        named = ("--set", f"{secret}.name=siem", "--set", f"{secret}.key=token")
        of_pods = pods(example(helm, "production", *named))
        for part in ("api", "worker", "sealer"):
            variables = {each["name"]: each for each in of_pods[part]["containers"][0]["env"]}
            reference = {"secretKeyRef": {"name": "guildhall-oidc", "key": "clientSecret"}}
            assert variables["GUILDHALL_OIDC_CLIENT_SECRET"]["valueFrom"] == reference
            path = variables["GUILDHALL_AUDIT_STREAM_SECRET_FILE"]["value"]
            assert path == "/etc/guildhall/secrets/AUDIT_STREAM_SECRET_FILE"
            (volume,) = (each for each in of_pods[part]["volumes"] if each["name"] == "secrets")
            item = {"key": "token", "path": "AUDIT_STREAM_SECRET_FILE"}
            assert {"secret": {"name": "siem", "items": [item]}} in volume["projected"]["sources"]
        assert "guildhall-oidc" not in str(of_pods["migration"])

    def test_the_authorities_are_known_to_all_that_connect(self, helm: Path) -> None:
        named = ("--set", "authorities.existingConfigMap=authorities", "--set", "authorities.key=all.pem")
        for part, pod in pods(example(helm, "production", *named)).items():
            (volume,) = (each for each in pod["volumes"] if each["name"] == "authorities")
            assert volume["configMap"] == {"name": "authorities", "items": [{"key": "all.pem", "path": "ca.crt"}]}
            for container in [*pod.get("initContainers", []), *pod["containers"]]:
                variables = {each["name"]: each.get("value") for each in container["env"]}
                assert variables["SSL_CERT_FILE"] == "/etc/guildhall/authorities/ca.crt", part
                assert variables["PGSSLROOTCERT"] == "/etc/guildhall/authorities/ca.crt", part
                assert "/etc/guildhall/authorities" in {each["mountPath"] for each in container["volumeMounts"]}, part

    def test_each_setting_has_a_value_or_is_taken_by_its_name(self, helm: Path) -> None:
        """So that none can be reached in two ways, and none in no way."""
        of_values = {
            "DATA_DIR", "BIND", "DATABASE_URL", "MIGRATION_DATABASE_URL", "API_PROCESSES", "PUBLIC_URL", "JOBS_URL",
            "ARTIFACTS_URL", "AUDIT_HEADS_URL", "SECRET_KEY_FILE", "AUDIT_KEY_FILE", "CREDENTIALS_KEY_FILE",
            "SEAL_KEY_FILE", "SMTP_URL", "SMTP_PASSWORD_FILE", "MAIL_FROM", "WEBHOOK_NETWORKS",
        }  # fmt: skip
        names = {name.removeprefix(PREFIX) for name, _, _ in describe()}
        assert of_values < names
        secrets = {each.name.upper() for each in fields(Settings) if each.metadata["variable"].secret}
        taken = names - of_values - secrets
        arguments = [part for name in sorted(taken) for part in ("--set-string", f"settings.{name}=1")]
        settings = of_kind(example(helm, "trial", *arguments), "ConfigMap")["guildhall"]["data"]
        assert {name for name in taken if settings.get(PREFIX + name) == "1"} == taken
        for name in sorted(of_values | secrets):
            with pytest.raises(ChartRefused, match=f"'{name}'"):
                example(helm, "trial", "--set-string", f"settings.{name}=1")

    def test_its_rights_are_those_of_the_guide(self, helm: Path) -> None:
        (role,) = of_kind(example(helm, "production"), "ClusterRole").values()
        guide = yaml.safe_load_all((DOCS / "kubernetes" / "cluster-role.yaml").read_text(encoding="utf-8"))
        assert role["rules"] == of_kind(list(guide), "ClusterRole")["guildhall"]["rules"]


class TestTrial:
    def test_its_keys_are_32_bytes_in_hexadecimal_each_of_its_own(self, helm: Path) -> None:
        keys = of_kind(example(helm, "trial"), "Secret")["guildhall-keys"]["data"]
        assert set(keys) == {"secret.key", "audit.key", "credentials.key", "seal.key"}
        assert all(re.fullmatch(rb"[0-9a-f]{64}", b64decode(key)) for key in keys.values())
        assert len(set(keys.values())) == 4

    def test_its_database_opens_to_the_two_logins(self, helm: Path) -> None:
        secret = of_kind(example(helm, "trial"), "Secret")["guildhall-trial-database"]["stringData"]
        host = "guildhall-trial-database.guildhall.svc:5432/guildhall"
        assert secret["url"] == f"postgresql://guildhall_service:{secret['service']}@{host}"
        assert secret["migrationUrl"] == f"postgresql://guildhall_owner:{secret['owner']}@{host}"
        assert len({secret[name] for name in ("superuser", "owner", "service")}) == 3

    def test_no_name_is_longer_than_kubernetes_allows(self, helm: Path) -> None:
        manifests = rendered(helm, *TRIAL, release="a" * 53)
        hashed = len("-0123456789")  # what a StatefulSet adds for a label of its pods
        assert max(len(name) for name in of_kind(manifests, "StatefulSet")) + hashed <= 63
        assert max(len(each["metadata"]["name"]) for each in manifests) <= 63

    def test_a_second_release_has_names_of_its_own(self, helm: Path) -> None:
        names = {each["metadata"]["name"] for each in rendered(helm, *TRIAL, release="second")}
        assert all(name.startswith("second-guildhall") for name in names)


class TestPods:
    @pytest.mark.parametrize("name", EXAMPLES)
    def test_each_is_restricted(self, helm: Path, name: str) -> None:
        for part, pod in pods(example(helm, name)).items():
            assert pod["securityContext"]["runAsNonRoot"] is True, part
            assert pod["enableServiceLinks"] is False, part
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, part
            for container in [*pod.get("initContainers", []), *pod["containers"]]:
                security = container["securityContext"]
                assert security["allowPrivilegeEscalation"] is False, part
                assert security["readOnlyRootFilesystem"] is True, part
                assert security["capabilities"] == {"drop": ["ALL"]}, part
                assert set(container["resources"]) == {"requests", "limits"}, part

    def test_what_migrates_has_another_name_after_each_change(self, helm: Path) -> None:
        """Where a chart is rendered without counting revisions, a Job of the same name could not be changed."""
        (before,) = of_kind(example(helm, "production"), "Job")
        (again,) = of_kind(example(helm, "production"), "Job")
        (after,) = of_kind(example(helm, "production", "--set", f"image.digest=sha256:{1:064}"), "Job")
        assert before == again
        assert before != after

    def test_a_change_of_the_settings_rolls_them(self, helm: Path) -> None:
        def marks(*more: str) -> set[str]:
            deployments = of_kind(example(helm, "production", *more), "Deployment").values()
            return {
                each["spec"]["template"]["metadata"]["annotations"]["guildhall.io/configuration"]
                for each in deployments
            }

        (before,) = marks()
        (after,) = marks("--set", "settings.LOG_LEVEL=DEBUG")
        assert before != after
