"""The state machine: which moves are legal, and what a move leaves behind."""

from itertools import product

import pytest

from guildhall.clock import new_id
from guildhall.db.locks import lock_rows
from scheduler.clusters.executor import Reason
from scheduler.jobs.moving import MESSAGE_CHARACTERS_MAX, move
from scheduler.jobs.states import ENDED_STATES, LEGAL_MOVES, JobState
from scheduler.jobs.tables import Job, JobEvent
from tests.scheduler.yard import Yard

RUN_ENDS = {"SUCCEEDED", "FAILED", "CANCELLED", "TIMED_OUT"}
WANT = {
    "QUEUED": {"ADMITTED", "CANCELLED", "EXPIRED"},
    "ADMITTED": {"STARTING", "RUNNING", "STOPPING", "EXPIRED"} | RUN_ENDS,
    "STARTING": {"RUNNING", "STOPPING"} | RUN_ENDS,
    "RUNNING": {"STOPPING"} | RUN_ENDS,
    "STOPPING": RUN_ENDS | {"EXPIRED"},
}


class TestLegalMoves:
    @pytest.mark.parametrize("came_from", JobState)
    def test_table(self, came_from: JobState) -> None:
        assert set(LEGAL_MOVES[came_from]) == WANT.get(came_from, set())

    def test_nothing_leaves_an_end(self) -> None:
        assert not any(LEGAL_MOVES[state] for state in ENDED_STATES)

    def test_every_state_can_be_reached_and_ends(self) -> None:
        reached = {JobState.QUEUED}
        for _, state in product(JobState, JobState):
            if state in reached:
                reached |= LEGAL_MOVES[state]
        assert reached == set(JobState)


class TestMove:
    async def test_leaves_an_event_with_its_reason(self, yard: Yard) -> None:
        job_id = await yard.submit()
        async with yard.database.transaction() as session:
            (job,) = await lock_rows(session, Job, [job_id])
            reason = Reason("WHY", "because " * 500)
            await move(session, job, JobState.ADMITTED, reason, at=yard.clock.now(), new_id=new_id)
        _, event = await yard.rows(JobEvent)
        assert (event.from_state, event.state, event.code) == ("QUEUED", "ADMITTED", "WHY")
        assert len(event.message) == MESSAGE_CHARACTERS_MAX
        assert (await yard.job(job_id)).state_code == "WHY"

    async def test_an_illegal_move_is_a_mistake(self, yard: Yard) -> None:
        job_id = await yard.submit()
        async with yard.database.transaction() as session:
            (job,) = await lock_rows(session, Job, [job_id])
            with pytest.raises(AssertionError, match="a job does not go from QUEUED to SUCCEEDED"):
                await move(session, job, JobState.SUCCEEDED, Reason("X", "x"), at=yard.clock.now(), new_id=new_id)
        assert (await yard.job(job_id)).state == "QUEUED"
