"""Following a wallet: it is shown anew whenever its balance has changed."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from typing_extensions import override

from guildhall.auth.tables import Team
from guildhall.db.announcing import topic_of
from guildhall.errors import NotFound
from guildhall.graphql.context import Context
from guildhall.graphql.declare import column, extend, object_type, one
from guildhall.graphql.resolve import FieldRefused
from guildhall.graphql.subscriptions.declaring import subscription
from guildhall.graphql.subscriptions.following import Change, Following, Look, Position
from marketplace.following import TOPIC, read_wallet_state
from marketplace.wallets import READ_PERMISSION


@object_type("WalletChange", permission=READ_PERMISSION, team="team_id")
class WalletChangeType:
    """A wallet whose balance is another than it was. Changes that come together are shown as one."""

    cursor: str = column("cursor", description="Where to go on: pass it as `after`, and only a change is shown.")
    team = one("Team", local="team_id", nullable=False)
    wallet = one("Wallet", local="team_id", remote=Team.id, description="The wallet as it is now.")


@dataclass
class WalletFollowing(Following):
    """The wallet of one team."""

    team_id: UUID

    def __post_init__(self) -> None:
        self.name = f"walletChanges {self.team_id}"
        self.topic = topic_of(TOPIC, self.team_id)

    @override
    async def require(self, context: Context) -> None:
        if not context.actor.may(READ_PERMISSION, self.team_id):
            raise FieldRefused(f"This needs the permission {READ_PERMISSION} there; an administrator can grant it.")

    @override
    async def look(self, context: Context, position: Position | None) -> Look:
        async with context.database.read() as session:
            state = await read_wallet_state(session, self.team_id, at=context.at)
        changes = [] if position == state else [Change({"team_id": self.team_id}, tuple(state))]
        return Look(changes=changes, position=tuple(state))


@extend("Subscription")
class WalletSubscriptions:
    """What can be followed of the marketplace."""

    @subscription("WalletChange", permission=READ_PERMISSION)
    async def wallet_changes(context: Context, _wanted: frozenset[str], *, team: str) -> WalletFollowing:
        """The wallet of a team by its name: once as it is, and then whenever its balance changes; it never ends."""
        async with context.database.read() as session:
            team_id = await session.scalar(select(Team.id).where(Team.name == team))
        if team_id is None:
            raise NotFound("There is no such team.", field="team")
        return WalletFollowing(team_id)


TYPES = [WalletChangeType, WalletSubscriptions]
