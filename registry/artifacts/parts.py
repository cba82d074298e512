"""Into which parts a file is cut on its way in.

Each part costs a request and a commit, during which the next one waits; each part that is cut off is sent anew.
"""

PARTS_MAX = 10_000
PARTS_WANTED = 32
PART_BYTES_WANTED_MAX = 32 * 1024 * 1024
"""What may have to be sent anew, as long as there need not be more than PARTS_MAX parts."""
STEP_BYTES = 1024 * 1024


def part_bytes_of(file_bytes: int, *, least_bytes: int) -> int:
    """How many bytes a part of a file of this size may have: `least_bytes`, or more where it is a large file."""
    wanted = max(min(file_bytes // PARTS_WANTED, PART_BYTES_WANTED_MAX), -(-file_bytes // PARTS_MAX))
    return least_bytes if wanted <= least_bytes else -(-wanted // STEP_BYTES) * STEP_BYTES


def part_bytes_begun(file_bytes: int, *, least_bytes: int, first_bytes: int | None) -> int:
    """How many bytes the parts to come have: as many as the first one that is there, so that they fit behind it.

    A server may have taken smaller parts when it came. None: nothing has come.
    """
    most = part_bytes_of(file_bytes, least_bytes=least_bytes)
    if first_bytes and -(-file_bytes // PARTS_MAX) <= first_bytes <= most:
        return first_bytes
    return most
