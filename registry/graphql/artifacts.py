"""Files: where they are read, and where they are sent."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, String, and_, case, cast, exists, literal, or_

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import Refused, team_rows
from guildhall.errors import NotFound
from guildhall.graphql.context import Call, Context
from guildhall.graphql.declarations import FieldDeclaration
from guildhall.graphql.declare import (
    batched,
    column,
    extend,
    json_list,
    node,
    object_type,
    payload,
    reference,
)
from guildhall.graphql.ids import decode_reference
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID, BigInt
from registry.artifacts.completing import Verification, complete_uploads, verify_uploads
from registry.artifacts.files import FileSpec
from registry.artifacts.listing import artifact_url
from registry.artifacts.owners import OwnerRef
from registry.artifacts.packages import READ as READ_PACKAGE
from registry.artifacts.planning import pending_uploads
from registry.artifacts.tables import Artifact, ArtifactState, OwnerKind, Package
from registry.artifacts.tickets import UploadTickets
from registry.datasets.lookup import visible_dataset_versions
from registry.datasets.tables import DatasetVersion
from registry.models.lookup import visible_model_versions
from registry.models.tables import ModelVersion
from registry.owners import UPLOAD_OWNERS
from registry.storage import ArtifactStore

OWNERS = {
    OwnerKind.DATASET_VERSION.value: "DatasetVersion",
    OwnerKind.MODEL_VERSION.value: "ModelVersion",
    OwnerKind.PACKAGE.value: "Package",
}
"""From the kind of an owner of files to its type."""
_KINDS = {name: OwnerKind(kind) for kind, name in OWNERS.items()}
UPLOADS_PERMISSION = "SIGNED_IN"


def visible_artifacts(actor: Actor) -> ColumnElement[bool]:
    """Files exist for whoever sees their owner; to see a file is not to read it."""
    # In the very words of the owners' rules, so that a compiled list below an owner knows them answered.
    dataset = exists().where(DatasetVersion.id == Artifact.owner_id, visible_dataset_versions(actor))
    model = exists().where(ModelVersion.id == Artifact.owner_id, visible_model_versions(actor))
    packages = team_rows(actor, team_column=Package.team_id, permission=READ_PACKAGE)
    package = exists().where(Package.id == Artifact.owner_id, packages)
    return or_(
        and_(Artifact.owner_kind == OwnerKind.DATASET_VERSION, dataset),
        and_(Artifact.owner_kind == OwnerKind.MODEL_VERSION, model),
        and_(Artifact.owner_kind == OwnerKind.PACKAGE, package),
    )


def _url(context: Context) -> ColumnElement[Any]:
    prefix = literal(artifact_url(context.settings.public_url, UUID(int=0)).removesuffix(str(UUID(int=0))), String)
    return case((Artifact.state == ArtifactState.STORED, prefix.concat(cast(Artifact.id, String))))


@node("Artifact", table=Artifact, visible=visible_artifacts, permission="registry:dataset:discover")
class ArtifactType:
    """One file of a data set's version, a model version or a package."""

    path: str = column(Artifact.path)
    size_bytes: BigInt = column(Artifact.size_bytes)
    sha256: str = column(
        Artifact.sha256, description="Hexadecimal; announced at first, proven once the file is stored."
    )
    media_type: str = column(Artifact.media_type)
    rows: BigInt | None = column(Artifact.rows)
    state: ArtifactState = column(Artifact.state)
    stored_at: datetime | None = column(Artifact.stored_at)
    url: str | None = column(_url, description="Where the bytes are read, with the reader's token; null until stored.")
    owner = reference(Artifact.owner_kind, Artifact.owner_id, types=OWNERS)


@object_type("UploadHeader")
class UploadHeaderType:
    """One header that each request of an upload must carry."""

    name: str
    value: str


@object_type("Upload")
class UploadType:
    """Where to send one file, in parts of at most `partSizeBytes`: to `url` with `?part=1`, `?part=2` and so on."""

    path: str
    url: str
    method: str
    part_size_bytes: int
    headers = json_list("UploadHeader", "headers")


