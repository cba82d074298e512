"""The asynchronous client: the same operations as `client.Client`, for asyncio."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from guildhall_client import documents, graphql, operations
from guildhall_client import files as transfers
from guildhall_client.bundles import Wanted
from guildhall_client.client import POLL_SECONDS, TIMEOUT_SECONDS, authorization, describe
from guildhall_client.errors import Refused
from guildhall_client.files import Progress, no_progress
from guildhall_client.following import SILENCE_SECONDS_MAX, Following
from guildhall_client.packing import Ignore, nothing
from guildhall_client.steps import Answer, Compute, FilePart, Save, Send, Step

T = TypeVar("T")


class AsyncClient:
    """One server and one caller. Use it as an asynchronous context manager, or `close` it.

    `token` is asked before each request where it is a function, which answers with an awaitable: one that ends soon
    can be renewed meanwhile. Requests that run side by side may ask it at once.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], Awaitable[str]],
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/") + "/"
        self._given_token = token
        self._http = httpx.AsyncClient(base_url=self.url, timeout=TIMEOUT_SECONDS, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def execute(self, document: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """As `Client.execute`."""
        return await self._run(graphql.execute(document, variables))

    async def mutate(self, document: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """As `Client.mutate`."""
        return await self._run(operations.mutate_once(document, inputs))

    async def upload_dataset_version(
        self, dataset_id: str, folder: Path, details: dict[str, Any], progress: Progress = no_progress
    ) -> dict[str, Any]:
        """As `Client.upload_dataset_version`."""
        return await self._run(operations.upload_dataset_version(dataset_id, folder, details, progress))

    async def upload_model_version(
        self, model_id: str, folder: Path, details: dict[str, Any], progress: Progress = no_progress
    ) -> dict[str, Any]:
        """As `Client.upload_model_version`."""
        return await self._run(operations.upload_model_version(model_id, folder, details, progress))

    async def upload_package(
        self, team: str, folder: Path, progress: Progress = no_progress, is_ignored: Ignore = nothing
    ) -> dict[str, Any]:
        """As `Client.upload_package`."""
        return await self._run(operations.upload_package(team, folder, progress, is_ignored))

    async def download(
        self, url: str, target: Path, *, size_bytes: int, sha256: str, progress: Progress = no_progress
    ) -> None:
        """As `Client.download`."""
        await self._run(transfers.download(url, target, size_bytes=size_bytes, sha256=sha256, progress=progress))

    async def download_all(self, files: Sequence[Wanted], progress: Progress = no_progress) -> None:
        """As `Client.download_all`."""
        await self._run(transfers.download_all(files, progress))

    async def preview(self, url: str, rows: int) -> dict[str, Any]:
        """As `Client.preview`."""
        return await self._run(transfers.preview(url, rows))

    async def wait_for_job(
        self,
        job_id: str,
        on_change: Callable[[dict[str, Any]], None] = lambda _job: None,
        poll_seconds: float = POLL_SECONDS,
    ) -> dict[str, Any]:
        """As `Client.wait_for_job`."""
        return await self._run(operations.wait_for_job(job_id, on_change, poll_seconds))

    async def subscribe(self, document: str, variables: dict[str, Any] | None = None) -> AsyncIterator[dict[str, Any]]:
        """As `Client.subscribe`."""
        following = Following(document, variables)
        while not following.complete:
            reason = "it ended without being complete"
            body, headers = following.request()
            token = await self._token()
            headers |= authorization(self.url, "graphql", token)
            timeout = httpx.Timeout(TIMEOUT_SECONDS, read=SILENCE_SECONDS_MAX)
            stream = self._http.stream("POST", "graphql", content=body, headers=headers, timeout=timeout)
            try:
                async with stream as response:
                    if response.status_code != httpx.codes.OK:
                        following.opened(response.status_code, await response.aread())
                        reason = f"it answered {response.status_code}"
                    else:
                        async for line in response.aiter_lines():
                            change = following.take(line)
                            if change is not None:
                                yield change
            except httpx.TransportError as error:
                reason = describe(error)
            except Refused as refused:
                if not following.outlives(refused) or await self._token() == token:
                    raise
                reason = refused.message
            if not following.complete:
                await asyncio.sleep(following.pause_seconds(reason))

    def follow_job(self, job_id: str, after: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """As `Client.follow_job`."""
        return self.subscribe(documents.JOB_CHANGES, {"id": job_id, "after": after})

    async def _run(self, operation: Generator[Step, Any, T]) -> T:
        result: Any = None
        try:
            while True:
                result = await self._do(operation.send(result))
        except StopIteration as ended:
            done: T = ended.value
            return done

    async def _do(self, step: Step) -> Any:  # noqa: ANN401 -- each kind of step has its own result
        if isinstance(step, Send):
            return await self._send(step)
        if isinstance(step, Save):
            return await self._save(step)
        if isinstance(step, Compute):
            return await asyncio.to_thread(step.function)
        await asyncio.sleep(step.seconds)
        return None

    async def _send(self, step: Send) -> Answer:
        try:
            headers = {**step.headers, **await self._authorization(step.url)}
            content: bytes | AsyncIterator[bytes] | None
            if isinstance(step.content, FilePart):
                headers["Content-Length"] = str(step.content.size_bytes)
                content = _blocks(step.content)
            else:
                content = step.content
            response = await self._http.request(step.method, step.url, content=content, headers=headers)
        except httpx.TransportError as error:
            return Answer(0, unreachable=describe(error))
        return Answer(response.status_code, response.content)

    async def _save(self, step: Save) -> Answer:
        headers = {"Range": f"bytes={step.offset}-"} if step.offset else {}
        headers |= await self._authorization(step.url)
        try:
            async with self._http.stream(step.method, step.url, content=step.content, headers=headers) as response:
                if response.status_code >= 300:
                    return Answer(response.status_code, await response.aread())
                async for chunk in response.aiter_bytes():
                    step.sink(chunk)
        except httpx.TransportError as error:
            return Answer(0, unreachable=describe(error))
        return Answer(response.status_code)

    async def _token(self) -> str:
        return await self._given_token() if callable(self._given_token) else self._given_token

    async def _authorization(self, url: str) -> dict[str, str]:
        return authorization(self.url, url, await self._token())


async def _blocks(part: FilePart) -> AsyncIterator[bytes]:
    """Read beside the event loop."""
    blocks = part.blocks()
    while (block := await asyncio.to_thread(next, blocks, None)) is not None:
        yield block
