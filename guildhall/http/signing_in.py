"""How somebody whom the issuer knows gets known here: an access token at its first sight, a session when it is due.

The issuer is asked before and after transactions, never inside one.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import httpx
from sqlalchemy.exc import SQLAlchemyError

from guildhall.auth.actor import RequestContext
from guildhall.auth.claims import NotOfIssuer
from guildhall.auth.code_flow import BrowserClient, GrantEnded
from guildhall.auth.issuer import REFRESH_EVERY, Issuer, IssuerUnavailable
from guildhall.auth.tokens import TokenRefused, hash_token
from guildhall.clock import Clock, IdSource
from guildhall.db.transaction import Database
from guildhall.errors import Unavailable
from guildhall.keys import Keyring, load_keyring
from guildhall.organisation.identities import admit_token, end_tokens_of_other_keys, issuer_actor
from guildhall.organisation.sessions import Due, Lasting, keep_fresh, let_on_while_away, open_session, take_due
from guildhall.organisation.tokens import revoke_token
from guildhall.settings import Settings

KEYS_SECONDS = REFRESH_EVERY.total_seconds()

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SignInDesk:
    """What signing in needs of the process; `issuer` is None where people sign in with tokens of Guildhall alone."""

    database: Database
    clock: Clock
    new_id: IdSource
    keyring: Callable[[], Keyring]
    lasting: Lasting
    issuer: Issuer | None = None
    client: BrowserClient | None = None

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        database: Database,
        clock: Clock,
        new_id: IdSource,
        *,
        key: bytes,
        transport: httpx.AsyncBaseTransport | None,
    ) -> "SignInDesk":
        """As one process has it; `key` seals what browsers keep meanwhile, `transport` is how the issuer is reached."""
        issuer = Issuer.from_settings(settings, transport=transport)
        client = None
        if issuer is not None and settings.oidc_client_id is not None:
            client = BrowserClient(
                issuer=issuer,
                client_id=settings.oidc_client_id,
                client_secret=settings.oidc_client_secret,
                redirect_uri=f"{settings.public_url}/auth/callback",
                scopes=settings.oidc_scopes,
                key=key,
            )
        return cls(
            database=database,
            clock=clock,
            new_id=new_id,
            keyring=lambda: load_keyring(settings.credentials_key_file),
            lasting=Lasting(
                at_most=timedelta(seconds=settings.session_seconds),
                idle=timedelta(seconds=settings.session_idle_seconds),
                outage=timedelta(seconds=settings.session_outage_seconds),
            ),
            issuer=issuer,
            client=client,
        )

    async def admit(self, text: str, request: RequestContext) -> None:
        """Verify an access token and know it from now on; raises TokenRefused, IssuerUnavailable."""
        assert self.issuer is not None, "there is no issuer here"
        key = None
        try:
            claims = await self.issuer.access(text, at=self.clock.now())
            async with self.database.transaction() as session:
                await admit_token(
                    session,
                    claims,
                    digest=hash_token(text),
                    signed=hash_token(text.rpartition(".")[0]),
                    expires_at=claims.expires_at + self.issuer.rules.skew,
                    request=request,
                    at=self.clock.now(),
                    new_id=self.new_id,
                )
            key = claims.key
        finally:
            await self._follow_keys(self.issuer, key)

    async def keep_keys(self) -> None:
        """Until cancelled: look for the issuer's keys every `KEYS_SECONDS`, and end what withdrawn ones have signed.

        A token that was seen before is never a reason to look, so without this it would outlive its key.
        """
        while self.issuer is not None:
            try:
                await self.issuer.look_for_keys(at=self.clock.now())
                await self._follow_keys(self.issuer, None)
            except (Unavailable, SQLAlchemyError) as error:
                logger.warning("Tokens of withdrawn keys could not be ended: %s", error)
            await asyncio.sleep(KEYS_SECONDS)

    async def _follow_keys(self, issuer: Issuer, key: str | None) -> None:
        """End what was signed by keys that the issuer publishes no longer, once for each set of keys.

        And again where `key`, of a token that was admitted just now, went while that was under way.
        """
        keys = issuer.thumbprints
        if not keys or (keys == issuer.followed and (key is None or key in keys)):
            return
        async with self.database.transaction() as session:
            ended = await end_tokens_of_other_keys(session, keys, at=self.clock.now(), new_id=self.new_id)
        issuer.followed = keys
        if ended:
            logger.warning("%d tokens end: the issuer has withdrawn the keys that signed them", ended)

    async def begin_session(
        self, sign_in_cookie: str | None, answer: dict[str, str], request: RequestContext
    ) -> tuple[str, str]:
        """The cookie of a new session and where the browser goes; raises Unauthenticated, IssuerUnavailable."""
        assert self.client is not None, "there is no sign-in with a browser here"
        sign_in = self.client.resumed(sign_in_cookie, answer, at=self.clock.now())
        grant = await self.client.finish(sign_in, answer, at=self.clock.now())
        async with self.database.transaction() as session:
            text = await open_session(
                session, grant, keyring=self.keyring(), lasting=self.lasting, request=request, at=self.clock.now(),
                new_id=self.new_id,
            )  # fmt: skip
        return text, sign_in.next_path

    async def renew(self, digest: bytes, request: RequestContext) -> None:
        """Ask the issuer again about a session whose time for that has come; what is over stays over.

        Raises IssuerUnavailable where the issuer has been away for longer than sessions go on without it.
        """
        if self.client is None:
            return
        async with self.database.transaction() as session:
            due = await take_due(session, digest, keyring=self.keyring(), lasting=self.lasting, at=self.clock.now())
        if due is None:
            return
        try:
            grant = await self.client.renew(due.refresh_token, at=self.clock.now())
            async with self.database.transaction() as session:
                await keep_fresh(
                    session, due, grant, keyring=self.keyring(), request=request, at=self.clock.now(),
                    new_id=self.new_id,
                )  # fmt: skip
        except (GrantEnded, NotOfIssuer) as error:
            await self._end(due, request, error)
        except IssuerUnavailable as error:
            async with self.database.transaction() as session:
                on = await let_on_while_away(session, due, lasting=self.lasting, at=self.clock.now())
            if not on:
                raise
            logger.warning("Session %s goes on unasked: %s", due.id, error.message)

    async def _end(self, due: Due, request: RequestContext, why: TokenRefused | GrantEnded) -> None:
        logger.info("Session %s ends: %s", due.id, why.message)
        actor = issuer_actor(request, due.user_id)
        async with self.database.transaction() as session:
            await revoke_token(session, actor, due.id, at=self.clock.now(), new_id=self.new_id)
