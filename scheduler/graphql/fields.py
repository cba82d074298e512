"""All declarations of the scheduler, for the root."""

from typing import Any

from scheduler.graphql import jobs, operations, pools, quotes

TYPES: list[type[Any]] = [*pools.TYPES, *quotes.TYPES, *jobs.TYPES, *operations.TYPES]
