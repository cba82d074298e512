"""The bucket of the artifacts, asked for before anything is started."""

from guildhall.settings import Settings
from registry.storage import ArtifactStore


async def require_bucket(settings: Settings) -> None:
    """Nobody is to learn from the first upload that a setting is wrong; raises BucketMissing."""
    await ArtifactStore.open(settings.artifacts_url).require_bucket()
