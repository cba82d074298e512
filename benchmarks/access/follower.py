"""A process that has the policy in force, as a server does: `python -m benchmarks.access.follower URL SUBJECT deaf?`.

Prints `ready`, then for each version that it first decides with: the version, when (nanoseconds of the machine's
monotonic clock), and whether the person under test held exactly one of the two roles that changes exchange. A deaf one
hears no notices, and asks the database for the version before each decision, as every request does.
"""

import asyncio
import sys
import time
from uuid import UUID

from benchmarks.access.lines import NOW
from guildhall.auth.policies import Policies
from guildhall.auth.policy import PolicySnapshot
from guildhall.auth.policy_reading import read_version
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.db.transaction import connect_database

PAUSE_SECONDS = 0.001


async def follow(url: str, person: UUID, *, deaf: bool) -> None:
    """Until ended."""
    database = connect_database(url, pool_size=2)
    policies = Policies(database)
    watching = None if deaf else asyncio.create_task(policies.watch())
    subject, seen = Subject(ActorKind.USER, person), 0
    while True:
        if deaf or not seen:
            async with database.read() as session:
                version = await read_version(session)
            seen = _tell(await policies.at_version(version, at=NOW), subject, seen)
        else:
            seen = _tell(await policies.at_version(0, at=NOW), subject, seen)
        assert watching is None or not watching.done()
        await asyncio.sleep(PAUSE_SECONDS)


def _tell(policy: PolicySnapshot, subject: Subject, seen: int) -> int:
    if policy.version != seen:
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        whole = len({each.role for each in policy.bindings_of(subject)} & {"role-0", "role-1"}) == 1
        print(policy.version, now, int(whole), "" if seen else "ready", flush=True)
    return policy.version


if __name__ == "__main__":
    asyncio.run(follow(sys.argv[1], UUID(sys.argv[2]), deaf="deaf" in sys.argv[3:]))
