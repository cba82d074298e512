"""One attempt from its assignment to its result."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from . import environment as environments
from . import outputs, staging
from .api import Api, Refused
from .command import Command
from .failures import RunnerFailure
from .reporting import MetricFiles, Reporter

EXIT_FAILED_OUTSIDE_SCRIPT = 70
EXIT_NOT_CONFIGURED = 78
EXIT_TERMINATED = 128 + signal.SIGTERM
GRACE_SECONDS_DEFAULT = 10.0
FIRST_CONTACT_SECONDS_MAX = 600.0
SEQUENCE_MAX = 2**31 - 1
SECRETS = ("GUILDHALL_TOKEN", "GUILDHALL_TOKEN_FILE")


@dataclass(frozen=True)
class Configuration:
    """What the executor hands to the runner through its environment.

    Of several nodes each has a runner. All run the command and report; the first speaks for the job: it tells the
    environment, the result and the output.
    """

    api_url: str
    token: str
    workspace: Path
    grace_seconds: float
    node_index: int = 0
    nodes: int = 1

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Configuration:
        """Raise ``KeyError`` or ``OSError`` where the executor left something out."""
        return cls(
            api_url=environ["GUILDHALL_API_URL"],
            token=Path(environ["GUILDHALL_TOKEN_FILE"]).read_text(encoding="ascii").strip(),
            workspace=Path(environ["GUILDHALL_WORKSPACE"]).resolve(),
            grace_seconds=float(environ.get("GUILDHALL_GRACE_SECONDS", GRACE_SECONDS_DEFAULT)),
            node_index=int(environ.get("GUILDHALL_NODE_INDEX", "0")),
            nodes=int(environ.get("GUILDHALL_NODES", "1")),
        )


def main() -> int:
    """Run the attempt; the exit code is the script's own, ``128 + signal``, or 70 where no script was to blame."""
    # As a container's first process it would not hear a SIGTERM that nobody handles. There is nothing to tidy up yet,
    # and an exception may be raised where nobody passes it on, as in a destructor.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(EXIT_TERMINATED))
    try:
        configuration = Configuration.from_environment(os.environ)
    except (KeyError, OSError, ValueError) as error:
        print(f"guildhall runner: not configured: {error}", file=sys.stderr, flush=True)
        return EXIT_NOT_CONFIGURED
    api = Api(configuration.api_url, configuration.token, hold_ends_at=time.time() + FIRST_CONTACT_SECONDS_MAX)
    try:
        assignment = api.call("GET", "runner/v1/assignment")
        api.hold_ends_at = datetime.fromisoformat(assignment["holdEndsAt"].replace("Z", "+00:00")).timestamp()
        return _Run(configuration, api, assignment).run()
    except RunnerFailure as failure:
        print(f"guildhall runner: {failure.code}: {failure.message}", file=sys.stderr, flush=True)
    except Refused as refused:
        print(f"guildhall runner: {refused.code}: {refused.message}", file=sys.stderr, flush=True)
    return EXIT_FAILED_OUTSIDE_SCRIPT


