"""The example of verifying a webhook is carried out on messages that were really sent."""

from pathlib import Path
from typing import Any

from guildhall.clock import SystemClock
from guildhall.db.transaction import Database
from tests.docs.pages import blocks
from tests.guildhall.inbox.office import Office
from tests.guildhall.inbox.receivers import receiving


async def test_the_example_verifies_what_is_sent_and_nothing_else(fresh_database: Database, tmp_path: Path) -> None:
    (example,) = [block.text for block in blocks("inbox") if block.kind == "python"]
    page: dict[str, Any] = {}
    exec(compile(example, "inbox.md", "exec"), page)  # noqa: S102 -- ours
    office = await Office(fresh_database, tmp_path).furnish()
    office.clock.advance_to(SystemClock().now())
    async with receiving() as receiver:
        made = await office.register(receiver.url)
        other = await office.register(receiver.url)
        await office.tell()
        await office.send()
    verified = [page["verify"](made.secret, taken.headers, taken.body) for taken in receiver.taken]
    assert sorted(verified) == [False, True]
    taken = receiver.taken[verified.index(True)]
    assert page["verify"](other.secret, taken.headers, taken.body) is False
    assert page["verify"](made.secret, taken.headers, taken.body + b" ") is False
    assert page["verify"](made.secret, taken.headers | {"webhook-timestamp": "1"}, taken.body) is False
