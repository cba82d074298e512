"""Decisions, sources and lineage that change at the same moment: whatever comes first, nothing is opened too far."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from guildhall.clock import new_id
from guildhall.db.transaction import WriteSession
from guildhall.errors import GuildhallError
from registry.access.deciding import DecisionKind
from registry.datasets.changing import update_legal_record
from registry.datasets.tables import Classification
from registry.loosening.asking import ask_loosening
from registry.loosening.deciding import SourcesChanged, decide_loosening
from registry.loosening.withdrawing import withdraw_loosening
from tests.registry.estate import LEGAL, Estate
from tests.registry.house import fine_tuned_from, fresh_version
from tests.registry.loosening.loosened import INTERNAL, asked, line, loosened, source

Step = Callable[[WriteSession], Awaitable[object]]


async def line_of(estate: Estate, **given: Any) -> tuple[UUID, UUID]:
    """A data set with two stewards, and a version trained on it."""
    async with estate.database.transaction() as session:
        estate.house.session = session
        dataset_id, data = await source(estate.house, stewards=["mia", "vera"], **given)
        return dataset_id, (await line(estate.house, data))[0]


async def at_once(estate: Estate, *steps: Step) -> list[object]:
    """Each in a transaction of its own; what each gave, or why it was refused."""

    async def run(step: Step) -> object:
        try:
            async with estate.database.transaction() as session:
                return await step(session)
        except GuildhallError as error:
            return error

    return await asyncio.gather(*map(run, steps))


async def classification(estate: Estate, version_id: UUID) -> str:
    async with estate.database.read() as session:
        return (await fresh_version(session, version_id)).effective_classification


def approval(estate: Estate, loosening_id: UUID, by: str) -> Step:
    return lambda session: decide_loosening(
        session, estate.actor(by), loosening_id=loosening_id, decision=DecisionKind.APPROVE, reason=None,
        at=estate.clock.now(), new_id=new_id,
    )  # fmt: skip


async def pending(estate: Estate, version_id: UUID) -> UUID:
    async with estate.database.transaction() as session:
        estate.house.session = session
        return await asked(estate.house, version_id)


async def test_two_stewards_at_once_are_two(estate: Estate) -> None:
    _, version_id = await line_of(estate, classification=Classification.RESTRICTED)
    loosening_id = await pending(estate, version_id)
    done = await at_once(estate, *(approval(estate, loosening_id, by) for by in ("mia", "vera")))
    assert done == [loosening_id, loosening_id]
    assert await classification(estate, version_id) == "INTERNAL"


async def test_a_source_that_becomes_stricter_meanwhile_restricts(estate: Estate) -> None:
    dataset_id, version_id = await line_of(estate)
    loosening_id = await pending(estate, version_id)
    decided, changed = await at_once(
        estate,
        approval(estate, loosening_id, "mia"),
        lambda session: update_legal_record(
            session, estate.actor("mia"), dataset_id=dataset_id, classification=Classification.RESTRICTED,
            legal=replace(LEGAL), at=estate.clock.now(), new_id=new_id,
        ),
    )  # fmt: skip
    assert decided == loosening_id or isinstance(decided, SourcesChanged)
    assert changed == [version_id] or isinstance(changed, list)
    assert await classification(estate, version_id) == "RESTRICTED"


async def test_what_is_made_from_it_while_it_is_withdrawn_is_restricted(estate: Estate) -> None:
    _, version_id = await line_of(estate)
    async with estate.database.transaction() as session:
        estate.house.session = session
        loosening_id = await loosened(estate.house, version_id)
        model_id = await estate.house.model("later")

    async def make(session: WriteSession) -> UUID:
        estate.house.session = session
        return await estate.house.version(model_id, sources=[fine_tuned_from(version_id)])

    made, withdrawn = await at_once(
        estate,
        make,
        lambda session: withdraw_loosening(
            session, estate.actor("mia"), loosening_id=loosening_id, reason="A mistake.", at=estate.clock.now(),
            new_id=new_id,
        ),
    )  # fmt: skip
    assert withdrawn == loosening_id
    assert isinstance(made, UUID)
    assert [await classification(estate, each) for each in (version_id, made)] == ["CONFIDENTIAL"] * 2


async def test_two_who_ask_at_once_ask_once(estate: Estate) -> None:
    _, version_id = await line_of(estate)
    done = await at_once(
        estate,
        *[
            lambda session: ask_loosening(
                session, estate.actor("anna"), model_version_id=version_id, wanted=INTERNAL, justification="Sums.",
                at=estate.clock.now(), new_id=new_id,
            )
        ] * 2,
    )  # fmt: skip
    assert sorted(type(each).__name__ for each in done) == ["AlreadyAsked", "UUID"]
