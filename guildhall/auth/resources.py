"""How authorisation and audit name the thing that an act is about."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, order=True)
class ResourceRef:
    """A resource by the name of its GraphQL type and its id, as `ResourceRef("DatasetVersion", id)`.

    Acts on a version name the whole as well, `DatasetVersion` and `Dataset`, so that a search for the whole finds them.
    """

    type: str
    id: UUID
