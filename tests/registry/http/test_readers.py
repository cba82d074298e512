"""A few reads of one reader are decided at once; the others of theirs wait in order, and nobody else does."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from guildhall.auth.actor import Actor, system_actor
from guildhall.auth.subjects import ActorKind
from guildhall.clock import new_id
from guildhall.errors import RateLimited
from registry.http import readers as module
from registry.http.readers import AT_ONCE_MAX, Readers


def caller(kind: ActorKind, **given: Any) -> Actor:
    return replace(system_actor("tests"), kind=kind, id=new_id(), **given)


class Reading:
    """Reads that are being decided until they are told to go on."""

    def __init__(self) -> None:
        self.readers = Readers()
        self.inside: list[int] = []
        self.go_on = asyncio.Event()

    async def decide(self, actor: Actor, number: int) -> None:
        async with self.readers.turn(actor):
            self.inside.append(number)
            await self.go_on.wait()

    async def begin(self, actor: Actor, *numbers: int) -> list["asyncio.Task[None]"]:
        tasks = [asyncio.create_task(self.decide(actor, number)) for number in numbers]
        await asyncio.sleep(0)
        return tasks

    async def end(self, *tasks: "asyncio.Task[None]") -> None:
        self.go_on.set()
        await asyncio.gather(*tasks)


class TestTurn:
    async def test_a_few_of_one_reader_and_the_others_in_their_order(self) -> None:
        reading, ada, ben = Reading(), caller(ActorKind.USER), caller(ActorKind.USER)
        numbers = range(AT_ONCE_MAX + 2)
        tasks = await reading.begin(ada, *numbers)
        assert reading.inside == [*range(AT_ONCE_MAX)]
        tasks += await reading.begin(ben, 100)
        assert reading.inside == [*range(AT_ONCE_MAX), 100]
        await reading.end(*tasks)
        assert reading.inside == [*range(AT_ONCE_MAX), 100, *numbers[AT_ONCE_MAX:]]

    async def test_a_person_and_their_jobs_are_one_and_so_are_the_programs_of_a_team(self) -> None:
        ada, team = caller(ActorKind.USER), new_id()
        job = caller(ActorKind.JOB, on_behalf_of=ada.id, team_id=team)
        programs = [caller(ActorKind.SERVICE_ACCOUNT, team_id=team) for _ in range(2)]
        for first, second in ((ada, job), programs):
            reading = Reading()
            tasks = await reading.begin(first, *range(AT_ONCE_MAX))
            tasks += await reading.begin(second, AT_ONCE_MAX)
            assert reading.inside == [*range(AT_ONCE_MAX)]
            await reading.end(*tasks)

    async def test_who_waits_too_long_is_told_and_takes_no_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reading, ada = Reading(), caller(ActorKind.USER)
        tasks = await reading.begin(ada, *range(AT_ONCE_MAX))
        monkeypatch.setattr(module, "WAIT_SECONDS_MAX", 0)
        with pytest.raises(RateLimited, match=r"did not come to its turn within 0 seconds\. Ask for it again") as told:
            await reading.decide(ada, AT_ONCE_MAX)
        assert told.value.retry_after_seconds == 1
        await reading.end(*tasks)
        await reading.decide(ada, AT_ONCE_MAX)
        assert reading.inside == [*range(AT_ONCE_MAX + 1)]

    async def test_one_that_fails_gives_its_place_back_and_nobody_is_kept(self) -> None:
        readers, ada = Readers(), caller(ActorKind.USER)
        for _ in range(AT_ONCE_MAX + 1):
            with pytest.raises(KeyError):
                async with readers.turn(ada):
                    raise KeyError
        assert readers._queues == {}
