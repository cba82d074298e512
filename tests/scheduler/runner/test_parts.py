"""Outputs and reports by themselves: what the whole runner meets only on a bad day."""

import http.client
import json
import os
from pathlib import Path
from typing import Any

import pytest

from scheduler.runner import outputs, reporting
from scheduler.runner.api import Api, Refused
from scheduler.runner.failures import OutputInvalid
from scheduler.runner.outputs import list_files, register
from scheduler.runner.reporting import MetricFiles, Reporter


class Deaf(Api):
    """An API that takes what it is told to, and nothing else."""

    def __init__(self, *answers: Any) -> None:
        super().__init__("http://127.0.0.1:9", "ghj_test", hold_ends_at=0)
        self.answers = list(answers)
        self.sent: list[Any] = []

    def call(self, method: str, path: str, body: object = None) -> Any:
        self.sent.append((method, path, body))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def call_once(self, method: str, path: str, body: object) -> Any:
        return self.call(method, path, body)


def quiet(_fraction: float, _message: str) -> None:
    pass


class TestApi:
    def test_waits_less_for_reports_and_least_once_the_platform_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        waited: list[float] = []

        def connect(_host: str, *, timeout: float) -> Any:
            waited.append(timeout)
            raise Refused(400, "NOT_NOW", "no")

        monkeypatch.setattr(http.client, "HTTPConnection", connect)
        api = Api("http://127.0.0.1:9", "ghj_test", hold_ends_at=0)
        for _ in range(2):
            for call in (api.call, api.call_once):
                with pytest.raises(Refused):
                    call("POST", "runner/v1/reports", {})
            api.hasten()
        assert waited == [30, 10, 4, 4]


class TestOutputs:
    def test_too_many_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(outputs, "FILES_MAX", 1)
        for name in ("a", "b"):
            (tmp_path / name).write_bytes(b"")
        with pytest.raises(OutputInvalid, match="more than 1 files"):
            list_files(tmp_path)

    def test_what_is_no_plain_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OutputInvalid, match="pipe: not a plain file"):
            list_files(tmp_path)

    def test_what_stays_missing_after_a_second_try(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"")
        missing = {"missing": [{"path": "a", "code": "DIGEST_MISMATCH", "message": "other bytes came"}]}
        api = Deaf({"uploads": []}, missing, {"uploads": []}, missing)
        with pytest.raises(OutputInvalid, match="a: other bytes came") as failed:
            register(api, tmp_path, {}, quiet)
        assert failed.value.code == "DIGEST_MISMATCH"
        assert len(api.sent) == 4

    def test_a_refusal_carries_its_code(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"")
        with pytest.raises(OutputInvalid, match="no more room") as failed:
            register(Deaf(Refused(403, "TOO_MANY", "no more room")), tmp_path, {}, quiet)
        assert failed.value.code == "TOO_MANY"


class TestReporter:
    def test_lines_that_cannot_wait_give_way_and_are_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reporting, "LINES_WAITING_MAX", 2)
        api = Deaf({})
        reporter = Reporter(api, lambda _reason: None)
        for number in range(5):
            reporter.log("stdout", f"line {number}")
        reporter.flush()
        texts = [line["text"] for line in api.sent[0][2]["logs"]]
        assert texts == [
            "[3 lines before this one were dropped: the API could not take them] line 3",
            "line 4",
        ]

    def test_metrics_that_cannot_wait_are_dropped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reporting, "METRICS_WAITING_MAX", 1)
        api = Deaf({})
        reporter = Reporter(api, lambda _reason: None)
        for number in range(3):
            reporter.metric({"name": "m", "value": number})
        reporter.flush()
        assert [metric["value"] for metric in api.sent[0][2]["metrics"]] == [0]

    def test_a_refused_report_stops_the_command(self) -> None:
        reasons: list[str] = []
        reporter = Reporter(Deaf(Refused(401, "UNAUTHENTICATED", "the token has ended")), reasons.append)
        reporter.start()
        reporter._thread.join()
        assert reasons == ["the token has ended"]


class TestMetricFiles:
    def test_reads_what_is_right_and_passes_over_the_rest(self, tmp_path: Path) -> None:
        files = MetricFiles(tmp_path)
        assert (files.new_metrics(), files.parameters(), files.progress(), files.card()) == ([], None, None, {})
        lines = [
            {"name": "a", "value": 1, "step": "x"},
            {"value": 1},
            {"name": "b", "value": "2", "split": "test", "step": 3},
        ]
        files.metrics_path.write_text("\n".join(json.dumps(line) for line in lines) + '\n{"name": "cut')
        assert files.new_metrics() == [{"name": "b", "value": 2.0, "split": "test", "step": 3}]
        assert files.new_metrics() == []
        files.parameters_path.write_text("[1]")
        assert files.parameters() is None

    def test_progress_is_told_once_and_within_bounds(self, tmp_path: Path) -> None:
        files = MetricFiles(tmp_path)
        files.progress_path.write_text(json.dumps({"fraction": 7, "message": "more"}))
        assert files.progress() == {"fraction": 1.0, "message": "more"}
        assert files.progress() is None
        files.progress_path.write_text(json.dumps({"fraction": "half"}))
        assert files.progress() is None
