"""All that the registry declares for the schema."""

from registry.graphql import (
    access,
    adoption,
    artifacts,
    cards,
    datasets,
    leaving,
    lessons,
    lineage,
    loosening,
    models,
    packages,
    publishing,
    purposes,
    reviewers,
    search,
    volume,
)

TYPES = [
    *artifacts.TYPES,
    *packages.TYPES,
    *purposes.TYPES,
    *access.TYPES,
    *reviewers.TYPES,
    *datasets.TYPES,
    *models.TYPES,
    *cards.TYPES,
    *publishing.TYPES,
    *lineage.TYPES,
    *loosening.TYPES,
    *lessons.TYPES,
    *adoption.TYPES,
    *search.TYPES,
    *volume.TYPES,
    *leaving.TYPES,
]