@object_type("MissingFile")
class MissingFileType:
    """One file that is not there yet or not as announced; the message says what was expected and what came."""

    path: str
    code: str
    message: str


def uploads_of(key: str, kind: OwnerKind) -> FieldDeclaration:
    """A payload's field `uploads`: what the owner, whose id stands under `key`, still waits for, with fresh tickets."""

    async def uploads(context: Context, keys: Sequence[Any]) -> Mapping[Any, Any]:
        # A mutation's answer is kept as JSON, so that its ids are texts.
        return {each: await _uploads(context, OwnerRef(kind, UUID(str(each)))) for each in keys}

    declared: FieldDeclaration = batched(
        key=key, returns="Upload", many=True, permission=UPLOADS_PERMISSION, description="Where to send the files."
    )(uploads)
    return declared


async def _uploads(context: Context, owner: OwnerRef) -> list[dict[str, Any]]:
    """Asked again here, because an idempotency key gives the first answer to somebody who may have lost the right."""
    async with context.database.read() as session:
        try:
            await UPLOAD_OWNERS[owner.kind].require_writer(session, context.actor, owner.id)
        except (Refused, NotFound):
            return []
        pending = await pending_uploads(
            session,
            owner=owner,
            public_url=context.settings.public_url,
            part_size_bytes=context.settings.upload_part_bytes,
            tickets=context.services.get(UploadTickets),
            at=context.at,
        )
    return [
        {
            "path": upload.path,
            "url": upload.url,
            "method": upload.method,
            "part_size_bytes": upload.part_size_bytes,
            "headers": [{"name": header.name, "value": header.value} for header in upload.headers],
        }
        for upload in pending
    ]


@input_type
class FileInput:
    """A file to be uploaded; `sha256` in hexadecimal. The media type is guessed from the path where it is left out."""

    path: str
    size_bytes: BigInt
    sha256: str
    media_type: str | None = None
    rows: BigInt | None = None

    def as_spec(self) -> FileSpec:
        """As the domain names it."""
        return FileSpec(
            path=self.path, size_bytes=self.size_bytes, sha256=self.sha256, media_type=self.media_type, rows=self.rows
        )


@input_type
class CompleteUploadsInput(MutationInput):
    """`ownerId`: a data set's version, a model version or a package whose files were sent."""

    owner_id: ID


@payload
class CompleteUploadsPayload:
    """The owner, and what is still missing; where nothing is, the owner is ready."""

    owner = reference("owner_kind", "owner_id", types=OWNERS)
    missing = json_list("MissingFile", "missing")


async def _verify(context: Context, given: CompleteUploadsInput) -> Verification:
    name, owner_id = decode_reference(given.owner_id, *_KINDS, field="ownerId")
    return await verify_uploads(
        context.database,
        context.services.get(ArtifactStore),
        context.actor,
        owner=OwnerRef(_KINDS[name], owner_id),
        owners=UPLOAD_OWNERS,
    )


@extend("Mutation")
class ArtifactMutations:
    """What is done with files of any owner."""

    @mutation(permission=UPLOADS_PERMISSION, payload=CompleteUploadsPayload, prepare=_verify)
    async def complete_uploads(call: Call, _given: CompleteUploadsInput) -> Mapping[str, Any]:
        """Check what was sent against the announced sizes and digests; may be repeated until nothing is missing."""
        verification: Verification = call.prepared
        completion = await complete_uploads(
            call.session,
            call.actor,
            verification=verification,
            owners=UPLOAD_OWNERS,
            at=call.at,
            new_id=call.new_id,
        )
        missing = [{"path": file.path, "code": file.code, "message": file.message} for file in completion.missing]
        return {"owner_kind": completion.owner.kind, "owner_id": completion.owner.id, "missing": missing}


TYPES = [
    ArtifactType,
    UploadHeaderType,
    UploadType,
    MissingFileType,
    CompleteUploadsPayload,
    ArtifactMutations,
]
