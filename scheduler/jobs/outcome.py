"""What became of a job: one rule over what the platform saw, what the runner said, and what the job was told."""

from scheduler.clusters.executor import Reason
from scheduler.jobs.states import AttemptState, JobState
from scheduler.jobs.tables import Attempt, Job

CANCELLED = "CANCELLED"
WALLTIME_REACHED = "WALLTIME_REACHED"
PREEMPTED = "PREEMPTED"
NOT_STARTED_IN_TIME = "NOT_STARTED_IN_TIME"


def conclude(job: Job, attempt: Attempt, *, output_ready: bool) -> tuple[JobState, Reason]:
    """The job's end and why. The runner's word counts for success only where the platform saw exit code 0.

    A job that succeeded before a stop reached it has succeeded.
    """
    result = attempt.result or {}
    ended_well = result.get("outcome") == "SUCCEEDED" and attempt.exit_code == 0
    needs_output = job.spec["output"] is not None
    if ended_well and (output_ready or not needs_output):
        return JobState.SUCCEEDED, Reason("SUCCEEDED", "the command ended well")
    if job.stop_code == CANCELLED:
        return JobState.CANCELLED, Reason(CANCELLED, job.stop_message or "cancelled")
    if job.stop_code == NOT_STARTED_IN_TIME and (attempt.started_at is None or attempt.started_at > job.start_by):
        return JobState.EXPIRED, Reason(NOT_STARTED_IN_TIME, job.stop_message or "not started in time")
    if WALLTIME_REACHED in {job.stop_code, attempt.exit_reason_code}:
        message = job.stop_message or attempt.exit_reason_message or "the walltime is over"
        return JobState.TIMED_OUT, Reason(WALLTIME_REACHED, message)
    if job.stop_code is not None:
        return JobState.FAILED, Reason(job.stop_code, job.stop_message or job.stop_code)
    return JobState.FAILED, _why_failed(attempt, result, ended_well=ended_well)


def _why_failed(attempt: Attempt, result: dict[str, object], *, ended_well: bool) -> Reason:
    if attempt.exit_reason_code is not None:
        return Reason(attempt.exit_reason_code, attempt.exit_reason_message or attempt.exit_reason_code)
    if attempt.state == AttemptState.LOST:
        return Reason("LOST", "the cluster does not know it any more")
    if ended_well:
        return Reason("OUTPUT_MISSING", "the command ended well but its output was not registered")
    if result.get("outcome") == "FAILED" and result.get("code"):
        return Reason(str(result["code"]), str(result.get("message") or result["code"]))
    if attempt.exit_code == 0:
        return Reason("RESULT_MISSING", "the runner ended without telling a result")
    if attempt.exit_code is None:
        return Reason("KILLED", "it ended without an exit code")
    return Reason("EXIT_CODE", f"it ended with exit code {attempt.exit_code}")
