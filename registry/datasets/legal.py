"""The legal record of a data set: under what terms it is here, for what it may be used, until when and where."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from guildhall.db.transaction import ReadSession
from guildhall.errors import Invalid, InvalidInput, Problem
from guildhall.slugs import require_slug
from registry.purposes.lookup import require_purposes
from registry.texts import require_text

LICENCE_CHARACTERS_MAX = 200
LEGAL_BASIS_CHARACTERS_MAX = 2_000
CONSENT_CHARACTERS_MAX = 2_000
REGIONS_MAX = 50
PURPOSES_MAX = 100


class RetentionOver(Invalid):
    """A retention that has ended before it began."""

    code = "RETENTION_OVER"


@dataclass(frozen=True, kw_only=True)
class LegalRecord:
    """`retention_ends_on` is the last day on which the data may be kept and read (UTC); None: kept without an end.

    `consent` says how the persons concerned agreed, where the data is about persons. Regions are slugs, as the
    regions of clusters are.
    """

    licence: str
    legal_basis: str
    permitted_purposes: Sequence[str]
    regions: Sequence[str]
    retention_ends_on: date | None = None
    consent: str | None = None


async def require_legal(session: ReadSession, legal: LegalRecord, *, field: str, at: datetime) -> LegalRecord:
    """The record, trimmed: licence, basis, a purpose and a region are required, and purposes must be on the list."""
    problems = [
        Problem("REQUIRED", f"A legal record names {what}.", f"{field}.{name}")
        for name, what, value in (
            ("licence", "a licence", legal.licence.strip()),
            ("legalBasis", "a legal basis", legal.legal_basis.strip()),
            ("permittedPurposes", "at least one permitted purpose", legal.permitted_purposes),
            ("regions", "at least one region where the data may be", legal.regions),
        )
        if not value
    ]
    if legal.consent is not None and not legal.consent.strip():
        message = "A consent says how the persons concerned agreed; leave it out where there is none."
        problems.append(Problem("REQUIRED", message, f"{field}.consent"))
    for name, entries, most in (
        ("permittedPurposes", legal.permitted_purposes, PURPOSES_MAX),
        ("regions", legal.regions, REGIONS_MAX),
    ):
        if len(entries) > most:
            problems.append(
                Problem("TOO_MANY", f"{len(entries)} entries are more than the {most} that fit.", f"{field}.{name}")
            )
    if problems:
        raise InvalidInput(problems)
    if legal.retention_ends_on is not None and legal.retention_ends_on < at.date():
        raise RetentionOver(
            f"The retention ended on {legal.retention_ends_on} already.", field=f"{field}.retentionEndsOn"
        )
    regions = {
        require_slug(region.lower(), f"{field}.regions[{number}]") for number, region in enumerate(legal.regions)
    }
    consent = require_text(legal.consent, f"{field}.consent", characters_max=CONSENT_CHARACTERS_MAX, empty_allowed=True)
    return LegalRecord(
        licence=require_text(legal.licence, f"{field}.licence", characters_max=LICENCE_CHARACTERS_MAX),
        legal_basis=require_text(legal.legal_basis, f"{field}.legalBasis", characters_max=LEGAL_BASIS_CHARACTERS_MAX),
        permitted_purposes=await require_purposes(
            session, legal.permitted_purposes, field=f"{field}.permittedPurposes"
        ),
        regions=sorted(regions),
        retention_ends_on=legal.retention_ends_on,
        consent=consent or None,
    )
