"""Logs, metrics, parameters and progress on their way to the API, in numbered batches that may be sent twice."""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable

from .api import Api, Refused
from .failures import HoldEnded

INTERVAL_SECONDS = 0.5
LINES_IN_BATCH_MAX = 500
LINES_WAITING_MAX = 20_000
LINE_CHARACTERS_MAX = 4_000
METRICS_IN_BATCH_MAX = 500
METRICS_WAITING_MAX = 20_000
PARAMETERS_BYTES_MAX = 65_536
_METRIC_LINE = re.compile(r"^metric\s+(?P<name>[\w./-]{1,100})=(?P<value>[-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*$")


class Reporter:
    """Collects what the script says and sends it from a thread of its own, so that a slow API never stops a script.

    What waits is bounded: the oldest lines give way, and the log says how many did. ``sequences`` are its batches'
    numbers, apart from those of the same attempt's other nodes.
    """

    def __init__(self, api: Api, on_stop: Callable[[str], None], sequences: range = range(1, 2**31 - 1)) -> None:
        self._api = api
        self._on_stop = on_stop
        self._lock = threading.Lock()
        # Held while a batch is on its way, so that numbers go up in the order in which batches are sent.
        self._sending = threading.Lock()
        self._lines: deque[dict[str, Any]] = deque()
        self._metrics: deque[dict[str, Any]] = deque()
        self._progress: dict[str, Any] | None = None
        self._parameters: dict[str, Any] = {}
        self._parameters_sent: dict[str, Any] = {}
        self._line_number = 0
        self._lines_dropped = 0
        self._sequences = iter(sequences)
        self._unsent: dict[str, Any] | None = None
        self._ended = threading.Event()
        self._files: MetricFiles | None = None
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def follow(self, files: MetricFiles) -> None:
        """Read the script's metric, parameter and progress files from now on."""
        self._files = files

    def log(self, stream: str, text: str) -> None:
        """Queue one line; ``metric name=value`` on stdout counts as a metric as well."""
        with self._lock:
            self._line_number += 1
            line = {"seq": self._line_number, "at": _now(), "stream": stream, "text": text[:LINE_CHARACTERS_MAX]}
            self._lines.append(line)
            if len(self._lines) > LINES_WAITING_MAX:
                self._lines.popleft()
                self._lines_dropped += 1
        found = _METRIC_LINE.match(text) if stream == "stdout" else None
        if found:
            self.metric({"name": found["name"], "value": float(found["value"])})

    def metric(self, metric: dict[str, Any]) -> None:
        """Queue one ``{"name", "value", "split", "step"}``; beyond what may wait it is dropped."""
        with self._lock:
            if len(self._metrics) < METRICS_WAITING_MAX:
                complete = {"split": None, "step": None, **metric, "at": _now()}
                self._metrics.append(complete)

    def progress(self, fraction: float, message: str) -> None:
        """Keep the latest progress, ``fraction`` from 0 to 1."""
        with self._lock:
            self._progress = {"fraction": fraction, "message": message}

    def parameters(self) -> dict[str, Any]:
        """The parameters that the script stated last."""
        with self._lock:
            return dict(self._parameters)

    def flush(self) -> None:
        """Send all that waits, retrying until the hold ends."""
        with self._sending:
            self._collect()
            while (batch := self._next_batch()) is not None:
                self._unsent = batch
                self._api.call("POST", "runner/v1/reports", batch)
                self._unsent = None
                self._collect()

    def finish(self) -> None:
        """Flush and stop the thread."""
        self._ended.set()
        self._thread.join()
        self.flush()

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL_SECONDS):
            try:
                with self._sending:
                    self._collect()
                    self._send_waiting()
            except HoldEnded:
                # The API is away: keep the batch and its number, try again at the next interval. The main thread
                # stops the command when the hold ends.
                continue
            except Refused as error:
                self._on_stop(error.message)
                return

    def _send_waiting(self) -> None:
        # An empty batch goes out as well: it is how the runner hears that it should stop.
        batch: dict[str, Any] | None = self._next_batch() or self._number({})
        while batch is not None:
            self._unsent = batch
            answer = self._api.call_once("POST", "runner/v1/reports", batch)
            self._unsent = None
            if answer.get("stop"):
                self._on_stop(answer.get("reason") or "the job was stopped")
            batch = self._next_batch()

    def _next_batch(self) -> dict[str, Any] | None:
        if self._unsent is not None:
            return self._unsent
        with self._lock:
            logs = [self._lines.popleft() for _ in range(min(len(self._lines), LINES_IN_BATCH_MAX))]
            metrics = [self._metrics.popleft() for _ in range(min(len(self._metrics), METRICS_IN_BATCH_MAX))]
            progress, self._progress = self._progress, None
            parameters = self._parameters if self._parameters != self._parameters_sent else {}
            self._parameters_sent = dict(self._parameters)
            if self._lines_dropped and logs:
                text = f"[{self._lines_dropped} lines before this one were dropped: the API could not take them]"
                logs[0] = {**logs[0], "text": f"{text} {logs[0]['text']}"}
                self._lines_dropped = 0
        if not (logs or metrics or progress or parameters):
            return None
        return self._number({"logs": logs, "metrics": metrics, "progress": progress, "parameters": parameters})

    def _number(self, batch: dict[str, Any]) -> dict[str, Any]:
        empty: dict[str, Any] = {"logs": [], "metrics": [], "progress": None, "parameters": {}}
        return {"sequence": next(self._sequences), **empty, **batch}

    def _collect(self) -> None:
        if self._files is None:
            return
        for metric in self._files.new_metrics():
            self.metric(metric)
        parameters = self._files.parameters()
        progress = self._files.progress()
        with self._lock:
            if parameters is not None:
                self._parameters = parameters
            if progress is not None:
                self._progress = progress


