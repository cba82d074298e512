"""What the routes need of the process, put together by the application and found in `app.state`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from litestar.types import HTTPScope

from guildhall.audit.outcomes import Conclusions
from guildhall.auth.actor import Actor
from guildhall.clock import Clock, IdSource
from guildhall.db.transaction import Database
from registry.access.jobs import JobInputs
from registry.artifacts.bundles import BundleLimits
from registry.artifacts.growing import Growths
from registry.artifacts.tickets import UploadTickets
from registry.http.readers import Readers
from registry.minimisation.filtering import Minimiser
from registry.storage import ArtifactStore

STATE_KEY = "artifact_desk"


@dataclass(frozen=True, kw_only=True)
class ArtifactDesk:
    """`identify` gives the caller of a request by its Authorization header, or raises Unauthenticated.

    `part_bytes` is what a part may have of a file that is not large.
    `still` gives the caller of a request that is under way as they are now: the same object where nothing has changed.
    """

    database: Database
    store: ArtifactStore
    minimiser: Minimiser
    tickets: UploadTickets
    conclusions: Conclusions
    job_inputs: JobInputs
    clock: Clock
    new_id: IdSource
    part_bytes: int
    bundle_limits: BundleLimits
    identify: Callable[[HTTPScope], Awaitable[Actor]]
    still: Callable[[Actor], Awaitable[Actor]]
    growths: Growths = field(init=False)
    readers: Readers = field(init=False, default_factory=Readers)

    def __post_init__(self) -> None:
        """Files grow in this process's store alone."""
        object.__setattr__(self, "growths", Growths(self.store))


def desk_of(scope: HTTPScope) -> ArtifactDesk:
    """The desk of the application that this request came to."""
    desk = scope["litestar_app"].state[STATE_KEY]
    assert isinstance(desk, ArtifactDesk), f"the application's state has no {STATE_KEY}"
    return desk
