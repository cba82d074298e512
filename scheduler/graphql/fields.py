"""All declarations of the scheduler, for the root."""

from typing import Any

from scheduler.graphql import job_changes, jobs, operations, pools, quotes

TYPES: list[type[Any]] = [*pools.TYPES, *quotes.TYPES, *jobs.TYPES, *job_changes.TYPES, *operations.TYPES]
