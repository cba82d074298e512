"""How people name things, and the sentences where there is no such thing."""

from typing import Any

import click
import pytest

from guildhall_client.command.exits import NoSuchThing
from guildhall_client.command.references import (
    UNVERSIONED,
    VERSIONED,
    Found,
    Reference,
    find_dataset_version,
    find_model_version,
    written,
)
from tests.client.command.answering import client_told

GAUGE = Reference("vision", "gauge")


def of_model(*versions: tuple[int, str], **aliases: int) -> dict[str, Any]:
    named = [{"name": name, "version": {"id": f"v{number}", "number": number}} for name, number in aliases.items()]
    return {"model": {"id": "m", "aliases": named, "versions": listed("status", versions)}}


def of_dataset(*versions: tuple[int, str]) -> dict[str, Any]:
    return {"dataset": {"id": "d", "versions": listed("state", versions)}}


def listed(field: str, versions: tuple[tuple[int, str], ...]) -> dict[str, Any]:
    nodes = [{"id": f"v{number}", "number": number, field: state} for number, state in versions]
    return {"nodes": nodes, "pageInfo": {"hasNextPage": False, "endCursor": None}}


class TestReference:
    @pytest.mark.parametrize("text", ["vision/gauge", "vision/gauge@3", "vision/gauge@champion"])
    def test_reads_as_it_is_written(self, text: str) -> None:
        reference = VERSIONED.convert(text, None, None)
        assert str(reference) == text
        assert VERSIONED.convert(reference, None, None) is reference

    @pytest.mark.parametrize("text", ["gauge", "/gauge", "vision/", "a/b/c", "vision/gauge@", ""])
    def test_what_is_none(self, text: str) -> None:
        with pytest.raises(click.BadParameter, match=r"is not TEAM/NAME\[@VERSION\]"):
            VERSIONED.convert(text, None, None)

    def test_a_version_where_none_is_meant(self) -> None:
        with pytest.raises(click.BadParameter, match="names a version, where TEAM/NAME is meant"):
            UNVERSIONED.convert("vision/gauge@3", None, None)
        with pytest.raises(click.BadParameter, match=r"'gauge' is not TEAM/NAME\."):
            UNVERSIONED.convert("gauge", None, None)


class TestFindModelVersion:
    TWO = of_model((2, "READY"), (1, "PUBLISHED"), champion=1)

    @pytest.mark.parametrize(
        ("version", "states", "number"),
        [("champion", (), 1), ("2", ("PUBLISHED",), 2), (None, (), 2), (None, ("PUBLISHED",), 1)],
    )
    def test_by_alias_number_or_the_latest(self, version: str | None, states: tuple[str, ...], number: int) -> None:
        with client_told(self.TWO, self.TWO) as client:
            found = find_model_version(client, Reference("vision", "gauge", version), states)
        assert found == Found("m", f"v{number}", number)

    @pytest.mark.parametrize(
        ("answer", "version", "states", "sentence"),
        [
            (TWO, "9", (), "The model vision/gauge has no version @9: there is @2, @1, @champion."),
            (of_model(), None, (), "The model vision/gauge has no version: it has none yet."),
            (
                of_model((1, "READY")),
                None,
                ("PUBLISHED", "BLOCKED"),
                "The model vision/gauge has no version that is PUBLISHED or BLOCKED: there is @1.",
            ),
            (
                {"model": None},
                None,
                (),
                "There is no model vision/gauge that you may see; `guildhall search` finds models.",
            ),
        ],
    )
    def test_there_is_none(
        self, answer: dict[str, Any], version: str | None, states: tuple[str, ...], sentence: str
    ) -> None:
        with client_told(answer, answer) as client, pytest.raises(NoSuchThing) as refused:
            find_model_version(client, Reference("vision", "gauge", version), states)
        assert str(refused.value) == sentence


class TestFindDatasetVersion:
    def test_the_latest_that_is_ready(self) -> None:
        answer = of_dataset((2, "UPLOADING"), (1, "READY"))
        with client_told(answer, answer) as client:
            assert find_dataset_version(client, GAUGE) == Found("d", "v1", 1)

    @pytest.mark.parametrize(
        ("answer", "sentence"),
        [
            (of_dataset((2, "UPLOADING")), "The data set vision/gauge has no version that is READY: there is @2."),
            ({"dataset": None}, "There is no data set vision/gauge that you may see."),
        ],
    )
    def test_there_is_none(self, answer: dict[str, Any], sentence: str) -> None:
        with client_told(answer, answer) as client, pytest.raises(NoSuchThing) as refused:
            find_dataset_version(client, GAUGE)
        assert str(refused.value) == sentence


class TestWritten:
    HOLDER: dict[str, Any] = {"name": "gauge", "team": {"name": "vision"}}  # noqa: RUF012 -- read only

    @pytest.mark.parametrize(
        ("resource", "text"),
        [
            (None, "(not visible)"),
            ({"__typename": "ModelVersion", "number": 3, "model": HOLDER}, "vision/gauge@3"),
            ({"__typename": "DatasetVersion", "number": 1, "dataset": HOLDER}, "vision/gauge@1"),
            ({"__typename": "Dataset", "id": "Dataset_1", **HOLDER}, "vision/gauge"),
            ({"__typename": "Job", "id": "Job_1"}, "Job_1"),
            ({"__typename": "Purpose"}, "Purpose"),
        ],
    )
    def test_as_people_name_it(self, resource: dict[str, Any] | None, text: str) -> None:
        assert written(resource) == text
