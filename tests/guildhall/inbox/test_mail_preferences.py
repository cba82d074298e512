"""Mail is one's own to want, and no program's."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from guildhall.audit.tables import AuditEvent
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.subjects import ActorKind
from guildhall.clock import new_id
from guildhall.inbox.mail_preferences import MailWanted, mail_wanted, update_inbox_settings
from guildhall.inbox.tables import InboxSettings
from tests.guildhall.inbox.office import Office


class TestUpdateInboxSettings:
    async def test_nobody_gets_mail_who_has_not_asked(self, office: Office) -> None:
        actor = await office.actor("vera")
        for wanted in (MailWanted.ALL, MailWanted.NONE):
            async with office.database.transaction() as session:
                before = await mail_wanted(session, actor)
                await update_inbox_settings(session, actor, mail=wanted, at=office.clock.now(), new_id=new_id)
                assert (before, await mail_wanted(session, actor)) != (wanted, before)
        async with office.database.read() as session:
            events = (await session.scalars(select(AuditEvent).order_by(AuditEvent.id))).all()
        assert [(each.before, each.after) for each in events] == [
            ({"mail": "NONE"}, {"mail": "ALL"}),
            ({"mail": "ALL"}, {"mail": "NONE"}),
        ]

    async def test_a_program_has_no_inbox(self, office: Office) -> None:
        person = await office.actor("vera")
        program = replace(person, kind=ActorKind.SERVICE_ACCOUNT)
        with pytest.raises(PermissionRefused):
            async with office.database.transaction() as session:
                await update_inbox_settings(session, program, mail=MailWanted.ALL, at=office.clock.now(), new_id=new_id)
        async with office.database.read() as session:
            assert (await session.scalars(select(InboxSettings))).all() == []
