"""What is wrong with a job by itself, before anything is looked up: each problem with the path of the input."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from guildhall.errors import Problem
from scheduler.images import image_problem
from scheduler.jobs.spec import InputSpec, JobSpec

NAME_CHARACTERS_MAX = 200
COMMAND_ARGUMENTS_MAX = 200
ARGUMENT_CHARACTERS_MAX = 8_192
INPUTS_MAX = 50
PATH_CHARACTERS_MAX = 500
NODES_MAX = 1_000
ACCELERATORS_PER_NODE_MAX = 64
CPU_MAX = 4_096
BYTES_MAX = 2**50
WALLTIME_SECONDS_MAX = 30 * 24 * 3_600
START_BY_MAX = timedelta(days=30)
START_BY_DEFAULT = timedelta(hours=24)
ENVIRONMENT_VARIABLES_MAX = 200
ENVIRONMENT_VALUE_CHARACTERS_MAX = 32_768
RESERVED_PREFIX = "GUILDHALL_"
RESERVED_FOLDERS = frozenset({".guildhall", ".tmp", ".package"})

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")


def spec_problems(spec: JobSpec, *, at: datetime) -> list[Problem]:
    """All problems at once, so that a caller mends them in one go."""
    return [
        *_name_and_command(spec),
        *_source(spec),
        *_paths(spec),
        *_size(spec),
        *_times(spec, at),
        *_environment(spec.environment),
    ]


def _name_and_command(spec: JobSpec) -> Iterator[Problem]:
    if not spec.name.strip() or len(spec.name) > NAME_CHARACTERS_MAX or not spec.name.isprintable():
        yield _invalid("name", f"A job has a name of 1 to {NAME_CHARACTERS_MAX} characters on one line.")
    if not spec.command or not spec.command[0].strip():
        yield _invalid("command", 'Say what to run, as a list of words: ["python", "train.py"].')
    if len(spec.command) > COMMAND_ARGUMENTS_MAX:
        yield _invalid("command", f"A command has at most {COMMAND_ARGUMENTS_MAX} words.")
    for index, word in enumerate(spec.command):
        if len(word) > ARGUMENT_CHARACTERS_MAX or "\0" in word:
            message = f"A word of a command has at most {ARGUMENT_CHARACTERS_MAX} characters, none of them null."
            yield _invalid(f"command[{index}]", message)


def _source(spec: JobSpec) -> Iterator[Problem]:
    problem = None if spec.image is None else image_problem(spec.image)
    if problem is not None:
        yield Problem("INVALID_IMAGE", problem, "job.source.image")


def _paths(spec: JobSpec) -> Iterator[Problem]:
    if len(spec.inputs) > INPUTS_MAX:
        yield _invalid("inputs", f"A job has at most {INPUTS_MAX} inputs.")
    taken: list[tuple[str, tuple[str, ...]]] = []
    places = [(f"inputs[{index}].mountPath", each.mount_path) for index, each in enumerate(spec.inputs)]
    if spec.output is not None:
        places.append(("output.path", spec.output.path))
    for field, path in places:
        problem = _path_problem(path)
        if problem is not None:
            yield _invalid(field, problem)
            continue
        parts = path_parts(path)
        for other, other_parts in taken:
            shorter = min(len(parts), len(other_parts))
            if parts[:shorter] == other_parts[:shorter]:
                yield _invalid(
                    field, f"{path} lies in the same place as job.{other}: choose folders beside each other."
                )
                break
        taken.append((field, parts))
    yield from _purposes(spec.inputs)


def path_parts(path: str) -> tuple[str, ...]:
    """The folders of a path; whether or not it begins with a slash, it is rooted at the workspace."""
    return tuple(part for part in PurePosixPath(path).parts if part not in {"/", "."})


def _path_problem(path: str) -> str | None:
    parts = path_parts(path)
    if not parts or len(path) > PATH_CHARACTERS_MAX or not path.isprintable():
        return f"Say where in the workspace, in 1 to {PATH_CHARACTERS_MAX} characters."
    if ".." in parts:
        return f"{path} leaves the workspace."
    if parts[0] in RESERVED_FOLDERS:
        return f"{parts[0]} is the runner's own folder: choose another."
    return None


def _purposes(inputs: Sequence[InputSpec]) -> Iterator[Problem]:
    for index, each in enumerate(inputs):
        if not each.purpose.strip():
            yield _invalid(f"inputs[{index}].purpose", "Say what the input is used for: the name of a purpose.")


def _size(spec: JobSpec) -> Iterator[Problem]:
    node = spec.per_node
    if not 1 <= spec.nodes <= NODES_MAX:
        yield _invalid("nodes", f"A job has 1 to {NODES_MAX} nodes.")
    if not 1 <= node.accelerator_count <= ACCELERATORS_PER_NODE_MAX:
        message = f"A node of a job has 1 to {ACCELERATORS_PER_NODE_MAX} accelerators."
        yield _invalid("perNode.acceleratorCount", message)
    if node.cpu is not None and not 0 < node.cpu <= CPU_MAX:
        yield _invalid("perNode.cpu", f"A node has more than 0 and at most {CPU_MAX} cores.")
    for field, value in (("memoryBytes", node.memory_bytes), ("diskBytes", node.disk_bytes)):
        if value is not None and not 0 < value <= BYTES_MAX:
            yield _invalid(f"perNode.{field}", f"Ask for more than 0 and at most {BYTES_MAX} bytes.")


def _times(spec: JobSpec, at: datetime) -> Iterator[Problem]:
    if not 1 <= spec.walltime_seconds <= WALLTIME_SECONDS_MAX:
        message = f"The walltime is 1 to {WALLTIME_SECONDS_MAX} seconds; the job is ended when it is over."
        yield Problem("WALLTIME_OUT_OF_RANGE", message, "job.walltimeSeconds")
    if spec.start_by <= at:
        yield Problem("START_BY_PAST", f"{spec.start_by:%Y-%m-%d %H:%M} UTC is not in the future.", "job.startBy")
    elif spec.start_by > at + START_BY_MAX:
        message = f"The latest start lies at most {START_BY_MAX.days} days ahead."
        yield Problem("START_BY_TOO_FAR", message, "job.startBy")


def _environment(variables: Sequence[tuple[str, str]]) -> Iterator[Problem]:
    if len(variables) > ENVIRONMENT_VARIABLES_MAX:
        yield _invalid("environment", f"A job sets at most {ENVIRONMENT_VARIABLES_MAX} variables.")
    names: set[str] = set()
    for index, (name, value) in enumerate(variables):
        field = f"environment[{index}]"
        if not _VARIABLE.fullmatch(name):
            yield _invalid(f"{field}.name", "A variable's name has letters, digits and _, and no digit at first.")
        elif name.upper().startswith(RESERVED_PREFIX):
            yield _invalid(f"{field}.name", f"Names that begin with {RESERVED_PREFIX} are the platform's own.")
        elif name in names:
            yield _invalid(f"{field}.name", f"{name} is set twice.")
        if len(value) > ENVIRONMENT_VALUE_CHARACTERS_MAX or "\0" in value:
            message = f"A value has at most {ENVIRONMENT_VALUE_CHARACTERS_MAX} characters, none of them null."
            yield _invalid(f"{field}.value", message)
        names.add(name)


def _invalid(field: str, message: str) -> Problem:
    return Problem("INVALID_INPUT", message, f"job.{field}")
