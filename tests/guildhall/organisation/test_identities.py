"""People of the issuer: made or met once; their groups are what the newest token says, whatever an older one shows."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import Actor
from guildhall.auth.claims import Claims, NotOfIssuer
from guildhall.auth.tables import RoleBinding, Team, Token, User, UserIdentity
from guildhall.clock import new_id
from guildhall.errors import InvalidInput
from guildhall.organisation.bindings import LastAdministrator
from guildhall.organisation.groups import UnknownMapping, remove_group_mapping, set_group_mapping
from guildhall.organisation.identities import (
    KEPT_AFTER_END,
    admit_token,
    end_tokens_of_other_keys,
    known_person,
    sign_out_before,
)
from tests.people import REQUEST, actor_of, make_team, make_user

AT = datetime(2026, 3, 2, 8, tzinfo=UTC)
ISSUER = "https://issuer.test"


def claims(*groups: str, name: str = "ada", seconds: int = 0, **changed: Any) -> Claims:
    values = {
        "issuer": ISSUER, "subject": f"sub-{name}", "email": f"{name}@example.org", "name": name.capitalize(),
        "groups": frozenset(groups), "issued_at": AT + timedelta(seconds=seconds),
        "expires_at": AT + timedelta(seconds=seconds + 300),
    }  # fmt: skip
    return Claims(**{**values, **changed})


async def seen(session: AsyncSession, found: Claims, at: datetime = AT) -> UserIdentity:
    return await known_person(session, found, request=REQUEST, at=at, new_id=new_id)


async def roles(session: AsyncSession, user_id: UUID) -> list[tuple[str | None, str, str]]:
    statement = (
        select(Team.name, RoleBinding.role, RoleBinding.source)
        .select_from(RoleBinding)
        .outerjoin(Team, Team.id == RoleBinding.team_id)
        .where(RoleBinding.user_id == user_id)
    )
    found = [(row[0], row[1], row[2]) for row in await session.execute(statement)]
    return sorted(found, key=lambda row: (row[0] or "", row[1], row[2]))


async def events(session: AsyncSession, action: str) -> Sequence[AuditEvent]:
    return (await session.scalars(select(AuditEvent).where(AuditEvent.action == action).order_by(AuditEvent.id))).all()


async def map_group(session: AsyncSession, actor: Actor, group: str, role: str, team: str | None = "press") -> UUID:
    return await set_group_mapping(session, actor, group=group, team=team, role=role, at=AT, new_id=new_id)


@pytest.fixture
async def root(session: AsyncSession) -> Actor:
    await make_team(session, "press")
    return await actor_of(session, await make_user(session, "root", roles={"administrator": [None]}))


class TestMeeting:
    async def test_somebody_new_is_made_on_the_record(self, session: AsyncSession, root: Actor) -> None:
        person = await seen(session, claims())
        user = await session.get_one(User, person.user_id)
        assert (user.name, user.email) == ("Ada", "ada@example.org")
        (event,) = await events(session, "guildhall:user:change")
        assert (event.actor_kind, event.on_behalf_of_id, event.request_id) == ("SYSTEM", user.id, REQUEST.request_id)
        assert event.after == {"issuer": ISSUER, "subject": "sub-ada", "made": True}

    async def test_without_a_name_by_the_address(self, session: AsyncSession, root: Actor) -> None:
        person = await seen(session, claims(name="bea", subject="s"))
        assert (await session.get_one(User, person.user_id)).name == "Bea"
        nameless = await seen(session, Claims(**{**claims(name="cleo").__dict__, "name": None}))
        assert (await session.get_one(User, nameless.user_id)).name == "cleo@example.org"

    async def test_whom_an_administrator_named_is_met(self, session: AsyncSession, root: Actor) -> None:
        known = await make_user(session, "ada")
        assert (await seen(session, claims())).user_id == known
        assert (await seen(session, claims(seconds=5))).user_id == known
        (event,) = await events(session, "guildhall:user:change")
        assert event.after is not None
        assert event.after["made"] is False

    async def test_later_only_the_subject_counts(self, session: AsyncSession, root: Actor) -> None:
        first = await seen(session, claims())
        again = await seen(session, claims(seconds=5, email="other@example.org"))
        assert again.user_id == first.user_id
        assert (await session.get_one(User, first.user_id)).email == "ada@example.org"

    async def test_an_address_that_nobody_vouches_for_makes_nobody(self, session: AsyncSession, root: Actor) -> None:
        with pytest.raises(NotOfIssuer, match="does not vouch for your address"):
            await seen(session, claims(email=None))
        assert (await session.scalars(select(UserIdentity))).all() == []

    async def test_an_address_of_another_subject_is_refused(self, session: AsyncSession, root: Actor) -> None:
        await seen(session, claims())
        with pytest.raises(NotOfIssuer, match="belongs to somebody else"):
            await seen(session, claims(subject="sub-eve"))
        assert (await session.scalars(select(UserIdentity.subject))).all() == ["sub-ada"]

    async def test_a_rival_who_met_them_first_wins(
        self, session: AsyncSession, root: Actor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from guildhall.organisation import identities as module  # noqa: PLC0415 -- only here its parts are replaced

        person = await seen(session, claims())
        real, looks = module._locked, []

        async def blind_once(where: AsyncSession, found: Claims) -> UserIdentity | None:
            looks.append(found)
            return None if len(looks) == 1 else await real(where, found)

        monkeypatch.setattr(module, "_locked", blind_once)
        assert (await seen(session, claims(seconds=1))).user_id == person.user_id
        assert len(await events(session, "guildhall:user:change")) == 1


class TestGroups:
    async def test_they_give_roles_and_take_them_away(self, session: AsyncSession, root: Actor) -> None:
        await map_group(session, root, "printers", "maintainer")
        await map_group(session, root, "printers", "viewer")
        await map_group(session, root, "watchers", "auditor", None)
        person = await seen(session, claims("printers", "watchers", "unmapped"))
        assert await roles(session, person.user_id) == [
            (None, "auditor", "GROUP"), ("press", "maintainer", "GROUP"), ("press", "viewer", "GROUP"),
        ]  # fmt: skip
        await seen(session, claims("watchers", seconds=1))
        assert await roles(session, person.user_id) == [(None, "auditor", "GROUP")]
        event = (await events(session, "guildhall:role:bind"))[-1]
        assert event.on_behalf_of_id == person.user_id
        assert event.before is not None
        assert event.after == {"groupRoles": ["auditor"]}
        assert len(event.before["groupRoles"]) == 3

    async def test_what_is_said_again_changes_and_records_nothing(self, session: AsyncSession, root: Actor) -> None:
        await map_group(session, root, "printers", "maintainer")
        await seen(session, claims("printers"))
        recorded = len(await events(session, "guildhall:role:bind"))
        await seen(session, claims("printers"))
        await seen(session, claims("printers", seconds=1))
        assert len(await events(session, "guildhall:role:bind")) == recorded

    async def test_an_older_token_brings_nothing_back(self, session: AsyncSession, root: Actor) -> None:
        await map_group(session, root, "printers", "maintainer")
        person = await seen(session, claims("printers"))
        await seen(session, claims(seconds=1))
        await seen(session, claims("printers"))
        assert await roles(session, person.user_id) == []

    async def test_of_the_same_second_only_what_both_say(self, session: AsyncSession, root: Actor) -> None:
        await map_group(session, root, "a", "viewer")
        await map_group(session, root, "b", "maintainer")
        person = await seen(session, claims("a"))
        await seen(session, claims("a", "b"))
        assert await roles(session, person.user_id) == [("press", "viewer", "GROUP")]
        await seen(session, claims("b"))
        assert await roles(session, person.user_id) == []

    async def test_what_was_given_by_hand_stays(self, session: AsyncSession, root: Actor) -> None:
        await map_group(session, root, "printers", "maintainer")
        team = (await session.scalars(select(Team.id))).one()
        known = await make_user(session, "ada", roles={"maintainer": [team]})
        await seen(session, claims("printers"))
        assert await roles(session, known) == [("press", "maintainer", "GROUP"), ("press", "maintainer", "HAND")]
        await seen(session, claims(seconds=1))
        assert await roles(session, known) == [("press", "maintainer", "HAND")]

    async def test_the_last_administrator_stays_one(
        self, session: AsyncSession, root: Actor, caplog: pytest.LogCaptureFixture
    ) -> None:
        await map_group(session, root, "governors", "administrator", None)
        person = await seen(session, claims("governors"))
        user = await session.get_one(User, root.id)
        user.deactivated_at = AT
        await session.flush()
        await seen(session, claims(seconds=1))
        assert await roles(session, person.user_id) == [(None, "administrator", "GROUP")]
        assert "stays one: there is no other" in caplog.text


class TestMapping:
    async def test_a_change_is_in_force_for_those_who_were_seen(self, session: AsyncSession, root: Actor) -> None:
        person = await seen(session, claims("printers"))
        other = await seen(session, claims("others", name="bob"))
        key = await map_group(session, root, " printers ", "maintainer")
        assert await map_group(session, root, "printers", "maintainer") == key
        assert await roles(session, person.user_id) == [("press", "maintainer", "GROUP")]
        assert await roles(session, other.user_id) == []
        await remove_group_mapping(session, root, key, at=AT, new_id=new_id)
        assert await roles(session, person.user_id) == []
        told = [(event.before, event.after) for event in await events(session, "guildhall:group:map")]
        assert told[0] == (None, {"group": "printers", "team": "press", "role": "maintainer"})
        assert told[1][0] is not None
        assert (told[1][0]["group"], told[1][1]) == ("printers", None)

    async def test_a_role_by_two_groups_goes_with_the_second(self, session: AsyncSession, root: Actor) -> None:
        person = await seen(session, claims("a", "b"))
        first = await map_group(session, root, "a", "viewer")
        await map_group(session, root, "b", "viewer")
        await remove_group_mapping(session, root, first, at=AT, new_id=new_id)
        assert await roles(session, person.user_id) == [("press", "viewer", "GROUP")]

    @pytest.mark.parametrize(
        ("given", "code"),
        [
            ({"group": " "}, "INVALID_TEXT"),
            ({"team": "nowhere"}, "UNKNOWN_TEAM"),
            ({"role": "member"}, "UNKNOWN_ROLE"),
            ({"role": "king"}, "UNKNOWN_ROLE"),
        ],
    )
    async def test_what_is_wrong_is_told(
        self, session: AsyncSession, root: Actor, given: dict[str, str], code: str
    ) -> None:
        with pytest.raises(InvalidInput) as refusal:
            await map_group(session, root, **{"group": "g", "role": "viewer", "team": "press", **given})
        assert [problem.code for problem in refusal.value.problems] == [code]

    async def test_who_gives_no_roles_maps_no_groups(self, session: AsyncSession, root: Actor) -> None:
        team = (await session.scalars(select(Team.id))).one()
        key = await map_group(session, root, "g", "viewer")
        nobody = await actor_of(session, await make_user(session, "nora", roles={"maintainer": [team]}))
        with pytest.raises(Exception, match="guildhall:group:map"):
            await map_group(session, nobody, "g", "maintainer")
        with pytest.raises(UnknownMapping):
            await remove_group_mapping(session, nobody, key, at=AT, new_id=new_id, field="groupMappingId")
        with pytest.raises(UnknownMapping):
            await remove_group_mapping(session, root, new_id(), at=AT, new_id=new_id)

    async def test_the_mapping_of_the_last_administrators_stays(self, session: AsyncSession, root: Actor) -> None:
        key = await map_group(session, root, "governors", "administrator", None)
        await seen(session, claims("governors"))
        user = await session.get_one(User, root.id)
        user.deactivated_at = AT
        await session.flush()
        with pytest.raises(LastAdministrator):
            async with session.begin_nested():
                await remove_group_mapping(session, root, key, at=AT, new_id=new_id)


class TestAdmitToken:
    async def admit(
        self, session: AsyncSession, found: Claims, text: bytes = b"t", at: datetime = AT, signed: bytes | None = None
    ) -> None:
        await admit_token(
            session, found, digest=text.ljust(32, b"."), signed=signed or text, expires_at=found.expires_at,
            request=REQUEST, at=at, new_id=new_id,
        )  # fmt: skip

    async def test_it_is_known_until_its_end(self, session: AsyncSession, root: Actor) -> None:
        await self.admit(session, claims())
        await self.admit(session, claims())
        (token,) = await session.scalars(select(Token))
        assert (token.origin, token.label, token.expires_at) == ("ISSUER", f"from {ISSUER}", claims().expires_at)

    async def test_ended_ones_are_swept_away_a_day_later(self, session: AsyncSession, root: Actor) -> None:
        """A download that began with one may outlast it, and asks whether it was withdrawn."""
        await self.admit(session, claims())
        hashes = select(Token.hash).order_by(Token.created_at)
        for text, late, kept in (
            (b"u", timedelta(hours=1), [b"t", b"u"]),
            (b"v", KEPT_AFTER_END + timedelta(minutes=30), [b"u", b"v"]),
        ):
            await self.admit(session, claims(seconds=int(late.total_seconds())), text, AT + late)
            assert (await session.scalars(hashes)).all() == [each.ljust(32, b".") for each in kept]

    async def test_a_withdrawn_one_does_not_come_back_in_another_spelling(
        self, session: AsyncSession, root: Actor
    ) -> None:
        await self.admit(session, claims(), b"t", signed=b"same")
        await session.execute(update(Token).values(revoked_at=AT))
        with pytest.raises(NotOfIssuer, match="was withdrawn"):
            await self.admit(session, claims(), b"u", signed=b"same")
        assert (await session.scalars(select(Token.hash))).all() == [b"t".ljust(32, b".")]
        await self.admit(session, claims(seconds=1), b"v")

    async def test_one_from_before_signing_out_everywhere(self, session: AsyncSession, root: Actor) -> None:
        person = await seen(session, claims())
        await sign_out_before(session, person.user_id, at=AT + timedelta(seconds=10))
        with pytest.raises(NotOfIssuer, match="before you signed out everywhere"):
            await self.admit(session, claims(seconds=10))
        await self.admit(session, claims(seconds=11))


class TestEndTokensOfOtherKeys:
    async def test_those_end_whose_key_is_gone(self, session: AsyncSession, root: Actor) -> None:
        async def admit(text: bytes, found: Claims) -> None:
            await admit_token(
                session, found, digest=text.ljust(32, b"."), signed=text, expires_at=found.expires_at, request=REQUEST,
                at=AT, new_id=new_id,
            )  # fmt: skip

        async def ended() -> dict[bytes, datetime | None]:
            rows = await session.execute(select(Token.hash, Token.revoked_at).where(Token.origin == "ISSUER"))
            return {row.hash.rstrip(b"."): row.revoked_at for row in rows}

        for text, key in ((b"gone", "old"), (b"kept", "new"), (b"unknown", None)):
            await admit(text, claims(key=key))
        await admit(b"over", claims(key="old", seconds=-299))
        late = AT + timedelta(seconds=1)
        assert await end_tokens_of_other_keys(session, {"new", "newer"}, at=late, new_id=new_id) == 1
        assert await ended() == {b"gone": late, b"kept": None, b"unknown": None, b"over": None}
        assert await end_tokens_of_other_keys(session, {"new"}, at=late, new_id=new_id) == 0
        (event,) = await events(session, "guildhall:token:revoke")
        (token,) = await session.scalars(select(Token).where(Token.revoked_at.is_not(None)))
        assert event.resource_ids == [token.id, token.subject_id]
        assert event.on_behalf_of_id == token.subject_id
        with pytest.raises(NotOfIssuer, match="was withdrawn"):
            await admit(b"gone", claims(key="new"))
