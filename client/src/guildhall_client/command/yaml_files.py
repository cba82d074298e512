"""Files that people write for the command, in YAML."""

import json
from pathlib import Path
from typing import Any

import yaml

from guildhall_client.command.exits import CommandFailed, Exit

BYTES_MAX = 4 * 1024**2


class _Loader(yaml.SafeLoader):
    """Moments and days stay texts: the server reads them, and says what is wrong with one."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_mapping(path: Path) -> dict[str, Any]:
    """The one mapping of a file; raises `CommandFailed` that names the line."""
    found = _load(path)
    if not isinstance(found, dict):
        raise CommandFailed(f"{path} must hold names and values, as `teams: …`.", Exit.USAGE)
    return {str(name): value for name, value in found.items()}


def load_list(path: Path) -> list[Any]:
    """The one list of a file; raises `CommandFailed` that names the line."""
    found = _load(path)
    if not isinstance(found, list):
        raise CommandFailed(f"{path} must hold a list, with `- ` before each entry.", Exit.USAGE)
    return found


def _load(path: Path) -> Any:  # noqa: ANN401 -- any YAML
    if path.stat().st_size > BYTES_MAX:
        raise CommandFailed(f"{path} has more than {BYTES_MAX} bytes; is it the right file?", Exit.USAGE)
    try:
        found = yaml.load(path.read_bytes(), _Loader)  # noqa: S506 -- a subclass of the safe loader
        json.dumps(found, allow_nan=False)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise CommandFailed(f"{path}, line {line}: {error.problem or 'this is no YAML'}.", Exit.USAGE) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise CommandFailed(f"{path} is no YAML.", Exit.USAGE) from None
    except (ValueError, TypeError) as error:
        what = "texts, numbers, true, false, null, lists, and mappings of texts"
        raise CommandFailed(f"{path} holds what is none of {what}: {error}.", Exit.USAGE) from None
    return found
