"""The organisation's list of purposes."""

from guildhall.graphql.declare import column, extend, many, object_type
from registry.purposes.tables import Purpose

READ = "registry:purpose:read"
PURPOSES_MAX = 200


@object_type("Purpose", table=Purpose, key=Purpose.name, permission=READ)
class PurposeType:
    """One purpose for which data may be used."""

    name: str = column(Purpose.name)
    description: str = column(Purpose.description)


@extend("Query", permission=READ)
class PurposeQueries:
    """The list."""

    purposes = many(
        "Purpose",
        local=None,
        remote=None,
        order_by=[Purpose.name],
        maximum=PURPOSES_MAX,
        description="The purposes that data sets may permit and requests for access name.",
    )


TYPES = [PurposeType, PurposeQueries]
