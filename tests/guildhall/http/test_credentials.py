"""Whose page it is that asks: a browser's origin is its scheme, host and port together."""

from typing import Any

import pytest
from litestar.types import Receive, Scope, Send

from guildhall.auth.networks import network
from guildhall.http.credentials import is_own_origin
from guildhall.http.proxies import BehindProxies

PUBLIC = "https://guildhall.example"


def called(scheme: str, host: str, kind: str = "http", **headers: str) -> Any:
    sent = [
        (b"host", host.encode()),
        *((name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()),
    ]
    return {"type": kind, "scheme": scheme, "headers": sent, "client": ("10.0.0.1", 4711)}


class TestIsOwnOrigin:
    @pytest.mark.parametrize(
        ("origin", "scheme", "host", "want"),
        [
            (PUBLIC, "http", "10.0.0.7:8321", True),
            (f"{PUBLIC}:443", "http", "10.0.0.7:8321", True),
            ("http://guildhall.example", "https", "guildhall.example", False),
            ("https://guildhall.example:8443", "https", "guildhall.example", False),
            ("http://10.0.0.7:8321", "http", "10.0.0.7:8321", True),
            ("http://10.0.0.7:8321", "ws", "10.0.0.7:8321", True),
            ("https://10.0.0.7", "wss", "10.0.0.7", True),
            ("https://10.0.0.7:8321", "http", "10.0.0.7:8321", False),
            ("http://10.0.0.7", "http", "10.0.0.7:8321", False),
            ("https://evil.example", "https", "guildhall.example", False),
            ("https://guildhall.example.evil.example", "https", "guildhall.example", False),
            ("null", "http", "", False),
            ("", "http", "", False),
            ("ftp://guildhall.example", "ftp", "guildhall.example", False),
            ("https://guildhall.example:x", "https", "guildhall.example", False),
        ],
    )
    def test_table(self, origin: str, scheme: str, host: str, want: bool) -> None:
        assert is_own_origin(origin, called(scheme, host), PUBLIC) is want


class TestBehindProxies:
    @pytest.mark.parametrize(
        ("trusted", "kind", "scheme", "said", "want"),
        [
            ("10.0.0.0/8", "http", "http", "https", "https"),
            ("10.0.0.0/8", "http", "http", "http, HTTPS", "https"),
            ("10.0.0.0/8", "http", "https", "http", "http"),
            ("10.0.0.0/8", "websocket", "ws", "https", "wss"),
            ("10.0.0.0/8", "websocket", "wss", "http", "ws"),
            ("10.0.0.0/8", "http", "http", "gopher", "http"),
            ("10.0.0.0/8", "http", "http", None, "http"),
            ("192.0.2.0/24", "http", "http", "https", "http"),
        ],
    )
    async def test_the_scheme_is_a_trusted_proxy_s_word(
        self, trusted: str, kind: str, scheme: str, said: str | None, want: str
    ) -> None:
        seen: list[str] = []

        async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
            seen.append(scope["scheme"])

        scope = called(scheme, "guildhall.example", kind, **({} if said is None else {"x_forwarded_proto": said}))
        nothing: Any = None
        await BehindProxies(app, [network(trusted)])(scope, nothing, nothing)
        assert seen == [want]
