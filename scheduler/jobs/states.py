"""The states of jobs and attempts, and the table of legal moves between them.

A job that has ended is settled: its last move and its money are one transaction. Until then it is RUNNING or STOPPING,
however long ago its process ended. QUEUED waits and says for what; ADMITTED has its accelerators and is to be launched;
STARTING was launched; STOPPING was told to end.
"""

from enum import StrEnum


class JobState(StrEnum):
    """Where a job is on its way; the last five are ends."""

    QUEUED = "QUEUED"
    ADMITTED = "ADMITTED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"
    EXPIRED = "EXPIRED"


class AttemptState(StrEnum):
    """ADMITTED until launched; ENDED and LOST once the platform said so, REFUSED where it never started."""

    ADMITTED = "ADMITTED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    ENDED = "ENDED"
    LOST = "LOST"
    REFUSED = "REFUSED"


ENDED_STATES = frozenset(
    {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.TIMED_OUT, JobState.EXPIRED}
)
ON_CLUSTER_STATES = frozenset({JobState.ADMITTED, JobState.STARTING, JobState.RUNNING, JobState.STOPPING})
LIVE_ATTEMPT_STATES = frozenset({AttemptState.ADMITTED, AttemptState.STARTING, AttemptState.RUNNING})

_RUN_ENDS = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.TIMED_OUT})

LEGAL_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.ADMITTED, JobState.CANCELLED, JobState.EXPIRED}),
    # Launched and told to end before the launch was known: the platform may already run what we believe to be ADMITTED.
    JobState.ADMITTED: _RUN_ENDS | {JobState.STARTING, JobState.RUNNING, JobState.STOPPING, JobState.EXPIRED},
    JobState.STARTING: frozenset({JobState.RUNNING, JobState.STOPPING}) | _RUN_ENDS,
    JobState.RUNNING: frozenset({JobState.STOPPING}) | _RUN_ENDS,
    # What was launched and then not started by its latest start is stopped first, because a cluster may have it.
    JobState.STOPPING: _RUN_ENDS | {JobState.EXPIRED},
    **{state: frozenset[JobState]() for state in ENDED_STATES},
}
