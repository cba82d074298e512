"""Loosenings for tests, through the domain functions: Anna asks for Maintenance's models, Mia and Vera are stewards."""

from datetime import date
from typing import Any
from uuid import UUID

from guildhall.clock import new_id
from registry.access.deciding import DecisionKind
from registry.datasets.tables import Classification
from registry.loosening.asking import ask_loosening
from registry.loosening.deciding import decide_loosening
from registry.loosening.imposing import Wanted
from registry.loosening.tables import Loosening, RestrictedProperty
from registry.loosening.withdrawing import withdraw_loosening
from tests.registry.estate import registered, versioned
from tests.registry.house import House, fine_tuned_from, trained_on

INTERNAL = Wanted(property=RestrictedProperty.CLASSIFICATION, classification=Classification.INTERNAL)
MARKETING = Wanted(property=RestrictedProperty.PERMITTED_PURPOSES, permitted_purposes=("marketing",))
OVERSEAS = Wanted(property=RestrictedProperty.REGIONS, regions=("us",))
FOR_EVER = Wanted(property=RestrictedProperty.RETENTION)


async def source(house: House, name: str = "gauge-digits", **given: Any) -> tuple[UUID, UUID]:
    """A data set of Maintenance and its one version."""
    dataset_id = await registered(house, name, **given)
    return dataset_id, await versioned(house, dataset_id)


async def line(house: House, *dataset_versions: UUID) -> tuple[UUID, UUID]:
    """A model version trained on the data, and one that was made from it."""
    first = await house.version(
        await house.model("first"), sources=[trained_on(version) for version in dataset_versions]
    )
    return first, await house.version(await house.model("second"), sources=[fine_tuned_from(first)])


async def asked(house: House, version_id: UUID, wanted: Wanted = INTERNAL, *, by: str = "anna") -> UUID:
    return await ask_loosening(
        house.session, house.actor(by), model_version_id=version_id, wanted=wanted,
        justification="Only sums are left.", at=house.at, new_id=new_id,
    )  # fmt: skip


async def decided(
    house: House, loosening_id: UUID, *, by: str = "mia", decision: DecisionKind = DecisionKind.APPROVE,
    reason: str | None = None,
) -> UUID:  # fmt: skip
    return await decide_loosening(
        house.session, house.actor(by), loosening_id=loosening_id, decision=decision, reason=reason, at=house.at,
        new_id=new_id,
    )  # fmt: skip


async def withdrawn(house: House, loosening_id: UUID, *, by: str = "mia") -> UUID:
    return await withdraw_loosening(
        house.session, house.actor(by), loosening_id=loosening_id, reason="It can be undone.", at=house.at,
        new_id=new_id,
    )  # fmt: skip


async def loosened(house: House, version_id: UUID, wanted: Wanted = INTERNAL) -> UUID:
    return await decided(house, await asked(house, version_id, wanted))


async def state(house: House, loosening_id: UUID) -> str:
    found = await house.session.get(Loosening, loosening_id, populate_existing=True)
    assert found is not None
    return found.state


async def effective(house: House, version_id: UUID) -> tuple[str, list[str] | None, list[str] | None, date | None]:
    version = await house.facts(version_id)
    return (
        version.effective_classification,
        version.effective_permitted_purposes,
        version.effective_regions,
        version.effective_retention_ends_on,
    )


async def classes(house: House, *versions: UUID) -> list[str]:
    return [(await effective(house, version))[0] for version in versions]
