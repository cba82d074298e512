"""Which purposes there are."""

from collections.abc import Sequence

from sqlalchemy import select

from guildhall.db.transaction import ReadSession
from guildhall.errors import Invalid, InvalidInput, Problem
from registry.purposes.tables import Purpose


class UnknownPurpose(Invalid):
    """A purpose that is not on the organisation's list."""

    code = "UNKNOWN_PURPOSE"


async def require_purposes(session: ReadSession, names: Sequence[str], *, field: str) -> list[str]:
    """The purposes, each once, in order; InvalidInput names each that is not on the organisation's list."""
    known = set((await session.scalars(select(Purpose.name).where(Purpose.name.in_(names)))).all())
    problems = [
        Problem(UnknownPurpose.code, f"{name!r} is not on the organisation's list of purposes.", f"{field}[{number}]")
        for number, name in enumerate(names)
        if name not in known
    ]
    if problems:
        raise InvalidInput(problems)
    return sorted(known)


async def require_purpose(session: ReadSession, name: str, *, field: str) -> str:
    """The purpose, or UnknownPurpose about the input's field."""
    if await session.get(Purpose, name) is None:
        raise UnknownPurpose(f"{name!r} is not on the organisation's list of purposes.", field=field)
    return name
