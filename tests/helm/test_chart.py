"""What the chart renders, and which values it refuses."""

import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import yaml

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
        assert variables.pop("migration") == {"GUILDHALL_DATABASE_URL", "GUILDHALL_MIGRATION_DATABASE_URL"}
        assert set(variables) == {"api", "worker", "sealer"}
        assert all(names == {"GUILDHALL_DATABASE_URL"} for names in variables.values())

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
