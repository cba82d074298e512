"""The story of the demo, told through the public API of a real server: what each chapter must have left behind."""

import re
import sys
from contextlib import ExitStack
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from demo import narrator
from demo.__main__ import CHAPTERS, main, tell
from demo.server import DemoFailed, bootstrap_token, running_server
from demo.world import World
from guildhall_client import steps

TOLD = re.compile(r"credits, [\d.]+ s; recorded \d+\+? audit events?\)$")


def seconds_of(job: dict[str, Any]) -> Decimal:
    total = Decimal(0)
    for attempt in job["attempts"]["nodes"]:
        for interval in attempt["runIntervals"]:
            length = moment(interval["endedAt"]) - moment(interval["startedAt"])
            total += Decimal(length.days * 86_400 + length.seconds) + Decimal(length.microseconds) / 1_000_000
    return total


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def charge_at(job: dict[str, Any], credits_per_hour: str, accelerators: int = 1) -> Decimal:
    exact = seconds_of(job) * Decimal(credits_per_hour) * accelerators / 3600
    return exact.quantize(Decimal("0.000001"), ROUND_HALF_EVEN)


class TestQuote:
    def test_names_segments_hold_and_pools(self, told: World) -> None:
        quote = told.facts["quote"]
        assert {pool["name"] for pool in quote["eligiblePools"]} == {"forge-small", "forge-large"}
        assert Decimal(0) < Decimal(quote["estimatedPrice"]) <= Decimal(quote["hold"])
        assert sum(Decimal(segment["credits"]) for segment in quote["segments"]) == Decimal(quote["estimatedPrice"])
        assert Decimal(quote["predictedEnergyKwh"]) > 0

    def test_holds_the_dearest_start_and_pool_that_it_allows(self, told: World) -> None:
        assert Decimal(told.facts["quote"]["hold"]) == Decimal(24) * 600 / 3600


class TestTraining:
    def test_really_trained(self, told: World) -> None:
        assert told.facts["accuracy"] > 0.9
        assert told.facts["worse_accuracy"] < told.facts["accuracy"]

    def test_charge_follows_the_interval_and_the_quoted_rates(self, told: World) -> None:
        job, quote = told.facts["train_job"], told.facts["quote"]
        rates = {segment["creditsPerHour"] for segment in quote["segments"]}
        assert Decimal(job["charge"]["captured"]) in {charge_at(job, rate) for rate in rates}
        assert Decimal(job["charge"]["captured"]) + Decimal(job["charge"]["released"]) == Decimal(quote["hold"])
        assert Decimal(job["charge"]["held"]) == 0

    def test_the_version_has_what_the_run_could_fill_in(self, told: World) -> None:
        version = told.facts["version"]
        assert {artifact["path"] for artifact in version["artifacts"]["nodes"]} == {"model.joblib", "report.json"}
        assert all(len(artifact["sha256"]) == 64 for artifact in version["artifacts"]["nodes"])
        assert {(metric["name"], metric["split"]) for metric in version["metrics"]} == {("accuracy", "heldout")}
        assert version["producedBy"]["id"] == told.ids["job"]
        assert 0 < version["card"]["completeness"] < 1

    def test_lineage_was_observed(self, told: World) -> None:
        links = told.facts["version"]["lineage"]["links"]
        found = {(link["kind"], link["to"]["__typename"], link["basis"]) for link in links}
        assert found == {
            ("TRAINED_ON", "DatasetVersion", "OBSERVED"),
            ("BUILT_FROM", "Package", "OBSERVED"),
            ("RAN_IN", "Environment", "OBSERVED"),
            ("PRODUCED_BY", "Job", "OBSERVED"),
        }
        sources = {link["to"]["id"] for link in links}
        assert {told.ids["dataset_version"], told.ids["package"], told.ids["job"]} < sources

    def test_events_tell_the_whole_way(self, told: World) -> None:
        job = told.facts["train_job"]
        assert job["state"] == "SUCCEEDED"
        assert len(job["events"]["nodes"]) >= 5
        assert all(event["message"] for event in job["events"]["nodes"])
        assert "accuracy" in job["logTail"]


