"""Handing mails to the organisation's server over SMTP, one connection for those that are due together."""

import asyncio
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

import aiosmtplib

from guildhall.inbox.deliveries import Outcome
from guildhall.inbox.encryption import encryption_trouble
from guildhall.settings import Settings, SettingsError

ANSWER_SECONDS_MAX = 20.0
"""For one mail, connecting and signing in included."""
PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
ERROR_CHARACTERS_MAX = 300


@dataclass(frozen=True)
class MailServer:
    """Where mails are handed in, and as whom."""

    host: str
    port: int
    scheme: str
    user: str | None
    password: str | None = field(repr=False)


def mail_server(settings: Settings) -> MailServer | None:
    """The server of the settings; None where there is none. Raises SettingsError for a password that is not there."""
    if settings.smtp_url is None:
        return None
    parts = urlsplit(settings.smtp_url)
    assert parts.hostname is not None, "the setting was checked"
    return MailServer(
        host=parts.hostname,
        port=parts.port or PORTS[parts.scheme],
        scheme=parts.scheme,
        user=None if parts.username is None else unquote(parts.username),
        password=_password(settings, parts.password),
    )


class MailConnection:
    """A connection to the server, made with the first mail. Its own trouble is no mail's fault, and told as such."""

    def __init__(self, server: MailServer, *, answer_seconds: float = ANSWER_SECONDS_MAX) -> None:
        self._client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            use_tls=server.scheme == "smtps",
            start_tls=server.scheme == "smtp+starttls",
            timeout=answer_seconds,
            local_hostname="localhost",
        )
        self._answer_seconds = answer_seconds
        self._away: Outcome | None = None

    async def __aenter__(self) -> Self:
        """Nothing is connected yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up; the server need not say goodbye."""
        self._client.close()

    async def send(self, message: EmailMessage) -> Outcome:
        """What came of it; raises nothing that the server or the mail could cause.

        Where the server was away once it is not asked again.
        """
        if self._away is not None:
            return self._away
        try:
            async with asyncio.timeout(self._answer_seconds):
                if not self._client.is_connected:
                    await self._client.connect()
                return await self._hand_in(message)
        except (aiosmtplib.SMTPException, OSError) as error:
            self._client.close()
            status = error.code if isinstance(error, aiosmtplib.SMTPResponseException) else None
            trouble = encryption_trouble(error)
            code = "UNREACHABLE" if trouble is None else "TLS_FAILED"
            self._away = Outcome(status=status, reason=(code, f"the mail server: {trouble or _text(error)}"))
            return self._away

    async def _hand_in(self, message: EmailMessage) -> Outcome:
        try:
            await self._client.send_message(message)
        except aiosmtplib.SMTPRecipientsRefused as refused:
            return _refused(refused.recipients[0])
        except aiosmtplib.SMTPResponseException as error:
            return _refused(error)
        except (aiosmtplib.SMTPNotSupported, ValueError) as error:
            return Outcome(reason=("INVALID_ADDRESS", _text(error)), hopeless=True)
        return Outcome(status=250)


def _refused(error: aiosmtplib.SMTPResponseException) -> Outcome:
    """4xx may be taken later, 5xx never."""
    reason = ("REFUSED", f"the mail server answered {error.code}: {_text(error)}")
    return Outcome(status=error.code, reason=reason, hopeless=error.code >= 500)


def _text(error: Exception) -> str:
    """In one line; servers' sentences may have several."""
    message = str(getattr(error, "message", "") or error) or type(error).__name__
    return " ".join(message.split())[:ERROR_CHARACTERS_MAX]


def _password(settings: Settings, in_url: str | None) -> str | None:
    path = settings.smtp_password_file
    if path == Path():
        return None if in_url is None else unquote(in_url)
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise SettingsError(f"GUILDHALL_SMTP_PASSWORD_FILE={path} cannot be read.") from error
