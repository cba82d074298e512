"""A small proxy before a real API server that can answer for it, change what it says, and end in the middle."""

import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web

from scheduler.clusters.kubernetes.credentials import parse_kubeconfig
from tests.cluster.certificates import Authority

Answer = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
PASSED_ON = ("Accept", "Content-Type", "User-Agent")


class FaultyProxy:
    """`answer` may answer in the server's place (None: it does not); `rewrite` makes other lines of a stream's line."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.rewrite: Callable[[bytes], list[bytes]] | None = None
        self.requests: list[web.Request] = []
        self.forbidden: list[tuple[str, str, bool]] = []
        self.kubeconfig = ""

    @property
    def seen(self) -> list[tuple[str, str, bool]]:
        """Method, path, and whether it was a watch, of every request."""
        return [_seen(request) for request in self.requests]

    @property
    def watches(self) -> list[web.Request]:
        """The requests that began a watch."""
        return [request for request in self.requests if "watch" in request.query]

    @property
    def lists(self) -> list[web.Request]:
        """The other ones."""
        return [request for request in self.requests if "watch" not in request.query]

    def answer_times(self, times: int, status: int, **about: object) -> None:
        """Answer so many requests thus; the rest passes."""
        left = [times]

        async def answer(_: web.Request) -> web.Response | None:
            if left[0] == 0:
                return None
            left[0] -= 1
            return web.Response(status=status, **about)  # type: ignore[arg-type]

        self.answer = answer

    def heal(self) -> None:
        """Pass everything on again."""
        self.answer = None
        self.rewrite = None


@asynccontextmanager
async def faulty_proxy(upstream_kubeconfig: str, folder: Path) -> AsyncIterator[FaultyProxy]:
    """Stands before the server of that kubeconfig and signs in with it, whoever calls."""
    authority = Authority(folder)
    authority.server("proxy", ["127.0.0.1"])
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "proxy.crt", folder / "proxy.key")
    access = parse_kubeconfig(upstream_kubeconfig)
    proxy = FaultyProxy()
    signing_in = {"Authorization": f"Bearer {access.token}"} if access.token is not None else {}
    async with aiohttp.ClientSession(
        headers=signing_in,
        connector=aiohttp.TCPConnector(ssl=access.tls(), limit=0),
        auto_decompress=False,
        read_bufsize=1 << 24,
    ) as session:

        async def handle(request: web.Request) -> web.StreamResponse:
            proxy.requests.append(request)
            answered = await proxy.answer(request) if proxy.answer is not None else None
            if answered is not None:
                return answered
            headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
            body = await request.read()
            async with session.request(
                request.method, access.server + request.path_qs, data=body, headers=headers
            ) as upstream:
                if upstream.status == 403:
                    proxy.forbidden.append(_seen(request))
                response = web.StreamResponse(status=upstream.status)
                for name in ("Content-Type", "Retry-After"):
                    if name in upstream.headers:
                        response.headers[name] = upstream.headers[name]
                await response.prepare(request)
                async for line in upstream.content:
                    for changed in proxy.rewrite(line) if proxy.rewrite is not None else [line]:
                        await response.write(changed)
                return response

        runner = web.AppRunner(_application(handle), handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serving)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        proxy.kubeconfig = kubeconfig(f"https://127.0.0.1:{port}", folder / "ca.crt", {"token": "whoever"})
        try:
            yield proxy
        finally:
            await runner.cleanup()


def kubeconfig(server: str, authority: Path, user: dict[str, str]) -> str:
    """The text of a kubeconfig with one context."""
    trusted = base64.b64encode(authority.read_bytes()).decode()
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "one",
            "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
            "clusters": [{"name": "one", "cluster": {"server": server, "certificate-authority-data": trusted}}],
            "users": [{"name": "one", "user": user}],
        }
    )


def user_of(text: str, user: dict[str, str]) -> str:
    """The same kubeconfig with another user."""
    document = yaml.safe_load(text)
    document["users"][0]["user"] = user
    return yaml.safe_dump(document)


def _seen(request: web.Request) -> tuple[str, str, bool]:
    return request.method, request.path, "watch" in request.query


def _application(handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    application = web.Application(client_max_size=1 << 26)
    application.router.add_route("*", "/{path:.*}", handle)
    return application
