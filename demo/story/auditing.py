"""Chapter 8: the auditor asks who read the data; finance balances to the micro-credit."""

from decimal import Decimal
from typing import Any

from demo.world import World

COLUMNS = ("allocated", "received", "captured", "held", "expired", "returned", "sent", "remaining")
ROWS_SHOWN_MAX = 10


def who_read_it(world: World) -> None:
    """A row for every read of the data set, allowed and refused."""
    world.narrator.chapter("8  The record")
    with world.narrator.step("Audrey (auditor)", "asks who read gauge-digits") as step:
        events = _all_reads(world)
        world.facts["reads"] = events
        refused = [event for event in events if event["outcome"] == "REFUSED"]
        step.said = f"{len(events)} reads, {len(refused)} of them refused"
        step.recorded = world.recorded()
    rows = [_row(event) for event in events[:ROWS_SHOWN_MAX]]
    title = "Who read gauge-digits" + (f" (the newest {ROWS_SHOWN_MAX})" if len(events) > ROWS_SHOWN_MAX else "")
    world.narrator.table(title, ["at (UTC)", "who", "job", "outcome", "purpose", "grant ends", "bytes"], rows)


def balance(world: World) -> None:
    """For each allocation: allocated + received = captured + held + expired + returned + sent + remaining."""
    rows = []
    balanced = True
    for team in ("maintenance", "quality"):
        for allocation in world.wallet("alma", team)["allocations"]["nodes"]:
            amounts = {column: Decimal(allocation[column]) for column in COLUMNS}
            left = amounts["allocated"] + amounts["received"]
            right = sum((amounts[column] for column in COLUMNS[2:]), Decimal(0))
            balanced = balanced and left == right
            rows.append([team, allocation["programme"]["name"], *(f"{amounts[column]:f}" for column in COLUMNS)])
    world.facts["balanced"] = balanced
    world.facts["allocations"] = rows
    world.narrator.line(f"[bold]Credits, {'in balance to the micro-credit' if balanced else 'NOT IN BALANCE'}[/bold]")
    for team, programme, *figures in rows:
        named = [f"{figure} {column}" for column, figure in zip(COLUMNS, figures, strict=True)]
        world.narrator.line(f"{team}, {programme}: {' + '.join(named[:2])} = {' + '.join(named[2:])}")


def _all_reads(world: World) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    after = None
    while True:
        variables = {"resourceId": world.ids["dataset"], "first": 50, "after": after}
        page = world.ask("audrey", "WhoReadIt", **variables)["auditEvents"]
        events.extend(page["nodes"])
        if not page["pageInfo"]["hasNextPage"]:
            return events
        after = page["pageInfo"]["endCursor"]


def _row(event: dict[str, Any]) -> list[str]:
    actor = event["actor"] or {}
    person = event["onBehalfOf"] or actor
    grant = event["accessGrant"]
    return [
        event["occurredAt"][11:19],
        f"{person.get('name', 'nobody').split()[0]}, {(event['team'] or {}).get('name', 'no team')}",
        f"…{actor['id'][-6:]}" if actor.get("__typename") == "Job" else "none",
        event["outcome"].lower(),
        event["purpose"] or "none",
        grant["validTo"][:10] if grant else "none",
        str(event["bytes"] or 0),
    ]
