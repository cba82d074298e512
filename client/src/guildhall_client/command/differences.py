"""What a plan changes, field by field: what a file says beside what is there, as far as the caller may see it."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from guildhall_client.client import Client
from guildhall_client.command.documents import PRESENT_CONFIGURATION

PARTS_BY_KIND = {
    "Team": "teams", "Programme": "programmes", "Period": "periods", "Purpose": "purposes", "Pool": "pools",
    "PriceList": "priceLists",
}  # fmt: skip
"""Kinds whose present state the API tells by name; of the others the plan says that they change, not what."""


class Differences:
    """The present state, asked for once; nothing is asked where nothing is updated."""

    def __init__(self, client: Client, configuration: dict[str, Any], plan: list[dict[str, Any]]) -> None:
        self._given = configuration
        self._present: dict[str, dict[str, Any]] = {}
        if any(change["action"] == "UPDATED" and change["kind"] in PARTS_BY_KIND for change in plan):
            found = client.execute(PRESENT_CONFIGURATION)
            self._present = {part: {row["name"]: row for row in _rows(found[part])} for part in PARTS_BY_KIND.values()}

    def lines(self, change: dict[str, Any]) -> Iterator[str]:
        """A line for each field that is given and not so yet; a list or an object that differs says only that."""
        part = PARTS_BY_KIND.get(change["kind"])
        rows = self._given.get(part) if part else None
        if not part or not isinstance(rows, list):
            return
        given = next((row for row in rows if isinstance(row, dict) and row.get("name") == change["name"]), {})
        present = self._present.get(part, {}).get(change["name"], {})
        for field, value in given.items():
            if field == "name" or (field in present and _same(present[field], value)):
                continue
            told = value if isinstance(value, str | int | float | bool) or value is None else "as in the file"
            if field in present:
                yield f"{field}: {present[field]} → {told}"
            elif change["action"] == "CREATED":
                yield f"{field}: {told}"


def _rows(found: Any) -> list[dict[str, Any]]:  # noqa: ANN401 -- a connection or a list
    if found is None:
        return []
    rows: list[dict[str, Any]] = found["nodes"] if isinstance(found, dict) else found
    return rows


def _same(present: Any, given: Any) -> bool:  # noqa: ANN401 -- any JSON
    """Whether two values mean the same; moments may be written in several ways."""
    if present == given or str(present) == str(given):
        return True
    try:
        return datetime.fromisoformat(str(present)) == datetime.fromisoformat(str(given))
    except (ValueError, TypeError):
        return False
