"""Packages of training code."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, false

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import team_rows
from guildhall.auth.subjects import ActorKind
from guildhall.graphql.context import Call
from guildhall.graphql.declare import column, extend, node, one, payload
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import BigInt
from registry.artifacts.packages import CREATE, READ, create_package
from registry.artifacts.tables import OwnerKind, Package, PackageState
from registry.graphql.artifacts import uploads_of


def visible_packages(actor: Actor) -> ColumnElement[bool]:
    """Packages exist for whoever may read them in their team. A job reads its own by its address, and finds none."""
    if actor.kind is ActorKind.JOB:
        return false()
    return team_rows(actor, team_column=Package.team_id, permission=READ)


@node("Package", table=Package, visible=visible_packages, permission=READ, team=Package.team_id)
class PackageType:
    """A folder with a training script, as one archive."""

    team = one("Team", local=Package.team_id, nullable=False)
    sha256: str = column(Package.sha256)
    size_bytes: BigInt = column(Package.size_bytes)
    state: PackageState = column(Package.state)
    created_at: datetime = column(Package.created_at)


@input_type
class CreatePackageInput(MutationInput):
    """The archive (a .tar.gz of the folder) by its size and its SHA-256 digest in hexadecimal."""

    team: str
    size_bytes: BigInt
    sha256: str


@payload
class CreatePackagePayload:
    """The package, and where its archive is to be sent."""

    package = one("Package", local="package")
    uploads = uploads_of("package", OwnerKind.PACKAGE)


@extend("Mutation")
class PackageMutations:
    """What is done with packages."""

    @mutation(permission=CREATE, payload=CreatePackagePayload)
    async def create_package(call: Call, given: CreatePackageInput) -> Mapping[str, Any]:
        """Announce the archive of a training script; it is ready once uploaded and completed."""
        package_id = await create_package(
            call.session,
            call.actor,
            team=given.team,
            size_bytes=given.size_bytes,
            sha256=given.sha256,
            at=call.at,
            new_id=call.new_id,
        )
        return {"package": package_id}


TYPES = [PackageType, CreatePackagePayload, PackageMutations]
