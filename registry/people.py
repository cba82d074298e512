"""Finding people by the address that they are known by."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select

from guildhall.auth.tables import User
from guildhall.db.transaction import ReadSession
from guildhall.errors import InvalidInput, Problem


async def find_people(session: ReadSession, emails: Sequence[str], *, field: str) -> list[UUID]:
    """The ids of the active people with these addresses, each once, in order; InvalidInput names each unknown one."""
    wanted = [email.strip().lower() for email in emails]
    statement = select(User.email, User.id).where(User.email.in_(wanted), User.deactivated_at.is_(None))
    found = dict((await session.execute(statement)).all())
    problems = [
        Problem("NOT_FOUND", f"Nobody with the address {email!r} is here.", f"{field}[{number}]")
        for number, email in enumerate(wanted)
        if email not in found
    ]
    if problems:
        raise InvalidInput(problems)
    return list(dict.fromkeys(found[email] for email in wanted))
