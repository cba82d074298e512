"""One cluster's HTTP: signs in, keeps the pace, bounds what comes back, and says in one sentence what went wrong.

The library gives the session, its TLS and the pod's own account with a token that is read again every minute. What it
would do besides is turned off: proxies from the environment, redirects (a token must not travel on), endless answers.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from scheduler.clusters.kubernetes.credentials import ClusterCredentials, CredentialsRefused, parse_kubeconfig
from scheduler.clusters.kubernetes.failures import (
    AnswerUnintelligible,
    ClusterBusy,
    ClusterFailure,
    ClusterRefusedCredentials,
    ClusterSilent,
    ClusterUnreachable,
    ClusterUntrusted,
    failure_of_answer,
)
from scheduler.clusters.kubernetes.pacing import Pace

IN_FLIGHT_MAX = 64
STREAMS_MAX = 128
ANSWER_BYTES_MAX = 256 * 1024 * 1024
"""A list without pages of 20,000 large Jobs; what goes on beyond is no list of ours."""
FAILURE_BYTES_MAX = 1024 * 1024
BUSY_ATTEMPTS_MAX = 4

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding JSON of somebody else's may raise."""

Query = Mapping[str, str]


@dataclass(frozen=True)
class Timeouts:
    """In seconds: until a connection stands, and until the whole of an answer is there."""

    connect: float = 5.0
    answer: float = 30.0


