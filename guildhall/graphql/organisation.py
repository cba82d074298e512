"""Teams and who acts in them, as everybody signed in may see them."""

from datetime import datetime

from sqlalchemy import select

from guildhall.auth.tables import ServiceAccount, Team, User
from guildhall.graphql.declare import column, connection, extend, find, node, one
from guildhall.graphql.sources import Clauses

TEAM, USER, SERVICE_ACCOUNT = "guildhall:team:read", "guildhall:user:read", "guildhall:service-account:read"


@node("Team", table=Team, visible=None, permission=TEAM, team=Team.id)
class TeamType:
    """Who owns models, data sets and credits."""

    name: str = column(Team.name, description="Unique; a slug.")
    title: str = column(Team.title, description="What people call it.")
    created_at: datetime = column(Team.created_at)


@node("User", table=User, visible=None, permission=USER)
class UserType:
    """A person."""

    name: str = column(User.name)
    email: str = column(User.email)
    created_at: datetime = column(User.created_at)
    deactivated_at: datetime | None = column(User.deactivated_at, description="Since when they can no longer sign in.")


@node("ServiceAccount", table=ServiceAccount, visible=None, permission=SERVICE_ACCOUNT, team=ServiceAccount.team_id)
class ServiceAccountType:
    """A program that calls in its own name, for one team."""

    name: str = column(ServiceAccount.name, description="Unique in its team; a slug.")
    team = one("Team", local=ServiceAccount.team_id, nullable=False)
    created_at: datetime = column(ServiceAccount.created_at)
    deactivated_at: datetime | None = column(ServiceAccount.deactivated_at)


@extend("Team")
class TeamServiceAccounts:
    """The programs of a team."""

    service_accounts = connection(
        "ServiceAccount", local=Team.id, remote=ServiceAccount.team_id, default_order=[ServiceAccount.name]
    )


@extend("Query")
class OrganisationQueries:
    """The organisation, from the top."""

    teams = connection("Team", default_order=[Team.name], permission=TEAM)
    users = connection("User", default_order=[User.email], permission=USER)

    @find("Team", permission=TEAM)
    def team(name: str) -> Clauses:
        """A team by its name."""
        return [Team.name == name]

    @find("User", permission=USER)
    def user(email: str) -> Clauses:
        """A person by their address."""
        return [User.email == email.lower()]

    @find("ServiceAccount", permission=SERVICE_ACCOUNT)
    def service_account(team: str, name: str) -> Clauses:
        """A program by its team and name."""
        owner = select(Team.id).where(Team.name == team).scalar_subquery()
        return [ServiceAccount.name == name, ServiceAccount.team_id == owner]


TYPES = [TeamType, UserType, ServiceAccountType, TeamServiceAccounts, OrganisationQueries]
