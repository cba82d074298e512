"""The organisation as data: all or nothing, twice the same, wrong things named by their whole path."""

from typing import Any

import pytest
from sqlalchemy import func, select

from guildhall.audit.tables import AuditEvent
from guildhall.auth.tables import RoleBinding, Team, User
from guildhall.db.transaction import Database
from guildhall.schema.configuration import PERMISSION
from marketplace.tables import PriceList, Programme
from scheduler.clusters.tables import Cluster, Pool
from tests.guildhall.conftest import Asker

APPLY = """mutation ($input: ApplyConfigurationInput!) { applyConfiguration(input: $input) {
    changes { kind name action differences { field before after } } errors { code field message } } }"""
YEAR = {"startsAt": "2026-01-01T00:00:00Z", "endsAt": "2027-01-01T00:00:00Z"}
NIGHT = {"days": ["MONDAY", "TUESDAY"], "from": "22:00", "to": "06:00"}


def configuration(**changed: Any) -> dict[str, Any]:
    return {
        "teams": [{"name": "optics", "title": "Optics"}],
        "members": [{"email": "olga@example.org", "name": "Olga", "team": "optics", "roles": ["maintainer"]}],
        "serviceAccounts": [{"team": "optics", "name": "nightly", "roles": ["contributor"]}],
        "programmes": [{"name": "lenses", "title": "Lenses", "strategicClass": "B"}],
        "periods": [{"name": "y2026", **YEAR}],
        "pools": [
            {
                "name": "small",
                "cluster": "desk",
                "region": "eu",
                "accelerator": "a10",
                "slots": 2,
                "memoryBytesPerNode": "8589934592",
            }
        ],
        "priceLists": [
            {
                "name": "p2026",
                "validFrom": YEAR["startsAt"],
                "rates": [
                    {"pool": "small", "tier": "STANDARD", "creditsPerHour": "6.5"},
                    {"pool": "small", "tier": "STANDARD", "creditsPerHour": "3", "hours": NIGHT},
                ],
            }
        ],
        "purposes": [{"name": "grinding", "description": "Grind better."}],
        **changed,
    }  # fmt: skip


async def counts(database: Database) -> dict[str, int]:
    async with database.read() as session:
        return {
            table.__tablename__: await session.scalar(select(func.count()).select_from(table)) or 0
            for table in (Team, User, RoleBinding, Programme, Pool, Cluster, PriceList, AuditEvent)
        }