class MetricFiles:
    """The files a script may write instead of importing anything of ours; what is malformed is passed over."""

    def __init__(self, folder: Path) -> None:
        self.metrics_path = folder / "metrics.jsonl"
        self.parameters_path = folder / "parameters.json"
        self.progress_path = folder / "progress.json"
        self.card_path = folder / "card.md"
        self.checkpoint_path = folder / "checkpoint"
        self._metrics_offset = 0
        self._progress_before: object = None

    def environment(self) -> dict[str, str]:
        """How the script is told where the files are."""
        return {
            "GUILDHALL_METRICS_FILE": str(self.metrics_path),
            "GUILDHALL_PARAMETERS_FILE": str(self.parameters_path),
            "GUILDHALL_PROGRESS_FILE": str(self.progress_path),
            "GUILDHALL_CARD_FILE": str(self.card_path),
            "GUILDHALL_CHECKPOINT_FILE": str(self.checkpoint_path),
        }

    def takes_checkpoints(self) -> bool:
        """Whether the script said, by making the file, that what it leaves when it is told to stop is worth keeping."""
        return self.checkpoint_path.exists()

    def new_metrics(self) -> list[dict[str, Any]]:
        """Metrics of the complete lines written since the last call."""
        try:
            with self.metrics_path.open("rb") as file:
                file.seek(self._metrics_offset)
                data = file.read(1 << 20)
        except OSError:
            return []
        complete = data[: data.rfind(b"\n") + 1]
        self._metrics_offset += len(complete)
        found = (_metric(line) for line in complete.splitlines())
        return [metric for metric in found if metric is not None]

    def parameters(self) -> dict[str, Any] | None:
        """The parameters as the file states them now, or nothing."""
        found = _json_file(self.parameters_path)
        return found if isinstance(found, dict) else None

    def progress(self) -> dict[str, Any] | None:
        """``{"fraction": 0..1, "message": …}`` where it changed since the last call."""
        found = _json_file(self.progress_path)
        if not isinstance(found, dict) or found == self._progress_before:
            return None
        self._progress_before = found
        fraction = found.get("fraction")
        if not isinstance(fraction, (int, float)):
            return None
        return {"fraction": min(max(float(fraction), 0.0), 1.0), "message": str(found.get("message", ""))[:200]}

    def card(self) -> dict[str, str]:
        """Sections of the card file: a line ``# Name`` begins each."""
        try:
            text = self.card_path.read_text(encoding="utf-8", errors="replace")[:PARAMETERS_BYTES_MAX]
        except OSError:
            return {}
        sections: dict[str, list[str]] = {}
        name = ""
        for line in text.splitlines():
            if line.startswith("# "):
                name = line[2:].strip()
                sections[name] = []
            elif name:
                sections[name].append(line)
        return {name: "\n".join(lines).strip() for name, lines in sections.items()}


def _metric(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
        metric = {"name": str(found["name"])[:100], "value": float(found["value"])}
        if found.get("split") is not None:
            metric["split"] = str(found["split"])[:100]
        if found.get("step") is not None:
            metric["step"] = int(found["step"])
    except (ValueError, KeyError, TypeError):
        return None
    return metric


def _json_file(path: Path) -> object:
    try:
        with path.open("rb") as file:
            return json.loads(file.read(PARAMETERS_BYTES_MAX))
    except (OSError, ValueError):
        return None


def _now() -> str:
    return datetime.now(timezone.utc).isoformat()
