"""Who may read which data: requests, approvals and grants of every kind, reviewers, budgets, lessons, loosenings."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import select

from guildhall.clock import new_id
from registry.access.tables import (
    AccessApproval,
    AccessBasis,
    AccessGrant,
    AccessGrantResource,
    AccessRequest,
    AccessRequestResource,
    AccessRequestSource,
    AccessRequestState,
    Capacity,
    ReviewSubject,
    RiskReviewer,
)
from registry.datasets.tables import Classification, Dataset, DatasetSteward, DatasetVersion
from registry.lessons.tables import Lesson, LessonOutcome, SubjectKind
from registry.loosening.tables import (
    Loosening,
    LooseningApproval,
    LooseningSource,
    LooseningState,
    RestrictedProperty,
)
from registry.models.tables import ModelVersion, RiskTier
from registry.purposes.tables import Purpose
from registry.volume.tables import AccessAlert, BudgetAction, BudgetScope, ReadBudget
from tests.guildhall.graphql.oracle.strewing import Strewing

REQUESTS, ALERTS, STEWARDS, LESSONS, LOOSENINGS = 18, 8, 8, 6, 8
PURPOSES = ("defect-detection", "quality-research")
DAY = timedelta(days=1)
Resource = tuple[str, UUID]


class Guarded(Strewing):
    """Rows about the data sets and models that there are by now, and all people."""

    async def strew(self) -> None:
        """All of it; the caller commits."""
        await self._meet()
        await self._add(Purpose(name=PURPOSES[1], description=self._text(), created_at=self._moment()))
        self._datasets = list(await self._session.scalars(select(Dataset.id).order_by(Dataset.id)))
        versions = await self._session.execute(select(DatasetVersion.id, DatasetVersion.dataset_id).order_by("id"))
        self._whole: dict[UUID, UUID] = {row.id: row.dataset_id for row in versions}
        self._models = list(await self._session.scalars(select(ModelVersion.id).order_by(ModelVersion.id)))
        self._resources: list[Resource] = [
            *(("DATASET", key) for key in self._datasets),
            *(("DATASET_VERSION", key) for key in self._whole),
            *(("MODEL_VERSION", key) for key in self._models),
        ]
        await self._stewards()
        await self._reviewers()
        for number in range(REQUESTS):
            await self._request(list(AccessRequestState)[number % 3])
        for dataset in self._datasets[::3]:
            await self._grant(None, [("DATASET", dataset)], basis=AccessBasis.OWNERSHIP)
        await self._budgets()
        await self._lessons()
        await self._loosenings()

    async def _stewards(self) -> None:
        stewards = await self._session.execute(select(DatasetSteward.dataset_id, DatasetSteward.user_id))
        held = {(dataset, person) for dataset, person in stewards}
        for _ in range(STEWARDS):
            pair = (self._random.choice(self._datasets), self._random.choice(self._people))
            if pair not in held:
                held.add(pair)
                dataset, person = pair
                await self._add(
                    DatasetSteward(dataset_id=dataset, user_id=person, added_by=person, added_at=self._moment())
                )

    async def _reviewers(self) -> None:
        """Some people review several tiers."""
        few = self._random.sample(self._people, 4)
        for tier in RiskTier:
            for subject in ReviewSubject:
                for person in self._random.sample(few, 2):
                    reviewer = RiskReviewer(
                        risk_tier=tier.value,
                        subject=subject.value,
                        user_id=person,
                        added_by=person,
                        added_at=self._moment(),
                    )
                    await self._add(reviewer)

    async def _request(self, state: AccessRequestState) -> None:
        draw = self._random
        requester, decider, *approvers = draw.sample(self._people, 4)
        decided, for_team = state is not AccessRequestState.PENDING, draw.random() < 0.5
        request = AccessRequest(
            id=new_id(),
            basis=AccessBasis.REQUEST.value,
            requester_id=requester,
            beneficiary_team_id=draw.choice(self._teams) if for_team else None,
            beneficiary_user_id=None if for_team else draw.choice((requester, *self._people)),
            purpose=draw.choice(PURPOSES),
            justification=self._text(),
            duration_seconds=draw.choice((3600, 2**31 - 1)),
            state=state.value,
            created_at=self._moment(),
            decided_at=self._at if decided else None,
            decided_by=decider if decided else None,
            decision_reason=self._text() if state is AccessRequestState.REFUSED else None,
        )
        await self._add(request)
        named = draw.sample(self._resources, draw.randint(1, 3))
        await self._add(
            *(AccessRequestResource(request_id=request.id, resource_kind=kind, resource_id=key) for kind, key in named)
        )
        sources = {self._whole.get(key, key) for kind, key in named if kind != "MODEL_VERSION"}
        await self._add(
            *(AccessRequestSource(request_id=request.id, dataset_id=source) for source in sorted(sources)),
            *(self._approval(request, person, named) for person in approvers[: draw.randint(0, 2)]),
        )
        if state is AccessRequestState.APPROVED:
            await self._grant(request, named, basis=AccessBasis.REQUEST)

    def _approval(self, request: AccessRequest, person: UUID, named: list[Resource]) -> AccessApproval:
        return AccessApproval(
            request_id=request.id,
            user_id=person,
            capacity=self._random.choice(list(Capacity)).value,
            approved_at=self._moment(),
            reason=self._random.choice((None, self._text())),
            duration_seconds=request.duration_seconds,
            resource_kinds=[kind for kind, _ in named],
            resource_ids=[key for _, key in named],
        )

    async def _grant(self, request: AccessRequest | None, named: list[Resource], *, basis: AccessBasis) -> None:
        """Some for columns or rows alone; some that have ended, that end soon, or that have not begun."""
        draw = self._random
        begins, ends = draw.choice(((-2, -1), (-1, 2), (-1, 400), (1, 2)))
        withdrawn = draw.random() < 0.2
        sample = draw.choice(((None, None), (10, None), (None, 333_333)))
        grant = AccessGrant(
            id=new_id(),
            basis=basis.value,
            request_id=None if request is None else request.id,
            beneficiary_team_id=draw.choice(self._teams) if request is None else request.beneficiary_team_id,
            beneficiary_user_id=None if request is None else request.beneficiary_user_id,
            purpose=None if request is None else request.purpose,
            justification=self._text(),
            columns=draw.choice((None, None, ["bar"])),
            first_rows=sample[0],
            sample_millionths=sample[1],
            valid_from=self._at + begins * DAY,
            valid_to=self._at + ends * DAY,
            approved_by=None if request is None else request.decided_by,
            created_at=self._moment(),
            withdrawn_at=self._at if withdrawn else None,
            withdrawn_by=draw.choice(self._people) if withdrawn else None,
            withdrawal_reason=self._text() if withdrawn else None,
        )
        await self._add(grant)
        await self._add(
            *(AccessGrantResource(grant_id=grant.id, resource_kind=kind, resource_id=key) for kind, key in named)
        )

    async def _budgets(self) -> None:
        draw = self._random
        for dataset in self._datasets:
            for scope in draw.sample(list(BudgetScope), draw.randint(0, 3)):
                action = draw.choice(list(BudgetAction))
                budget = ReadBudget(
                    dataset_id=dataset,
                    scope=scope.value,
                    window_seconds=draw.choice((60, 86_400)),
                    rows_max=draw.choice((None, 2**40)),
                    bytes_max=2**33,
                    habit_factor=draw.choice((None, 3)),
                    action=action.value,
                    delay_seconds=600 if action is BudgetAction.DELAY else 0,
                    set_by=draw.choice(self._people),
                    set_at=self._moment(),
                )
                await self._add(budget)
        for number in range(ALERTS):
            action, person = draw.choice(list(BudgetAction)), draw.choice(self._people)
            alert = AccessAlert(
                id=new_id(),
                dataset_id=draw.choice(self._datasets),
                scope=draw.choice(list(BudgetScope)).value,
                subject_id=person,
                window_seconds=86_400,
                window_start=self._at - number * DAY,
                action=action.value,
                user_id=draw.choice((None, person)),
                team_id=draw.choice((None, *self._teams)),
                rows=2**40,
                bytes=draw.choice((0, 2**33)),
                message=self._text(),
                raised_at=self._moment(),
                delayed_until=self._at if action is BudgetAction.DELAY else None,
            )
            await self._add(alert)

    async def _lessons(self) -> None:
        draw = self._random
        for _ in range(LESSONS):
            version, dataset = draw.choice(list(self._whole.items()))
            of_version = draw.random() < 0.5
            lesson = Lesson(
                id=new_id(),
                subject_kind=(SubjectKind.DATASET_VERSION if of_version else SubjectKind.DATASET).value,
                subject_id=version if of_version else dataset,
                team_id=draw.choice(self._teams),
                dataset_id=dataset,
                summary=self._text(),
                body="",
                outcome=draw.choice(list(LessonOutcome)).value,
                dont_use_when=None,
                tags=[],
                author_kind="USER",
                author_id=draw.choice(self._people),
                created_at=self._moment(),
            )
            await self._add(lesson)

    async def _loosenings(self) -> None:
        draw = self._random
        for version in draw.sample(self._models, min(LOOSENINGS, len(self._models))):
            state, (requester, decider) = draw.choice(list(LooseningState)), draw.sample(self._people, 2)
            decided = state in (LooseningState.APPROVED, LooseningState.REFUSED)
            withdrawn = state is LooseningState.WITHDRAWN
            loosening = Loosening(
                id=new_id(),
                model_version_id=version,
                property=RestrictedProperty.REGIONS.value,
                regions=["us"],
                justification=self._text(),
                requester_id=requester,
                state=state.value,
                created_at=self._moment(),
                decided_at=self._at if decided else None,
                decided_by=decider if decided else None,
                decision_reason=self._text() if decided else None,
                withdrawn_at=self._at if withdrawn else None,
                withdrawn_by=decider if withdrawn else None,
                withdrawal_reason=self._text() if withdrawn else None,
            )
            await self._add(loosening)
            for key in sorted(draw.sample(list(self._whole), 3)):
                await self._add(
                    LooseningSource(
                        loosening_id=loosening.id,
                        dataset_version_id=key,
                        dataset_id=self._whole[key],
                        classification=draw.choice(list(Classification)).value,
                        permitted_purposes=[draw.choice(PURPOSES)],
                        regions=draw.choice(([], ["eu"])),
                        retention_ends_on=draw.choice((None, self._at.date())),
                    )
                )
            if decided:
                await self._add(
                    LooseningApproval(
                        loosening_id=loosening.id,
                        user_id=decider,
                        dataset_ids=[draw.choice(self._datasets)],
                        reason=draw.choice((None, self._text())),
                        approved_at=self._moment(),
                    )
                )
