"""All kinds of owners of files, for what uploads and completes files whoever they belong to."""

from collections.abc import Mapping

from registry.artifacts.owners import UploadOwner
from registry.artifacts.packages import PACKAGE_OWNER
from registry.artifacts.tables import OwnerKind
from registry.datasets.versions import DATASET_VERSION_OWNER
from registry.models.uploading import MODEL_VERSION_OWNER

UPLOAD_OWNERS: Mapping[OwnerKind, UploadOwner] = {
    OwnerKind.DATASET_VERSION: DATASET_VERSION_OWNER,
    OwnerKind.MODEL_VERSION: MODEL_VERSION_OWNER,
    OwnerKind.PACKAGE: PACKAGE_OWNER,
}
