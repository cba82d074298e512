"""All declarations of the scheduler, for the root."""

from typing import Any

from scheduler.graphql import clusters, job_changes, jobs, operations, pools, quotes

TYPES: list[type[Any]] = [
    *clusters.TYPES,
    *pools.TYPES,
    *quotes.TYPES,
    *jobs.TYPES,
    *job_changes.TYPES,
    *operations.TYPES,
]