class TestPublishing:
    def test_published_with_alias_and_lessons(self, told: World) -> None:
        page = told.ask("quentin", "ModelPage", team="maintenance", name="gauge-reader")["model"]
        version = next(node for node in page["versions"]["nodes"] if node["id"] == told.ids["version"])
        assert version["status"] == "PUBLISHED"
        assert [alias["name"] for alias in page["aliases"]] == ["champion"]
        assert {lesson["outcome"] for lesson in page["lessons"]["nodes"]} == {"MIXED", "FAILED"}
        assert page["dataNeeds"]["rowsMin"] in {500, "500"}
        assert page["adoptions"]["nodes"][0]["team"]["name"] == "quality"

    def test_the_worse_run_is_abandoned(self, told: World) -> None:
        assert told.facts["abandoned_status"] == "ABANDONED"


class TestReuse:
    def test_the_refusal_says_how_to_ask(self, told: World) -> None:
        assert "requestAccess" in told.facts["refusal"]

    def test_the_grant_is_the_stewards_narrower_one(self, told: World) -> None:
        left = moment(told.facts["grant"]["validTo"]) - told.now()
        assert 6 < left.total_seconds() / 86_400 <= 7
        assert told.facts["grant"]["purpose"] == "defect-detection"

    def test_fine_tuned_from_is_observed(self, told: World) -> None:
        links = told.facts["quality_version"]["lineage"]["links"]
        found = {(link["kind"], link["basis"], link["to"]["id"]) for link in links if link["from"]["id"] != ""}
        assert ("FINE_TUNED_FROM", "OBSERVED", told.ids["version"]) in found
        assert ("TRAINED_ON", "OBSERVED", told.ids["dataset_version"]) in found

    def test_published_with_its_lesson(self, told: World) -> None:
        assert told.facts["quality_status"] == "PUBLISHED"
        page = told.ask("mira", "ModelPage", team="quality", name="press-gauge-reader")["model"]
        assert [lesson["outcome"] for lesson in page["lessons"]["nodes"]] == ["WORKED"]

    def test_paid_by_quality(self, told: World) -> None:
        captured = {row[0]: Decimal(row[4]) for row in told.facts["allocations"] if row[1] == "zero-defects"}
        assert captured["quality"] == Decimal(told.facts["quality_job"]["charge"]["captured"])


class TestLimits:
    def test_too_dear_names_the_missing_sum(self, told: World) -> None:
        problem = told.facts["too_dear"]
        assert problem.code == "INSUFFICIENT_CREDITS"
        assert "43" in problem.message

    def test_overdue_is_stopped_and_pays_what_it_used(self, told: World) -> None:
        job, hold = told.facts["overdue"]["job"], Decimal(told.facts["overdue"]["hold"])
        assert job["state"] == "TIMED_OUT"
        assert Decimal(0) < Decimal(job["charge"]["captured"]) <= hold

    def test_cancelled_pays_its_interval_only(self, told: World) -> None:
        job = told.facts["cancelled"]["job"]
        assert job["state"] == "CANCELLED"
        possible = {charge_at(job, rate) for rate in ("6", "3", "24", "12")}
        assert Decimal(job["charge"]["captured"]) in possible

    def test_one_waits_and_says_why_and_until_when(self, told: World) -> None:
        waiting = told.facts["waiting"]
        assert waiting["state"] == "QUEUED"
        # Said to the minute, rounded up.
        predicted = moment(waiting["predictedStart"])
        minutes = {f"{at:%H:%M} UTC" for at in (predicted, predicted + timedelta(minutes=1))}
        assert any(minute in waiting["stateReason"]["message"] for minute in minutes)
        first, second = (job["attempts"]["nodes"][0]["runIntervals"][0] for job in told.facts["in_line"])
        assert moment(first["endedAt"]) <= moment(second["startedAt"])