class Transport:
    """Sends requests to one API server; `close` it within the loop that used it."""

    def __init__(
        self, configuration: Configuration, *, tls: ssl.SSLContext | None, pace: Pace, timeouts: Timeouts
    ) -> None:
        self._configuration = configuration
        self._rest = RESTClientObject(configuration)
        if tls is not None:
            self._rest.ssl_context = tls
        self._address = configuration.host
        self._pace = pace
        self._timeouts = timeouts
        self._streams = asyncio.Semaphore(STREAMS_MAX)
        self.server = urlsplit(configuration.host).netloc

    @classmethod
    def signed_in(cls, credentials: ClusterCredentials, *, pace: Pace, timeouts: Timeouts) -> Self:
        """A transport with these credentials; raises `CredentialsRefused`. Nothing is sent yet."""
        if credentials.kubeconfig is None:
            return cls(_configuration_of_pod(credentials), tls=None, pace=pace, timeouts=timeouts)
        access = parse_kubeconfig(credentials.kubeconfig)
        configuration = _configuration(host=access.server, tls_server_name=access.server_name)
        if access.token is not None:
            configuration.api_key["BearerToken"] = f"Bearer {access.token}"
        return cls(configuration, tls=access.tls(), pace=pace, timeouts=timeouts)

    async def close(self) -> None:
        """Drop all connections."""
        await self._rest.close()

    async def call(
        self, method: str, path: str, query: Query, *, body: object = None, content_type: str = "application/json"
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        """Send once and read the whole answer: its JSON and its headers. Raises a `ClusterFailure`."""
        timeout = aiohttp.ClientTimeout(total=self._timeouts.answer, sock_connect=self._timeouts.connect)
        async with self._answer(method, path, query, timeout, body=body, content_type=content_type) as response:
            content = await self._read(response, bytes_max=ANSWER_BYTES_MAX)
            return self._decoded(content), response.headers

    async def lines(
        self,
        path: str,
        query: Query,
        *,
        line_bytes_max: int,
        silence_seconds_max: float | None = None,
        seconds_max: float | None = None,
    ) -> AsyncGenerator[bytes]:
        """The lines of a GET as they come, each cut at its maximum; at most STREAMS_MAX are open, others wait.

        Silence beyond its maximum is `ClusterUnreachable`; after `seconds_max` the stream ends, its last part left out.
        """
        timeout = aiohttp.ClientTimeout(
            total=seconds_max, sock_connect=self._timeouts.connect, sock_read=silence_seconds_max
        )
        splitter = _LineSplitter(line_bytes_max)
        async with self._streams, self._answer("GET", path, query, timeout) as response:
            try:
                async for chunk in response.content.iter_any():
                    for line in splitter.feed(chunk):
                        yield line
            except TimeoutError:
                if seconds_max is None:
                    raise
                return
            if splitter.rest:
                yield bytes(splitter.rest)

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        query: Query,
        limits: aiohttp.ClientTimeout,
        *,
        body: object = None,
        content_type: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of 200 to 299; a 429 is waited out as the server asks, BUSY_ATTEMPTS_MAX times in all."""
        url = f"{self._address}{path}?{urlencode(query)}" if query else f"{self._address}{path}"
        busy: ClusterBusy | None = None
        for _ in range(BUSY_ATTEMPTS_MAX):
            with self._one_sentence():
                async with self._pace.place(), asyncio.timeout(self._timeouts.answer):
                    headers = await self._headers(content_type)
                    answered = await self._rest.request(method, url, headers, body, _request_timeout=limits)
                response: aiohttp.ClientResponse = answered.response
                async with response:
                    if response.ok:
                        yield response
                        return
                    failure = await self._failure(response)
            if not isinstance(failure, ClusterBusy):
                raise failure
            busy = failure
            self._pace.pause(busy.retry_after)
        assert busy is not None
        raise busy

    async def _headers(self, content_type: str) -> dict[str, str]:
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": "guildhall"}
        try:
            authorization = await self._configuration.get_api_key_with_prefix("BearerToken")
        except (ConfigException, OSError):
            raise ClusterRefusedCredentials("The token of the pod's account cannot be read any more.") from None
        if authorization:
            headers["Authorization"] = authorization.strip()
        return headers

    async def _failure(self, response: aiohttp.ClientResponse) -> ClusterFailure:
        content = await self._read(response, bytes_max=FAILURE_BYTES_MAX)
        try:
            answer = msgspec.json.decode(content)
        except UNDECODABLE:
            answer = {}
        return failure_of_answer(
            response.status,
            answer if isinstance(answer, dict) else {},
            server=self.server,
            retry_after=_seconds(response.headers.get("Retry-After")),
        )

    async def _read(self, response: aiohttp.ClientResponse, *, bytes_max: int) -> bytes:
        content = bytearray()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > bytes_max:
                raise AnswerUnintelligible(f"{self.server} answered with more than {bytes_max} bytes.")
        return bytes(content)

    def _decoded(self, content: bytes) -> dict[str, Any]:
        try:
            decoded = msgspec.json.decode(content)
        except UNDECODABLE:
            decoded = None
        if not isinstance(decoded, dict):
            raise AnswerUnintelligible(f"{self.server} does not answer as an API server of Kubernetes does.")
        return decoded

    @contextmanager
    def _one_sentence(self) -> Iterator[None]:
        """Whatever the network does becomes a `ClusterUnreachable`."""
        try:
            yield
        except aiohttp.ClientConnectorCertificateError as error:
            why = getattr(error.certificate_error, "verify_message", None) or error.certificate_error
            raise ClusterUntrusted(f"The certificate of {self.server} is not trusted: {why}.") from error
        except aiohttp.ClientConnectorSSLError as error:
            raise ClusterUntrusted(f"{self.server} does not agree on TLS: {_ssl_reason(error.os_error)}.") from error
        except aiohttp.ClientConnectorDNSError as error:
            raise ClusterUnreachable(f"The name of {self.server} is not known.") from error
        except aiohttp.ClientConnectorError as error:
            why = error.os_error.strerror or error.os_error
            raise ClusterUnreachable(f"{self.server} cannot be connected to: {why}.") from error
        except TimeoutError as error:
            raise ClusterSilent(f"{self.server} does not answer in time.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ClusterUnreachable(f"The connection to {self.server} broke: {type(error).__name__}.") from error


class _LineSplitter:
    """Makes lines of chunks; of a line that is too long it keeps the beginning."""

    def __init__(self, line_bytes_max: int) -> None:
        self._line_bytes_max = line_bytes_max
        self.rest = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes, without their ends."""
        *ended, begun = chunk.split(b"\n")
        lines = []
        for part in ended:
            self._keep(part)
            lines.append(bytes(self.rest))
            self.rest.clear()
        self._keep(begun)
        return lines

    def _keep(self, part: bytes) -> None:
        self.rest += part[: self._line_bytes_max - len(self.rest)]


async def _without_redirects(request: aiohttp.ClientRequest, handler: Callable[..., Any]) -> aiohttp.ClientResponse:
    """A redirect could take the caller, and what it sends, to a place that nobody configured."""
    response: aiohttp.ClientResponse = await handler(request)
    if 300 <= response.status < 400:
        response.close()
        raise AnswerUnintelligible(
            f"{request.url.authority} redirects elsewhere ({response.status}); name the API server itself."
        )
    return response


def _configuration(*, host: str | None = None, tls_server_name: str | None = None) -> Configuration:
    return Configuration(
        host=host,
        tls_server_name=tls_server_name,
        # No second bound on connections: calls are bounded by the pace, streams by their own semaphore.
        connection_pool_maxsize=0,
        client_session_kwargs={"trust_env": False, "middlewares": (_without_redirects,)},
    )


def _configuration_of_pod(credentials: ClusterCredentials) -> Configuration:
    configuration = _configuration()
    loader = InClusterConfigLoader(
        token_filename=str(credentials.account_folder / "token"),
        cert_filename=str(credentials.account_folder / "ca.crt"),
    )
    try:
        loader.load_and_set(configuration)
    except (ConfigException, OSError) as error:
        raise CredentialsRefused(
            f"The service does not run in a pod with an account of the cluster ({error}); give a kubeconfig."
        ) from error
    return configuration


def _seconds(retry_after: str | None) -> float | None:
    """The API server sends whole seconds; anything else counts as nothing."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None


def _ssl_reason(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).lower().replace("_", " ") if reason else str(error)
