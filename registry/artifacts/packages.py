"""Packages: a folder with a training script as one archive, uploaded like any file and run by jobs."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require, team_rows
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Invalid, InvalidInput, NotFound, Problem
from registry.artifacts.files import FileSpec
from registry.artifacts.owners import OwnerRef, UploadOwner, UploadRight
from registry.artifacts.planning import plan_uploads
from registry.artifacts.tables import OwnerKind, Package, PackageState
from registry.teams import find_team

CREATE = "registry:package:create"
READ = "registry:package:read"
PACKAGE_PATH = "package.tar.gz"
PACKAGE_MEDIA_TYPE = "application/gzip"
PACKAGE_BYTES_MAX = 512 * 1024**2


class PackageTooLarge(Invalid):
    """An archive that is larger than training code ever is."""

    code = "PACKAGE_TOO_LARGE"


class PackageEmpty(Invalid):
    """An archive is never empty, not even that of an empty folder."""

    code = "PACKAGE_EMPTY"


async def create_package(
    session: WriteSession, actor: Actor, *, team: str, size_bytes: int, sha256: str, at: datetime, new_id: IdSource
) -> UUID:
    """Announce the archive of a team's training code and return the package's id; it is READY once uploaded.

    Raises NotFound, PermissionRefused, PackageTooLarge, PackageEmpty, InvalidInput.
    """
    team_id = await find_team(session, team, field="team")
    require(actor, CREATE, team_id=team_id, resource=ResourceRef("Team", team_id))
    if size_bytes > PACKAGE_BYTES_MAX:
        raise PackageTooLarge(
            f"{size_bytes} bytes are more than a package may have ({PACKAGE_BYTES_MAX}): "
            "data belongs into data sets, models into model versions.",
            field="sizeBytes",
        )
    if size_bytes == 0:
        raise PackageEmpty("A package is an archive, which has at least a few bytes.", field="sizeBytes")
    package = Package(
        id=new_id(),
        team_id=team_id,
        sha256=sha256.lower(),
        size_bytes=size_bytes,
        state=PackageState.DRAFT,
        created_by=actor.id,
        created_at=at,
    )
    file = FileSpec(path=PACKAGE_PATH, size_bytes=size_bytes, sha256=sha256, media_type=PACKAGE_MEDIA_TYPE)
    owner = OwnerRef(OwnerKind.PACKAGE, package.id)
    try:
        # Before the package's own row, whose checks would refuse a wrong digest with no sentence for people.
        await plan_uploads(session, owner=owner, files=[file], at=at, new_id=new_id, field="package")
    except InvalidInput as error:
        raise _about_input(error) from error
    session.add(package)
    await session.flush()
    await record(
        session,
        actor,
        action=CREATE,
        team_id=team_id,
        resources=[ResourceRef("Package", package.id)],
        bytes=size_bytes,
        after={"sha256": package.sha256},
        at=at,
        new_id=new_id,
    )
    return package.id


async def find_package(session: ReadSession, actor: Actor, package_id: UUID, *, field: str) -> Package:
    """The package, or NotFound about the input's field for whoever may not read the team's packages."""
    visible = team_rows(actor, team_column=Package.team_id, permission=READ)
    row = await session.scalar(select(Package).where(Package.id == package_id, visible))
    if row is None:
        raise NotFound("There is no such package.", field=field)
    return row


async def _require_writer(session: ReadSession, actor: Actor, package_id: UUID) -> UploadRight:
    package = await find_package(session, actor, package_id, field="ownerId")
    resource = ResourceRef("Package", package_id)
    require(actor, CREATE, team_id=package.team_id, resource=resource)
    return UploadRight(permission=CREATE, team_id=package.team_id, resources=(resource,))


async def _finish(session: WriteSession, _actor: Actor, owner_id: UUID, *, at: datetime, new_id: IdSource) -> None:
    del new_id
    draft = (Package.id == owner_id) & (Package.state == PackageState.DRAFT)
    await session.execute(update(Package).where(draft).values(state=PackageState.READY, ready_at=at))


PACKAGE_OWNER = UploadOwner(require_writer=_require_writer, finish=_finish)


def _about_input(error: InvalidInput) -> InvalidInput:
    """The problems of the one file `package[0]` as problems of the input's own fields."""
    return InvalidInput(
        [
            Problem(problem.code, problem.message, (problem.field or "").removeprefix("package[0]."))
            for problem in error.problems
        ]
    )
