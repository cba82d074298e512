"""A real SMTP server on loopback, aiosmtpd, that answers as it is told and keeps what it was handed."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

USER, PASSWORD = "guildhall", "p@ss/word"
SIGNED_IN = LoginPassword(USER.encode(), PASSWORD.encode())


@dataclass
class Sink:
    """`recipient`, `data` are what it answers to those commands; OK lets the mail in."""

    port: int = 0
    recipient: str = "OK"
    data: str = "OK"
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[Any] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    connections: int = 0

    # The names of these are the library's.
    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if self.recipient != "OK":
            return self.recipient
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.data != "OK":
            return self.data
        self.envelopes.append(envelope)
        self.encrypted.append(session.ssl is not None)
        self.mails.append(message_from_bytes(envelope.content, _class=EmailMessage, policy=default))
        return "250 OK"


def _authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=data == SIGNED_IN, handled=False)


@asynccontextmanager
async def mail_sink(
    *, tls: ssl.SSLContext | None = None, starttls: ssl.SSLContext | None = None, sign_in: bool = False
) -> AsyncIterator[Sink]:
    """A sink on a free port; with `tls` from the beginning, with `starttls` when asked."""
    sink = Sink()
    loop = asyncio.get_running_loop()

    def connected() -> SMTP:
        sink.connections += 1
        return SMTP(
            sink, hostname="sink.example", loop=loop, tls_context=starttls, require_starttls=starttls is not None,
            authenticator=_authenticate, auth_required=sign_in, auth_require_tls=tls is None, enable_SMTPUTF8=False,
        )  # fmt: skip

    server = await loop.create_server(connected, "127.0.0.1", 0, ssl=tls)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
        await server.wait_closed()