class TestApplyConfiguration:
    async def test_it_makes_what_is_named_then_changes_nothing_twice(self, ask: Asker, database: Database) -> None:
        before = await counts(database)
        tried = (await ask("ada", APPLY, input=configuration(dryRun=True)))["data"]["applyConfiguration"]
        assert await counts(database) == before
        made = (await ask("ada", APPLY, input=configuration()))["data"]["applyConfiguration"]
        assert made["errors"] == []
        assert made == tried
        assert {change["action"] for change in made["changes"]} == {"CREATED"}
        assert [(change["kind"], change["name"]) for change in made["changes"]] >= [("Team", "optics")]
        again = (await ask("ada", APPLY, input=configuration()))["data"]["applyConfiguration"]
        assert {change["action"] for change in again["changes"]} == {"UNCHANGED"}
        answer = await ask("mia", '{ team(name: "optics") { title serviceAccounts(first: 5) { nodes { name } } } }')
        assert answer["data"]["team"] == {"title": "Optics", "serviceAccounts": {"nodes": [{"name": "nightly"}]}}

    async def test_what_is_not_named_is_not_touched(self, ask: Asker, database: Database) -> None:
        await ask("ada", APPLY, input=configuration())
        before = await counts(database)
        given = {"teams": [{"name": "optics", "title": "Optics and lenses"}]}
        answer = (await ask("ada", APPLY, input=given))["data"]["applyConfiguration"]
        titles = [{"field": "title", "before": "Optics", "after": "Optics and lenses"}]
        assert answer["changes"] == [{"kind": "Team", "name": "optics", "action": "UPDATED", "differences": titles}]
        after = await counts(database)
        assert {name: after[name] for name in after if name != "audit_events"} == {
            name: before[name] for name in before if name != "audit_events"
        }
        await ask("ada", APPLY, input=configuration())

    async def test_a_team_is_moved_by_a_parent_and_stays_without(self, ask: Asker, database: Database) -> None:
        given: dict[str, Any] = {"teams": [{"name": "glass", "parent": "panes"}, {"name": "panes"}]}
        planned = (await ask("ada", APPLY, input={**given, "dryRun": True}))["data"]["applyConfiguration"]
        made = (await ask("ada", APPLY, input=given))["data"]["applyConfiguration"]
        assert made == planned
        parent = {"field": "parent", "before": None, "after": "panes"}
        assert made["changes"][0]["differences"] == [{"field": "title", "before": None, "after": "glass"}, parent]
        for again, differences in (
            ({"name": "glass"}, []), ({"name": "glass", "parent": "panes"}, []),
            ({"name": "glass", "parent": None}, [{"field": "parent", "before": "panes", "after": None}]),
        ):  # fmt: skip
            answered = (await ask("ada", APPLY, input={"teams": [again]}))["data"]["applyConfiguration"]
            assert [change["differences"] for change in answered["changes"]] == [differences]
        (error,) = (await ask("ada", APPLY, input={"teams": [{"name": "glass", "parent": "glass"}]}))["data"][
            "applyConfiguration"
        ]["errors"]
        assert (error["code"], error["field"]) == ("INVALID_PLACE", "teams[0].parent")

    @pytest.mark.parametrize("extreme", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
    @pytest.mark.parametrize("part", ["periods", "priceLists"])
    async def test_no_moment_that_the_database_takes_for_infinity(
        self, ask: Asker, database: Database, part: str, extreme: str
    ) -> None:
        before = await counts(database)
        (item,) = configuration()[part]
        name = "endsAt" if part == "periods" else "validFrom"
        (error,) = (await ask("ada", APPLY, input=configuration(**{part: [{**item, name: extreme}]})))["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert "A DateTime lies between the years 1970 and 9000 (UTC)" in error["message"]
        assert await counts(database) == before

    async def test_fields_are_called_as_the_file_calls_them(self, ask: Asker) -> None:
        given = {"programmes": [{"name": "prisms", "title": "Prisms", "strategicClass": "A"}], "dryRun": True}
        (change,) = (await ask("ada", APPLY, input=given))["data"]["applyConfiguration"]["changes"]
        assert [difference["field"] for difference in change["differences"]] == ["title", "strategicClass"]

    async def test_it_is_recorded(self, ask: Asker, database: Database) -> None:
        await ask("ada", APPLY, input={"teams": [{"name": "recorded"}]})
        async with database.read() as session:
            events = select(AuditEvent.after).where(AuditEvent.action == PERMISSION).order_by(AuditEvent.id.desc())
            assert (await session.scalars(events)).first() == {
                "changes": {"CREATED": 1, "UPDATED": 0, "REMOVED": 0, "UNCHANGED": 0}
            }

    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            ({"teams": [{"name": "fine"}, {"name": "Not A Slug"}]}, "teams[1].name"),
            ({"members": [{"email": "nobody", "team": "optics", "roles": []}]}, "members[0].email"),
            ({"members": [{"email": "a@b.example", "team": "nowhere", "roles": ["viewer"]}]}, "members[0].team"),
            ({"members": [{"email": "a@b.example", "team": "optics", "roles": ["king"]}]}, "members[0].roles"),
            ({"serviceAccounts": [{"team": "nowhere", "name": "x", "roles": []}]}, "serviceAccounts[0].team"),
            ({"programmes": [{"name": "x", "title": " ", "strategicClass": "A"}]}, "programmes[0].title"),
            ({"periods": [{"name": "x", "startsAt": YEAR["endsAt"], "endsAt": YEAR["startsAt"]}]}, "periods[0].endsAt"),
            (
                {"pools": [{"name": "x", "cluster": "desk", "region": "eu", "accelerator": "a", "slots": -1}]},
                "pools[0].slots",
            ),
            ({"priceLists": [{"name": "x", "validFrom": YEAR["startsAt"], "rates": []}]}, "priceLists[0].rates"),
            (
                {
                    "priceLists": [
                        {
                            "name": "x",
                            "validFrom": YEAR["startsAt"],
                            "rates": [{"pool": "none", "tier": "STANDARD", "creditsPerHour": "1"}],
                        }
                    ]
                },
                "priceLists[0].rates[0].pool",
            ),
            ({"purposes": [{"name": "-x", "description": ""}]}, "purposes[0].name"),
            ({"teams": [{"name": f"team-{number}"} for number in range(1_001)]}, "teams"),
        ],
    )  # fmt: skip
    async def test_one_wrong_thing_leaves_all_as_it_was_and_is_named(
        self, ask: Asker, database: Database, wrong: dict[str, Any], field: str
    ) -> None:
        await ask("ada", APPLY, input=configuration())
        before = await counts(database)
        given = configuration(teams=[{"name": "optics"}, {"name": "would-be-new"}])
        body = await ask("ada", APPLY, input={**given, **wrong})
        assert "errors" not in body, body
        errors = body["data"]["applyConfiguration"]["errors"]
        assert [error["field"].startswith(field) for error in errors] == [True], errors
        assert await counts(database) == before

    async def test_only_who_governs_may(self, ask: Asker, database: Database) -> None:
        before = await counts(database)
        answer = await ask("mia", APPLY, input={"teams": [{"name": "mine"}]})
        assert answer["errors"][0]["extensions"]["code"] == "PERMISSION_REFUSED"
        after = await counts(database)
        assert after == {**before, "audit_events": before["audit_events"] + 1}
        events = await ask(
            "otto",
            """{ auditEvents(
                first: 1, filter: {action: {eq: "guildhall:configuration:apply"}, outcome: {eq: REFUSED}}
            ) { nodes { outcome permissionClass reason { code } actor { ... on User { email } } requestId } } }""",
        )
        (event,) = events["data"]["auditEvents"]["nodes"]
        assert event["requestId"]
        assert {**event, "requestId": None} == {
            "outcome": "REFUSED",
            "permissionClass": "ADMIN_WRITE",
            "reason": {"code": "PERMISSION_REFUSED"},
            "actor": {"email": "mia@example.org"},
            "requestId": None,
        }
