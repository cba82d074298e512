"""How people name things: TEAM/NAME, and TEAM/NAME@VERSION with a number or an alias."""

from dataclasses import dataclass
from typing import Any

import click

from guildhall_client.client import Client
from guildhall_client.command.connection import all_nodes
from guildhall_client.command.documents.datasets import DATASET_VERSIONS
from guildhall_client.command.documents.models import MODEL_VERSIONS
from guildhall_client.command.exits import NoSuchThing


@dataclass(frozen=True)
class Reference:
    """A model or data set by its team and name, and a version of it if one is named."""

    team: str
    name: str
    version: str | None = None

    def __str__(self) -> str:
        """As it was written."""
        return f"{self.team}/{self.name}" + (f"@{self.version}" if self.version else "")


class ReferenceType(click.ParamType[Reference]):
    """TEAM/NAME[@VERSION]."""

    name = "reference"

    def __init__(self, *, versioned: bool = True) -> None:
        self.versioned = versioned

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Reference:  # noqa: ANN401
        """The parts."""
        if isinstance(value, Reference):
            return value
        path, at, version = str(value).partition("@")
        team, slash, name = path.partition("/")
        if not (slash and team and name and "/" not in name) or (at and not version):
            self.fail(f"{value!r} is not TEAM/NAME{'[@VERSION]' if self.versioned else ''}.", param, ctx)
        if at and not self.versioned:
            self.fail(f"{value!r} names a version, where TEAM/NAME is meant.", param, ctx)
        return Reference(team, name, version or None)


VERSIONED = ReferenceType()
UNVERSIONED = ReferenceType(versioned=False)


@dataclass(frozen=True)
class Found:
    """A model or data set by its id, and the version that was named or is the latest of use."""

    id: str
    version_id: str
    number: int


def find_model(client: Client, reference: Reference) -> dict[str, Any]:
    """The model's id and aliases; raises `NoSuchThing`."""
    variables = {"team": reference.team, "name": reference.name, "first": 1, "after": None}
    model: dict[str, Any] | None = client.execute(MODEL_VERSIONS, variables)["model"]
    if model is None:
        message = (
            f"There is no model {reference.team}/{reference.name} that you may see; `guildhall search` finds models."
        )
        raise NoSuchThing(message)
    return model


def find_model_version(client: Client, reference: Reference, states: tuple[str, ...] = ()) -> Found:
    """The version by number or alias; without either the latest, in one of `states` where some are named."""
    model = find_model(client, reference)
    aliased = {alias["name"]: alias["version"] for alias in model["aliases"]}
    if reference.version in aliased:
        version = aliased[reference.version]
        return Found(model["id"], version["id"], version["number"])
    variables = {"team": reference.team, "name": reference.name}
    versions = all_nodes(client, MODEL_VERSIONS, variables, "model", "versions")
    found = _pick(versions, reference, "status", states)
    if found is None:
        known = [f"@{version['number']}" for version in versions[:5]] + [f"@{alias}" for alias in aliased]
        raise NoSuchThing(_no_version("model", reference, known, states))
    return Found(model["id"], found["id"], found["number"])


def find_dataset(client: Client, reference: Reference) -> str:
    """The data set's id; raises `NoSuchThing`."""
    variables = {"team": reference.team, "name": reference.name, "first": 1, "after": None}
    dataset = client.execute(DATASET_VERSIONS, variables)["dataset"]
    if dataset is None:
        raise NoSuchThing(f"There is no data set {reference.team}/{reference.name} that you may see.")
    found: str = dataset["id"]
    return found


def find_dataset_version(client: Client, reference: Reference) -> Found:
    """The version by number; without one the latest that is READY."""
    dataset_id = find_dataset(client, reference)
    variables = {"team": reference.team, "name": reference.name}
    versions = all_nodes(client, DATASET_VERSIONS, variables, "dataset", "versions")
    found = _pick(versions, reference, "state", ("READY",))
    if found is None:
        known = [f"@{version['number']}" for version in versions[:5]]
        raise NoSuchThing(_no_version("data set", reference, known, ("READY",)))
    return Found(dataset_id, found["id"], found["number"])


def written(resource: dict[str, Any] | None) -> str:
    """A resource of an answer as people name it."""
    if resource is None:
        return "(not visible)"
    holder = resource.get("dataset") or resource.get("model")
    if holder is not None:
        return f"{holder['team']['name']}/{holder['name']}@{resource['number']}"
    if "team" in resource and "name" in resource:
        return f"{resource['team']['name']}/{resource['name']}"
    return str(resource.get("id", resource["__typename"]))


def _pick(
    versions: list[dict[str, Any]], reference: Reference, state_field: str, states: tuple[str, ...]
) -> dict[str, Any] | None:
    if reference.version is not None:
        return next((each for each in versions if str(each["number"]) == reference.version), None)
    return next((each for each in versions if not states or each[state_field] in states), None)


def _no_version(kind: str, reference: Reference, known: list[str], states: tuple[str, ...]) -> str:
    there = f"there is {', '.join(known)}" if known else "it has none yet"
    if reference.version is not None:
        return f"The {kind} {reference.team}/{reference.name} has no version @{reference.version}: {there}."
    wanted = " or ".join(states)
    return (
        f"The {kind} {reference.team}/{reference.name} has no version{' that is ' + wanted if wanted else ''}: {there}."
    )
