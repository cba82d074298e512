"""The database is killed under a stream, which goes on when it is back."""

from datetime import timedelta
from pathlib import Path

from guildhall.auth.actor import system_actor
from guildhall.auth.subjects import ActorKind
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.transaction import Database
from guildhall.errors import Unavailable
from guildhall.organisation.tokens import issue_token
from guildhall.settings import Settings
from marketplace.following import wallet_changed
from marketplace.ledger import allocate
from marketplace.tables import Programme
from tests.guildhall.auth.test_restart import kill, own_database, own_server
from tests.people import make_team, make_user
from tests.streaming import events, served

CHANGES = 'subscription { walletChanges(team: "press") { cursor wallet { available } } }'

__all__ = ["own_database", "own_server"]


class TestRestart:
    async def test_a_stream_goes_on_after_the_database_was_killed(
        self, own_server: EmbeddedServer, own_database: Database, clock: SimulatedClock, tmp_path: Path
    ) -> None:
        at = clock.now()
        async with own_database.transaction() as session:
            press = await make_team(session, "press")
            issued = await issue_token(
                session, system_actor("tests"), subject_kind=ActorKind.USER,
                subject_id=await make_user(session, "mia", roles={"maintainer": [press]}), label="tests",
                expires_at=at + timedelta(days=1), at=at, new_id=new_id,
            )  # fmt: skip
            programme = Programme(id=new_id(), name="zero", title="Zero", strategic_class="A", created_at=at)
            session.add(programme)
        settings = Settings(data_dir=tmp_path, database_url=own_database.url)
        async with served(own_database, settings, clock) as url, events(url, issued.text, CHANGES) as stream:
            assert (await stream.data())["wallet"] == {"available": "0"}
            for given in range(1, 4):
                await kill(own_server)
                while True:
                    try:
                        async with own_database.transaction() as session:
                            wallet_changed(session, press)
                            await allocate(
                                session, allocation_id=new_id(), team_id=press, programme_id=programme.id,
                                credits=1_000_000, valid_from=at, valid_to=at + timedelta(days=1), reason="tests",
                                at=at, key=f"gift {given}",
                            )  # fmt: skip
                        break
                    except Unavailable:
                        continue
                assert (await stream.data())["wallet"] == {"available": str(given)}
