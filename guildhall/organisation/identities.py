"""People as the issuer knows them: found or made at their first sign-in, their groups kept to what it said last."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import add_events, compose_event, record
from guildhall.auth.actor import Actor, RequestContext, system_actor
from guildhall.auth.claims import Claims, NotOfIssuer
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import Token, User, UserIdentity
from guildhall.auth.tokens import TokenOrigin
from guildhall.clock import IdSource
from guildhall.db.announcing import announce_change
from guildhall.organisation.group_roles import apply_groups, lock_mappings
from guildhall.organisation.members import CHANGE
from guildhall.organisation.tokens import REVOKE, TOPIC

KEPT_AFTER_END = timedelta(days=1)
"""How long an ended token stays known: a download that began with it may outlast it, and is still asked after."""


async def known_person(
    session: AsyncSession, claims: Claims, *, request: RequestContext, at: datetime, new_id: IdSource
) -> UserIdentity:
    """The person whom a verified token is about, with the roles that their groups have now; raises NotOfIssuer.

    Someone new is made; someone whom an administrator named before, by the address that the issuer vouches for, is met.
    An older token than the newest that was seen changes nothing, so that nobody gets back by it what they lost; of two
    of the same second, only what both say counts.
    """
    await lock_mappings(session, alone=False)
    identity = await _locked(session, claims)
    if identity is None:
        await _meet(session, claims, request=request, at=at, new_id=new_id)
        identity = await _locked(session, claims)
        assert identity is not None, "either it was there or it was added"
    groups = _newest(identity, claims)
    if groups is not None:
        identity.groups, identity.groups_as_of = sorted(groups), claims.issued_at
        await session.flush()
        actor = issuer_actor(request, identity.user_id)
        await apply_groups(session, actor, identity.user_id, groups=groups, at=at, new_id=new_id)
    return identity


async def admit_token(
    session: AsyncSession,
    claims: Claims,
    *,
    digest: bytes,
    signed: bytes,
    expires_at: datetime,
    request: RequestContext,
    at: datetime,
    new_id: IdSource,
) -> None:
    """Know a verified access token by its hash from now until its end; raises NotOfIssuer.

    `signed` is the hash of what the issuer signed. A signature can be written in more than one way, so that by the hash
    of the whole alone a withdrawn token would come back in another spelling.

    It is not recorded as issued: whoever made it is the issuer. What is done with it is recorded.
    """
    person = await known_person(session, claims, request=request, at=at, new_id=new_id)
    if person.signed_out_at is not None and claims.issued_at <= person.signed_out_at:
        raise NotOfIssuer("This token is from before you signed out everywhere; sign in again.")
    own = [Token.user_id == person.user_id, Token.origin == TokenOrigin.ISSUER.value]
    await session.execute(delete(Token).where(*own, Token.expires_at <= at - KEPT_AFTER_END))
    same = Token.claims["signed"].astext == signed.hex()
    if await session.scalar(select(Token.id).where(*own, same, Token.revoked_at.is_not(None)).limit(1)) is not None:
        raise NotOfIssuer("This token was withdrawn; sign in again.")
    row = {
        "id": new_id(),
        "subject_kind": ActorKind.USER.value,
        "subject_id": person.user_id,
        "prefix": digest.hex()[:12],
        "hash": digest,
        "label": f"from {claims.issuer}",
        "claims": {"signed": signed.hex(), "key": claims.key},
        "origin": TokenOrigin.ISSUER.value,
        "created_at": min(claims.issued_at, at),
        "expires_at": expires_at,
    }
    await session.execute(insert(Token).values(row).on_conflict_do_nothing())


async def end_tokens_of_other_keys(
    session: AsyncSession, keys: Collection[str], *, at: datetime, new_id: IdSource
) -> int:
    """End the issuer's tokens that were signed by none of these keys, which are all that it publishes now, for good.

    Returns how many ended. Of a token that was known before its key was kept, nothing is known: it goes on to its end.
    """
    counting = [
        Token.origin == TokenOrigin.ISSUER.value,
        Token.revoked_at.is_(None),
        Token.expires_at > at,
        Token.claims["key"].astext.not_in(keys),
    ]
    # In the order of their ids, as other processes may do the same now.
    chosen = select(Token.id).where(*counting).order_by(Token.id).with_for_update(key_share=True)
    statement = update(Token).where(Token.id.in_(chosen)).values(revoked_at=at).returning(Token)
    ended = (await session.scalars(statement)).all()
    events = []
    for token in ended:
        announce_change(session, TOPIC, token.id)
        event = compose_event(
            system_actor("issuer", on_behalf_of=token.subject_id),
            action=REVOKE,
            resources=[ResourceRef("Token", token.id), ResourceRef("User", token.subject_id)],
            before={"label": token.label, "prefix": token.prefix},
            at=at,
            new_id=new_id,
        )
        events.append(event)
    await add_events(session, events)
    return len(ended)


def issuer_actor(request: RequestContext, user_id: UUID) -> Actor:
    """The part of the platform that acts on what the issuer says of this person."""
    return replace(system_actor("issuer", on_behalf_of=user_id), request=request)


async def sign_out_before(session: AsyncSession, user_id: UUID, *, at: datetime) -> None:
    """Let no token count that the issuer made for the person until now, seen or not."""
    await session.execute(update(UserIdentity).where(UserIdentity.user_id == user_id).values(signed_out_at=at))


async def _locked(session: AsyncSession, claims: Claims) -> UserIdentity | None:
    statement = (
        select(UserIdentity)
        .where(UserIdentity.issuer == claims.issuer, UserIdentity.subject == claims.subject)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return (await session.scalars(statement)).one_or_none()


def _newest(identity: UserIdentity, claims: Claims) -> frozenset[str] | None:
    """The groups that count from now on, None where they are what they were."""
    held = frozenset(identity.groups)
    if claims.issued_at < identity.groups_as_of:
        return None
    groups = claims.groups & held if claims.issued_at == identity.groups_as_of else claims.groups
    return None if groups == held and claims.issued_at == identity.groups_as_of else groups


async def _meet(
    session: AsyncSession, claims: Claims, *, request: RequestContext, at: datetime, new_id: IdSource
) -> None:
    """Add the identity, and the person where nobody has the address yet; raises NotOfIssuer."""
    if claims.email is None:
        raise NotOfIssuer(
            "The issuer does not vouch for your address (`email`, `email_verified`), so Guildhall cannot tell who you "
            "are: sign in with a browser once, or ask an administrator to have the issuer put both into its tokens."
        )
    values = {"id": new_id(), "email": claims.email, "name": claims.name or claims.email, "created_at": at}
    added = await session.scalar(insert(User).values(values).on_conflict_do_nothing().returning(User.id))
    user_id = added or (await session.scalars(select(User.id).where(User.email == claims.email))).one()
    row: dict[str, object] = {
        "id": new_id(),
        "user_id": user_id,
        "issuer": claims.issuer,
        "subject": claims.subject,
        "groups": [],
        "groups_as_of": datetime.fromtimestamp(0, at.tzinfo),
        "created_at": at,
    }
    met = await session.scalar(
        insert(UserIdentity).values(row).on_conflict_do_nothing().returning(UserIdentity.subject)
    )
    if met is None:  # a rival was quicker, or the address belongs to another subject
        other = select(UserIdentity.subject).where(
            UserIdentity.user_id == user_id, UserIdentity.issuer == claims.issuer
        )
        if await session.scalar(other) != claims.subject:
            raise NotOfIssuer(
                f"The address {claims.email} belongs to somebody else whom the issuer knows under another `sub`: "
                "ask an administrator, who can change or deactivate them."
            )
        return
    await record(
        session,
        issuer_actor(request, user_id),
        action=CHANGE,
        resources=[ResourceRef("User", user_id)],
        after={"issuer": claims.issuer, "subject": claims.subject, "made": added is not None},
        at=at,
        new_id=new_id,
    )
