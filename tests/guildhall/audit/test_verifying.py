"""Whatever a superuser changes, sealed or not, is found."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from guildhall.audit import verifying
from guildhall.audit.checkpoints import Signer
from guildhall.audit.exporting import Export, export_record
from guildhall.audit.mac import AuditKey, AuditKeys, compute_mac
from guildhall.audit.record import record
from guildhall.audit.sealing import seal_once
from guildhall.audit.tables import AuditSeal
from guildhall.audit.verifying import Verification, verify_record
from guildhall.auth.actor import Actor, RequestContext, system_actor
from guildhall.auth.subjects import ActorKind
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.transaction import Database
from tests.conftest import AUDIT_KEY

KEYS = AuditKeys([AUDIT_KEY])
WORKER = system_actor("worker")
SIGNERS = [Signer("guildhall.example/audit", b"s" * 32)]
VERIFIERS = [signer.verifier for signer in SIGNERS]


async def write(database: Database, clock: SimulatedClock, number: int, actor: Actor = WORKER) -> list[UUID]:
    async with database.transaction() as session:
        return [
            await record(session, actor, action="registry:dataset:read", at=clock.now(), new_id=new_id)
            for _ in range(number)
        ]


async def seal(database: Database, clock: SimulatedClock) -> str:
    while (done := await seal_once(database, SIGNERS, at=clock.now())) is None or done.more:
        pass
    async with database.read() as session:
        note = (await session.get_one(AuditSeal, 1)).note
    assert note is not None
    return note


async def check(database: Database, published: Sequence[str] = ()) -> Verification:
    return await verify_record(database, KEYS, VERIFIERS, published)


async def alter(server: EmbeddedServer, database: Database, *statements: str) -> None:
    """As a superuser, with the triggers switched off."""
    async with database.read() as session:
        name = str((await session.scalars(select(func.current_database()))).one())
    connection = await server.connect(database=name)
    await connection.execute("SET session_replication_role = replica")
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


class TestVerifyRecord:
    @pytest.mark.parametrize("number", [0, 1, 3, 4])
    async def test_an_untouched_record(
        self, fresh_database: Database, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        monkeypatch.setattr(verifying, "PAGE_ROWS", 2)
        await write(fresh_database, clock, number)
        assert await check(fresh_database) == Verification(unsealed=number)
        note = await seal(fresh_database, clock)
        await write(fresh_database, clock, 1)
        assert await check(fresh_database, [note]) == Verification(sealed=number, unsealed=1, heads=1)

    async def test_every_altered_event_is_counted_and_the_first_are_named(
        self, fresh_database: Database, server: EmbeddedServer, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(verifying, "PAGE_ROWS", 2)
        monkeypatch.setattr(verifying, "NAMED_MAX", 2)
        events = await write(fresh_database, clock, 5)
        touched = ", ".join(f"'{event}'" for event in events[1:4])
        await alter(server, fresh_database, f"UPDATE audit_events SET bytes = 0 WHERE id IN ({touched})")
        assert await check(fresh_database) == Verification(
            unsealed=5,
            wrong=3,
            named=[f"Event {event} was altered or made up: its code does not fit." for event in events[1:3]],
        )

    async def test_what_was_written_under_an_unknown_key_is_told(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        await write(fresh_database, clock, 1)
        found = await verify_record(fresh_database, AuditKeys([b"x" * 32]), VERIFIERS, [])
        assert found.wrong == 1
        assert "which is not in GUILDHALL_AUDIT_KEY_FILE" in found.named[0]

    async def test_keys_are_replaced_one_after_the_other(self, fresh_database: Database, clock: SimulatedClock) -> None:
        await write(fresh_database, clock, 2)
        note = await seal(fresh_database, clock)
        rekeyed = Database(fresh_database.engine, audit_key=b"n" * 32)
        await write(rekeyed, clock, 2)
        fresh = Signer("guildhall.example/audit", b"f" * 32)
        await seal_once(fresh_database, [fresh, *SIGNERS], at=clock.now())
        keys = AuditKeys([b"n" * 32, AUDIT_KEY])
        for verifiers in ([fresh.verifier, *VERIFIERS], VERIFIERS):
            assert await verify_record(fresh_database, keys, verifiers, [note]) == Verification(sealed=4, heads=2)
        assert (await verify_record(fresh_database, keys, [fresh.verifier], [note])).named == [
            "The head of 2 leaves bears no valid signature of a key that is known."
        ]

    async def test_values_of_persons(
        self, fresh_database: Database, server: EmbeddedServer, clock: SimulatedClock
    ) -> None:
        caller = Actor(
            kind=ActorKind.USER, id=new_id(), name="ada", policy=WORKER.policy,
            request=RequestContext(address="192.0.2.7"),
        )  # fmt: skip
        (event,) = await write(fresh_database, clock, 1, caller)
        await seal(fresh_database, clock)
        assert await check(fresh_database) == Verification(sealed=1, heads=1)
        await alter(server, fresh_database, """UPDATE audit_personal SET content = '{"address": "192.0.2.8"}'""")
        assert (await check(fresh_database)).named == [
            f"Event {event} has other values of the person {caller.id} than were written."
        ]
        await alter(server, fresh_database, "DELETE FROM audit_personal")
        assert (await check(fresh_database)).named == [
            f"Event {event} speaks of other persons than the values that are kept for it."
        ]


DELETE = "DELETE FROM audit_{} WHERE {}"
LATE = "There are 6 leaves, and the seal says 8."


class TestSuperuser:
    """Eight sealed events; the head of eight is published, and one of four before."""

    @pytest.mark.parametrize(
        ("statements", "want"),
        [
            (["UPDATE audit_events SET purpose = 'quality' WHERE id = '{5}'"], "is not the one that was sealed"),
            (["UPDATE audit_events SET mac = sha256('x') WHERE id = '{5}'"], "is not the one that was sealed"),
            (["DELETE FROM audit_events WHERE id = '{5}'"], "(leaf 5) was deleted"),
            (["DELETE FROM audit_leaves WHERE number = 5", "DELETE FROM audit_events WHERE id = '{5}'"],
             "Leaf 5 is missing"),
            (["DELETE FROM audit_leaves WHERE number > 5", "DELETE FROM audit_events WHERE id IN ('{6}', '{7}')",
              "UPDATE audit_seal SET size = 6"], "A head of 8 leaves was signed, and there are 6"),
            (["UPDATE audit_leaves SET number = number + 100 WHERE number IN (5, 6)",
              "UPDATE audit_leaves SET number = CASE number WHEN 105 THEN 6 ELSE 5 END WHERE number > 100"],
             "The first 8 leaves do not lead to the head"),
            ([("INSERT INTO audit_events SELECT gen_random_uuid(), act_at, occurred_at, actor_kind, actor_id,"
              " on_behalf_of_id, team_id, action, permission_class, outcome, resource_types, resource_ids, purpose,"
              " access_grant_id, reason_code, reason_message, request_id, client, rows, bytes, before, after,"
              " commitments, concludes_id, mac_key, mac, '3' FROM audit_events WHERE id = '{5}'")],
             "has no leaf, though the seal has passed it"),
            ([("INSERT INTO audit_events SELECT id, act_at + interval '1 us', occurred_at + interval '1 us',"
              " actor_kind, actor_id, on_behalf_of_id, team_id, action, permission_class, outcome, resource_types,"
              " resource_ids, purpose,"
              " access_grant_id, reason_code, reason_message, request_id, client, rows, bytes, before, after,"
              " commitments, concludes_id, mac_key, mac, '3' FROM audit_events WHERE id = '{5}'")],
             "has no leaf, though the seal has passed it"),
            ([("INSERT INTO audit_events SELECT gen_random_uuid(), '-infinity', '-infinity', actor_kind, actor_id,"
              " on_behalf_of_id, team_id, action, permission_class, outcome, resource_types, resource_ids, purpose,"
              " access_grant_id, reason_code, reason_message, request_id, client, rows, bytes, before, after,"
              " commitments, concludes_id, mac_key, mac, '3' FROM audit_events WHERE id = '{5}'")],
             "was altered or made up: its code does not fit"),
            (["UPDATE audit_leaves SET act_at = 'infinity' WHERE number = 5"], "(leaf 5) was deleted"),
            (["UPDATE audit_leaves SET entry = sha256('x') WHERE number = 5"], "is not the one that was sealed"),
            (["UPDATE audit_seal SET note = replace(note, E'\\n8\\n', E'\\n9\\n')"], "bears no valid signature"),
            (["INSERT INTO audit_archives VALUES ('all', '-infinity', 'infinity', 8, '', '-infinity', '', '')",
              "DELETE FROM audit_events"], "The archive all was made up"),
        ],
    )  # fmt: skip
    async def test_is_found(
        self,
        fresh_database: Database,
        server: EmbeddedServer,
        clock: SimulatedClock,
        statements: Sequence[str],
        want: str,
    ) -> None:
        events = await write(fresh_database, clock, 4)
        published = [await seal(fresh_database, clock)]
        events += await write(fresh_database, clock, 4)
        published.append(await seal(fresh_database, clock))
        assert await check(fresh_database, published) == Verification(sealed=8, heads=2)
        await alter(server, fresh_database, *(statement.format(*events) for statement in statements))
        found = await check(fresh_database, published)
        assert found.wrong > 0
        assert want in "\n".join(found.named)

    async def test_an_old_copy_with_its_own_heads_is_found_by_the_store(
        self, fresh_database: Database, server: EmbeddedServer, clock: SimulatedClock
    ) -> None:
        await write(fresh_database, clock, 4)
        earlier = await seal(fresh_database, clock)
        tables = ("events", "leaves", "tiles", "seal")
        await alter(server, fresh_database, *(f"CREATE TABLE old_{name} AS TABLE audit_{name}" for name in tables))
        await write(fresh_database, clock, 4)
        later = await seal(fresh_database, clock)
        await alter(server, fresh_database, *(f"DELETE FROM audit_{name}" for name in tables))
        await alter(server, fresh_database, *(f"INSERT INTO audit_{name} TABLE old_{name}" for name in tables))
        assert await check(fresh_database, [earlier]) == Verification(sealed=4, heads=1)
        assert (await check(fresh_database, [earlier, later])).named == [
            "A head of 8 leaves was signed, and there are 4: the record was cut, or an earlier one was put back."
        ]


class TestArchives:
    async def test_events_of_an_archive_are_counted_apart(
        self, fresh_database: Database, server: EmbeddedServer, clock: SimulatedClock, tmp_path: Path
    ) -> None:
        await write(fresh_database, clock, 3)
        note = await seal(fresh_database, clock)
        key = AuditKey(AUDIT_KEY)
        row: dict[str, Any] = {
            "name": "2026-03", "begins_at": clock.now(), "ends_at": clock.now() + timedelta(days=1), "events": 3,
            "sha256": "", "archived_at": clock.now(), "mac_key": key.name,
        }  # fmt: skip
        code = compute_mac(key, row).hex()
        values = ", ".join(f"'{value}'" for value in row.values())
        await alter(
            server,
            fresh_database,
            f"INSERT INTO audit_archives VALUES ({values}, decode('{code}', 'hex'))",
            "DELETE FROM audit_events",
        )
        assert await check(fresh_database, [note]) == Verification(sealed=3, archived=3, heads=1)
        assert await export_record(fresh_database, tmp_path / "record", [note]) == Export(3, 3)
