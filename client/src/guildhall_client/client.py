"""The synchronous client."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from guildhall_client import documents, graphql, operations
from guildhall_client import files as transfers
from guildhall_client.bundles import Wanted
from guildhall_client.errors import Refused
from guildhall_client.files import Progress, no_progress
from guildhall_client.following import SILENCE_SECONDS_MAX, Following
from guildhall_client.packing import Ignore, nothing
from guildhall_client.steps import Answer, Compute, FilePart, Save, Send, Step

TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.5

T = TypeVar("T")


class Client:
    """One server and one caller; safe to use from one thread at a time. Use it as a context manager, or `close` it.

    `token` is asked before each request where it is a function: one that ends soon can be renewed meanwhile.
    """

    def __init__(
        self, url: str, token: str | Callable[[], str], *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/") + "/"
        self._token = token if callable(token) else lambda: token
        self._http = httpx.Client(base_url=self.url, timeout=TIMEOUT_SECONDS, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def execute(self, document: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run a document and return its `data`. Raises `Refused`, `Unreachable`."""
        return self._run(graphql.execute(document, variables))

    def mutate(self, document: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Run a one-field mutation with `$input`, return its payload. Raises `MutationRefused`, `Refused`."""
        return self._run(operations.mutate_once(document, inputs))

    def upload_dataset_version(
        self, dataset_id: str, folder: Path, details: dict[str, Any], progress: Progress = no_progress
    ) -> dict[str, Any]:
        """Upload a folder as the next version of a data set; `details` are `columns` and `rows`."""
        return self._run(operations.upload_dataset_version(dataset_id, folder, details, progress))

    def upload_model_version(
        self, model_id: str, folder: Path, details: dict[str, Any], progress: Progress = no_progress
    ) -> dict[str, Any]:
        """Upload a folder as the next version of a model; `details` are `metrics`, `parameters` and `sources`."""
        return self._run(operations.upload_model_version(model_id, folder, details, progress))

    def upload_package(
        self, team: str, folder: Path, progress: Progress = no_progress, is_ignored: Ignore = nothing
    ) -> dict[str, Any]:
        """Pack and upload the folder of a training script, without the paths that are ignored."""
        return self._run(operations.upload_package(team, folder, progress, is_ignored))

    def download(
        self, url: str, target: Path, *, size_bytes: int, sha256: str, progress: Progress = no_progress
    ) -> None:
        """Download an artifact by its `url`, `sizeBytes` and `sha256`. Raises `DownloadFailed`."""
        self._run(transfers.download(url, target, size_bytes=size_bytes, sha256=sha256, progress=progress))

    def download_all(self, files: Sequence[Wanted], progress: Progress = no_progress) -> None:
        """Download files of one version, small ones many to a request. Raises `DownloadFailed`."""
        self._run(transfers.download_all(files, progress))

    def preview(self, url: str, rows: int) -> dict[str, Any]:
        """The first 1 to 100 rows of a .csv or .parquet artifact by its `url`. Raises `DownloadFailed`."""
        return self._run(transfers.preview(url, rows))

    def wait_for_job(
        self,
        job_id: str,
        on_change: Callable[[dict[str, Any]], None] = lambda _job: None,
        poll_seconds: float = POLL_SECONDS,
    ) -> dict[str, Any]:
        """Follow a job to its end, which settles its hold as well; returns it."""
        return self._run(operations.wait_for_job(job_id, on_change, poll_seconds))

    def subscribe(self, document: str, variables: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Follow a document's one field; with `$after` and `cursor` in it, it goes on wherever it is cut off.

        Raises `Refused`, also in the middle when a right was withdrawn, and `Unreachable`.
        """
        following = Following(document, variables)
        while not following.complete:
            reason = "it ended without being complete"
            body, headers = following.request()
            token = self._token()
            headers |= authorization(self.url, "graphql", token)
            timeout = httpx.Timeout(TIMEOUT_SECONDS, read=SILENCE_SECONDS_MAX)
            try:
                with self._http.stream("POST", "graphql", content=body, headers=headers, timeout=timeout) as response:
                    if response.status_code != httpx.codes.OK:
                        following.opened(response.status_code, response.read())
                        reason = f"it answered {response.status_code}"
                    else:
                        for line in response.iter_lines():
                            change = following.take(line)
                            if change is not None:
                                yield change
            except httpx.TransportError as error:
                reason = describe(error)
            except Refused as refused:
                if not following.outlives(refused) or self._token() == token:
                    raise
                reason = refused.message
            if not following.complete:
                time.sleep(following.pause_seconds(reason))

    def follow_job(self, job_id: str, after: str | None = None) -> Iterator[dict[str, Any]]:
        """The states, log lines and metrics of a job as they come, to its end; `after` is the cursor of one of them."""
        return self.subscribe(documents.JOB_CHANGES, {"id": job_id, "after": after})

    def _run(self, operation: Generator[Step, Any, T]) -> T:
        result: Any = None
        try:
            while True:
                result = self._do(operation.send(result))
        except StopIteration as ended:
            done: T = ended.value
            return done

    def _do(self, step: Step) -> Any:  # noqa: ANN401 -- each kind of step has its own result
        if isinstance(step, Send):
            return self._send(step)
        if isinstance(step, Save):
            return self._save(step)
        if isinstance(step, Compute):
            return step.function()
        time.sleep(step.seconds)
        return None

    def _send(self, step: Send) -> Answer:
        try:
            headers = {**step.headers, **self._authorization(step.url)}
            content: bytes | Iterator[bytes] | None
            if isinstance(step.content, FilePart):
                headers["Content-Length"] = str(step.content.size_bytes)
                content = step.content.blocks()
            else:
                content = step.content
            response = self._http.request(step.method, step.url, content=content, headers=headers)
        except httpx.TransportError as error:
            return Answer(0, unreachable=describe(error))
        return Answer(response.status_code, response.content)

    def _save(self, step: Save) -> Answer:
        headers = {**self._authorization(step.url), **({"Range": f"bytes={step.offset}-"} if step.offset else {})}
        try:
            with self._http.stream(step.method, step.url, content=step.content, headers=headers) as response:
                if response.status_code >= 300:
                    return Answer(response.status_code, response.read())
                # Without a chunk size: a buffered chunk would be lost when the stream breaks.
                for chunk in response.iter_bytes():
                    step.sink(chunk)
        except httpx.TransportError as error:
            return Answer(0, unreachable=describe(error))
        return Answer(response.status_code)

    def _authorization(self, url: str) -> dict[str, str]:
        return authorization(self.url, url, self._token())


def authorization(server: str, url: str, token: str) -> dict[str, str]:
    """The token, for the server alone: an upload or download address may lead to an object store."""
    target = httpx.URL(server).join(url)
    base = httpx.URL(server)
    own = (target.scheme, target.host, target.port) == (base.scheme, base.host, base.port)
    return {"Authorization": f"Bearer {token}"} if own else {}


def describe(error: httpx.TransportError) -> str:
    """Why nothing came back, in words even where the exception has none."""
    return str(error) or type(error).__name__