class TestTelling:
    def test_each_step_says_what_it_cost_and_what_was_recorded(self, told: World, said: StringIO) -> None:
        steps = [line for line in said.getvalue().splitlines() if re.match(r"[ \d]\d \S", line)]
        assert len(steps) > len(CHAPTERS)
        assert [int(line[:2]) for line in steps] == list(range(1, len(steps) + 1))
        # Before the second nobody has a token with which to read the record.
        assert [line for line in steps[1:] if TOLD.search(line) is None] == []

    def test_ends_with_the_answers_and_a_way_in(self, told: World, said: StringIO) -> None:
        text = said.getvalue()
        assert "Credits, in balance to the micro-credit" in text
        assert "yes, to the micro-credit" in text
        assert told.tokens["mira"] in text
        assert "/graphql" in text

    def test_a_second_server_on_the_folder_is_refused(self, told: World, data_dir: Path, tmp_path: Path) -> None:
        refused = pytest.raises(DemoFailed, match="is in use by another Guildhall process")
        with refused, running_server(data_dir, tmp_path / "log"):
            pass

    def test_a_second_administrator_is_refused(self, told: World, data_dir: Path, tmp_path: Path) -> None:
        (data_dir / "demo-administrator-token").rename(tmp_path / "aside")
        with pytest.raises(DemoFailed, match="the first administrator could not be made"):
            bootstrap_token(data_dir)
        (tmp_path / "aside").rename(data_dir / "demo-administrator-token")


class TestMain:
    def test_a_server_that_is_not_there(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["demo", "--url", "http://127.0.0.1:9", "--token", "ghu_x"])
        monkeypatch.setattr(steps, "BACKOFF_SECONDS_FIRST", 0.0)
        assert main() == 1
        assert "The demo ended early: the server does not answer" in " ".join(capsys.readouterr().err.split())

    def test_a_folder_that_is_none(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("GUILDHALL_DATA_DIR", str(tmp_path / "file"))
        monkeypatch.setattr(sys, "argv", ["demo"])
        assert main() == 1
        assert "cannot be used: file exists. Name another folder." in " ".join(capsys.readouterr().err.split())

    def test_an_address_without_a_token(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", ["demo", "--url", "http://127.0.0.1:9"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2


class TestNarrator:
    def test_a_bar_for_what_takes_long_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(narrator, "BAR_AFTER_SECONDS", 0.0)
        printed = StringIO()
        teller = narrator.Narrator(Console(file=printed, force_terminal=True, width=120))
        with teller.step("Ada", "waits") as step:
            step.show(0.5, "half way")
        assert "waits: half way" in printed.getvalue()


class TestRecord:
    def test_every_read_is_there(self, told: World) -> None:
        reads = told.facts["reads"]
        refused = [event for event in reads if event["outcome"] == "REFUSED"]
        assert [event["actor"]["name"] for event in refused] == ["Quentin Quast"]
        jobs = {event["actor"]["id"] for event in reads if event["actor"]["__typename"] == "Job"}
        assert {told.ids["job"], told.ids["quality_job"]} < jobs
        by_quality = [event for event in reads if event["actor"].get("id") == told.ids["quality_job"]]
        assert all(event["accessGrant"]["id"] == told.ids["grant"] for event in by_quality)
        assert all(event["purpose"] == "defect-detection" for event in by_quality)
        assert all(event["onBehalfOf"]["name"] == "Quentin Quast" for event in by_quality)
        assert sum(int(event["bytes"]) for event in by_quality) > 100_000

    def test_the_books_balance(self, told: World) -> None:
        assert told.facts["balanced"]


class TestAgain:
    """Last in its file: it tells the whole story once more on the data of the first time."""

    def test_makes_new_versions_of_what_is_there_already(self, told: World) -> None:
        with ExitStack() as stack:
            again = tell(stack, Console(file=StringIO(), width=120), told.url, told.tokens["pat"])
        for kept in ("dataset", "dataset_version", "model", "quality_model"):
            assert again.ids[kept] == told.ids[kept]
        for new in ("job", "version", "grant", "quality_job"):
            assert again.ids[new] != told.ids[new]
        assert "was withdrawn" in again.facts["refusal"]
        assert again.facts["accuracy"] > 0.9
        first, both = ({event["id"] for event in world.facts["reads"]} for world in (told, again))
        assert first < both
        assert [row[2] for row in again.facts["allocations"]] == [row[2] for row in told.facts["allocations"]]
        assert again.facts["balanced"]
