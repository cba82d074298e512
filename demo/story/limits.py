"""Chapter 7: what the marketplace refuses, stops and makes wait."""

import time
from typing import Any

from demo.world import World
from guildhall_client.errors import MutationRefused

TEAM = "maintenance"
PROGRAMME = "zero-defects"
SHORT_SECONDS = 3
FOLLOW_SECONDS_MAX = 60


def run_out_of_credits(world: World) -> None:
    """A job that the wallet cannot pay is refused at the quote, with the sum that is missing."""
    world.narrator.chapter("7  Limits")
    with world.narrator.step(
        "Milan (Maintenance)", "asks for two H100 for an hour from the Tinkering programme"
    ) as step:
        try:
            world.quote(
                "milan",
                TEAM,
                "tinkering",
                **waiting_job(world, "too-dear", 3_600, per_node={"accelerator": "sim-h100", "acceleratorCount": 2}),
            )
        except MutationRefused as refused:
            world.facts["too_dear"] = refused.problems[0]
            step.said = f"refused: {refused.problems[0].message}"
        step.recorded = world.recorded()


def run_over_walltime(world: World) -> None:
    """A job over its walltime is stopped and pays for what it used."""
    with world.narrator.step("Milan", f"runs a job past its walltime of {SHORT_SECONDS} seconds") as step:
        quote = world.quote("milan", TEAM, PROGRAMME, **waiting_job(world, "overdue", SHORT_SECONDS))
        job = world.follow("milan", world.accept("milan", quote), step, SHORT_SECONDS * 3)
        world.facts["overdue"] = {"job": job, "hold": quote["hold"]}
        step.said = f"{job['state']}: {job['stateReason']['message']}"
        step.recorded = world.recorded()


def cancel(world: World) -> None:
    """A cancelled job pays for its interval only."""
    with world.narrator.step("Milan", "starts a job and cancels it") as step:
        quote = world.quote("milan", TEAM, PROGRAMME, **waiting_job(world, "cancelled", 600))
        job_id = world.accept("milan", quote)
        _until(world, job_id, {"RUNNING"})
        world.change("milan", "CancelJob", jobId=job_id, reason="the camera was pointed at the wall")
        job = world.follow("milan", job_id, step, 60)
        world.facts["cancelled"] = {"job": job, "hold": quote["hold"]}
        step.said = f"{job['state']}: {job['stateReason']['message']}"
        step.recorded = world.recorded()


def wait_in_line(world: World) -> None:
    """Two jobs that both fit alone but not together: one waits, and says why and until when."""
    both = {"accelerator": "sim-a10", "acceleratorCount": 2}
    with world.narrator.step("Milan", "starts two jobs that need both A10 each") as step:
        job_ids = []
        # The first is longer: until it ends the second is seen to wait, on a slow machine too.
        for name, seconds in (("first-in-line", 6), ("second-in-line", 2)):
            job = waiting_job(world, name, seconds + 6, per_node=both, seconds=seconds)
            quote = world.quote("milan", TEAM, PROGRAMME, **job)
            job_ids.append(world.accept("milan", quote))
        _until(world, job_ids[0], {"STARTING", "RUNNING"})
        waiting = _until_waiting(world, job_ids[1])
        world.facts["waiting"] = waiting
        step.said = f"{waiting['name']} waits: {waiting['stateReason']['message']}"
        step.recorded = world.recorded()
    with world.narrator.step("Milan", "sees them run one after the other") as step:
        jobs = [world.follow("milan", job_id, step, 20) for job_id in job_ids]
        world.facts["in_line"] = jobs
        step.cost = f"charged {' and '.join(job['charge']['captured'] for job in jobs)} credits"
        step.said = " and ".join(job["state"] for job in jobs)
        step.recorded = world.recorded()


def waiting_job(world: World, name: str, walltime_seconds: int, *, seconds: int = 600, **more: Any) -> dict[str, Any]:
    """A job that only holds its slots."""
    return {
        "name": name,
        "command": ["python", "wait.py", str(seconds)],
        "source": {"packageId": world.ids["package"]},
        "walltimeSeconds": walltime_seconds,
        **more,
    }


def _until(world: World, job_id: str, states: set[str]) -> dict[str, Any]:
    ends_at = time.monotonic() + FOLLOW_SECONDS_MAX
    while True:
        job: dict[str, Any] = world.ask("milan", "JobPage", id=job_id)["node"]
        if job["state"] in states:
            return job
        if time.monotonic() > ends_at or job["state"] in {"FAILED", "EXPIRED", "CANCELLED", "TIMED_OUT"}:
            raise RuntimeError(f"{job['name']} is {job['state']}: {job['stateReason']['message']}")
        time.sleep(0.2)


def _until_waiting(world: World, job_id: str) -> dict[str, Any]:
    """The scheduler says why at its next look; until then the reason is that it was just queued."""
    ends_at = time.monotonic() + FOLLOW_SECONDS_MAX
    while True:
        job = _until(world, job_id, {"QUEUED"})
        if job["stateReason"]["code"].startswith("WAITING") and job["predictedStart"]:
            return job
        if time.monotonic() > ends_at:
            raise RuntimeError(f"{job['name']} does not say why it waits: {job['stateReason']}")
        time.sleep(0.2)
