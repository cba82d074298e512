"""The pages as the tests read them: sections, and in each its fenced blocks in order."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.e2e.faults.processes import REPOSITORY

DOCS = REPOSITORY / "docs"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INCLUDE = re.compile(r"^```\{include\} (\S+)\n(?::.*\n)*```$", re.MULTILINE)
_SECTION = re.compile(r"^## (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: in which page and section, of which kind, and its text."""

    page: str
    section: str
    kind: str
    text: str


def pages() -> Sequence[str]:
    """All that people wrote; the reference below `docs/reference` and the records of decisions show no examples."""
    found = [*DOCS.glob("*.md"), *DOCS.glob("roles/*.md")]
    return sorted(path.relative_to(DOCS).with_suffix("").as_posix() for path in found)


def blocks(page: str) -> Iterator[Block]:
    """The examples of a page and of what it includes; what comes before its first section is in the section ""."""
    path = DOCS / f"{page}.md"
    text = _INCLUDE.sub(lambda named: (path.parent / named[1]).read_text("utf-8"), path.read_text(encoding="utf-8"))
    parts = _SECTION.split(text)
    for section, part in zip(["", *parts[1::2]], parts[::2], strict=True):
        for kind, block in _BLOCK.findall(part):
            yield Block(page, section, kind, block)