class _Run:
    def __init__(self, configuration: Configuration, api: Api, assignment: dict[str, Any]) -> None:
        self._configuration = configuration
        self._api = api
        self._assignment = assignment
        self._workspace = configuration.workspace
        self._files = MetricFiles(self._workspace / ".guildhall")
        self._environment = self._script_environment()
        self._command = Command(assignment["command"], self._environment, self._workspace)
        self._speaks = configuration.node_index == 0
        self._reporter = Reporter(
            api, self._command.stop, sequences=range(configuration.node_index + 1, SEQUENCE_MAX, configuration.nodes)
        )

    def run(self) -> int:
        signal.signal(signal.SIGTERM, self._asked_to_end)
        self._reporter.start()
        try:
            result = self._stages()
        except RunnerFailure as failure:
            self._reporter.log("runner", failure.message)
            result = _result("FAILED", code=failure.code, message=failure.message)
        except OSError as error:
            # A full disk or a folder that the script took away is the job's failure, told like any other.
            self._reporter.log("runner", f"the workspace cannot be used: {error.strerror}")
            result = _result(
                "FAILED", code="WORKSPACE_FAILED", message=f"the workspace cannot be used: {error.strerror}"
            )
        self._reporter.finish()
        if self._speaks:
            self._api.call("POST", "runner/v1/result", result)
        return _exit_code(result)

    def _asked_to_end(self, *_: object) -> None:
        self._api.hasten()
        self._command.stop("the platform asked the job to end")

    def _stages(self) -> dict[str, Any]:
        assignment = self._assignment
        self._workspace.joinpath(".guildhall").mkdir(parents=True, exist_ok=True)
        if assignment["package"] is not None:
            self._reporter.progress(0.0, "staging the package")
            staging.stage_package(self._api, assignment["package"], self._workspace)
        staging.stage_inputs(self._api, assignment["inputs"], self._workspace, self._reporter.progress)
        if self._speaks:
            described = environments.describe(assignment["command"], self._environment, self._workspace)
            self._api.call("POST", "runner/v1/started", {"environment": described})
        output = self._output_folder()
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
        if self._command.stop_reason is not None:
            return _result("FAILED", code="STOPPED", message=self._command.stop_reason)
        self._reporter.follow(self._files)
        exit_code = self._command.run(
            self._reporter.log, ends_at=self._api.hold_ends_at, grace_seconds=self._configuration.grace_seconds
        )
        return self._conclude(exit_code, output)

    def _conclude(self, exit_code: int, output: Path | None) -> dict[str, Any]:
        number = -exit_code if exit_code < 0 else None
        if self._command.stop_reason is not None:
            reason = self._command.stop_reason
            if exit_code == 0 and self._files.takes_checkpoints():
                self._keep_checkpoint(output)
            return _result("FAILED", exit_code, number, code="STOPPED", message=reason)
        if number is not None:
            message = f"the command was killed by signal {number} ({_signal_name(number)})"
            return _result("FAILED", None, number, code="KILLED_BY_SIGNAL", message=message)
        if exit_code != 0:
            return _result(
                "FAILED", exit_code, code="EXIT_CODE", message=f"the command ended with exit code {exit_code}"
            )
        self._register(output)
        return _result("SUCCEEDED", 0)

    def _keep_checkpoint(self, output: Path | None) -> None:
        """The command was told to stop, wrote a last checkpoint and ended in time; the grace is for sending it too."""
        try:
            self._register(output)
        except RunnerFailure as failure:
            self._reporter.log("runner", f"the last checkpoint is not kept: {failure.message}")

    def _register(self, output: Path | None) -> None:
        if output is None or not self._speaks:
            return
        described = {
            "metrics": [],
            "parameters": self._files.parameters() or {},
            "card": self._files.card(),
        }
        self._reporter.progress(0.0, "registering the output")
        self._reporter.flush()
        outputs.register(self._api, output, described, self._reporter.progress)

    def _output_folder(self) -> Path | None:
        output = self._assignment["output"]
        if output is None:
            return None
        return staging.mount_point(self._workspace, output["path"])

    def _script_environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in SECRETS}
        output = self._output_folder()
        return {
            **inherited,
            **self._files.environment(),
            "GUILDHALL_INPUTS": str(self._workspace),
            **({"GUILDHALL_OUTPUT": str(output)} if output is not None else {}),
            **self._assignment["environment"],
        }


def _result(
    outcome: str, exit_code: int | None = None, number: int | None = None, *, code: str = "", message: str = ""
) -> dict[str, Any]:
    return {"outcome": outcome, "exitCode": exit_code, "signal": number, "code": code, "message": message}


def _exit_code(result: dict[str, Any]) -> int:
    if result["signal"] is not None:
        return 128 + int(result["signal"])
    if result["exitCode"] is not None and (result["outcome"] == "SUCCEEDED" or result["exitCode"] > 0):
        return int(result["exitCode"])
    return EXIT_FAILED_OUTSIDE_SCRIPT


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
