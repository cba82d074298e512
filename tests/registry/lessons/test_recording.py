from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from guildhall.auth.authorize import PermissionRefused
from guildhall.clock import new_id
from guildhall.errors import GuildhallError, NotFound
from registry.datasets.tables import Visibility
from registry.lessons.recording import (
    LessonNeedsPerson,
    LessonSubject,
    lesson_subject_for_registry,
    record_lesson,
    visible_lessons,
)
from registry.lessons.tables import Lesson, LessonOutcome, SubjectKind
from registry.models.tables import ModelVersion
from tests.registry.house import House


async def learn(house: House, subject: LessonSubject, *, by: str = "carl", **given: Any) -> UUID:
    values = {
        "summary": "Fails on glare.",
        "body": "Normalise contrast first.",
        "outcome": LessonOutcome.MIXED,
        **given,
    }
    return await record_lesson(house.session, house.actor(by), subject=subject, at=house.at, new_id=new_id, **values)


async def on_version(house: House, **given: Any) -> LessonSubject:
    version_id = await house.version(await house.model(**given))
    return await lesson_subject_for_registry(house.session, house.actor("anna"), SubjectKind.MODEL_VERSION, version_id)


class TestRecordLesson:
    async def test_on_a_version_with_the_job_that_made_it(self, house: House) -> None:
        model_id, job_id = await house.model(), new_id()
        version_id = await house.version(model_id)
        await house.change(ModelVersion, version_id, produced_by_job_id=job_id)
        subject = await lesson_subject_for_registry(
            house.session, house.actor("carl"), SubjectKind.MODEL_VERSION, version_id
        )
        lesson_id = await learn(house, subject, dont_use_when="there is glare", tags=["Glare"])
        lesson = (await house.session.scalars(select(Lesson))).one()
        assert (lesson.id, lesson.subject_kind, lesson.subject_id) == (lesson_id, "MODEL_VERSION", version_id)
        assert (lesson.model_id, lesson.dataset_id, lesson.job_id) == (model_id, None, job_id)
        assert (lesson.summary, lesson.body, lesson.outcome) == (
            "Fails on glare.",
            "Normalise contrast first.",
            "MIXED",
        )
        assert (lesson.dont_use_when, lesson.tags) == ("there is glare", ["glare"])
        assert (lesson.author_kind, lesson.author_id) == ("USER", house.people["carl"])
        (event,) = await house.events("registry:lesson:record")
        assert event.resource_types == ["Lesson", "ModelVersion", "Model", "Job"]
        assert event.resource_ids == [lesson_id, version_id, model_id, job_id]

    async def test_on_a_data_set_and_a_version_of_it(self, house: House) -> None:
        dataset_id = await house.dataset()
        version_id = await house.dataset_version(dataset_id)
        for kind, key in ((SubjectKind.DATASET, dataset_id), (SubjectKind.DATASET_VERSION, version_id)):
            await learn(house, await lesson_subject_for_registry(house.session, house.actor("carl"), kind, key))
        lessons = (await house.session.scalars(select(Lesson).order_by(Lesson.id))).all()
        assert [(lesson.subject_kind, lesson.subject_id, lesson.dataset_id) for lesson in lessons] == [
            ("DATASET", dataset_id, dataset_id),
            ("DATASET_VERSION", version_id, dataset_id),
        ]

    async def test_on_a_job_that_aimed_at_a_model(self, house: House) -> None:
        model_id, job_id = await house.model(), new_id()
        team_id = house.teams["maintenance"]
        subject = LessonSubject(kind=SubjectKind.JOB, id=job_id, team_id=team_id, model_id=model_id, job_id=job_id)
        await learn(house, subject, outcome=LessonOutcome.FAILED)
        lesson = (await house.session.scalars(select(Lesson))).one()
        assert (lesson.subject_kind, lesson.model_id, lesson.job_id, lesson.outcome) == (
            "JOB",
            model_id,
            job_id,
            "FAILED",
        )

    async def test_a_reusing_team_may_say_what_it_learned(self, house: House) -> None:
        await learn(house, await on_version(house), by="paul")
        assert await house.count(Lesson) == 1

    @pytest.mark.parametrize("who", ["vera", "mia", "omar"])
    async def test_refused(self, house: House, who: str) -> None:
        subject = await on_version(house)
        with pytest.raises(PermissionRefused):
            await learn(house, subject, by=who)
        assert (await house.count(Lesson), await house.events("registry:lesson:record")) == (0, [])

    async def test_a_job_has_nothing_to_say(self, house: House) -> None:
        subject = await on_version(house)
        with pytest.raises(LessonNeedsPerson):
            await record_lesson(
                house.session,
                house.job("maintenance", "carl"),
                subject=subject,
                summary="x",
                body="",
                outcome=LessonOutcome.WORKED,
                at=house.at,
                new_id=new_id,
            )

    @pytest.mark.parametrize(
        ("given", "field"),
        [({"summary": ""}, "summary"), ({"summary": "x" * 301}, "summary"), ({"tags": ["!"]}, "tags[0]")],
    )
    async def test_texts_that_do_not_fit(self, house: House, given: dict[str, Any], field: str) -> None:
        subject = await on_version(house)
        with pytest.raises(GuildhallError) as refusal:
            await learn(house, subject, **given)
        assert (refusal.value.field, await house.count(Lesson)) == (field, 0)


class TestLessonSubject:
    @pytest.mark.parametrize("kind", [SubjectKind.MODEL_VERSION, SubjectKind.DATASET, SubjectKind.DATASET_VERSION])
    async def test_what_is_hidden_is_not_there(self, house: House, kind: SubjectKind) -> None:
        dataset_id = await house.dataset(visibility=Visibility.TEAM)
        keys = {
            SubjectKind.MODEL_VERSION: await house.version(await house.model(visibility=Visibility.TEAM)),
            SubjectKind.DATASET: dataset_id,
            SubjectKind.DATASET_VERSION: await house.dataset_version(dataset_id),
        }
        for who, key in (("quinn", keys[kind]), ("anna", new_id())):
            with pytest.raises(NotFound) as refusal:
                await lesson_subject_for_registry(house.session, house.actor(who), kind, key)
            assert refusal.value.field == "subjectId"


class TestVisibleLessons:
    async def test_as_what_they_are_about(self, house: House) -> None:
        job_id = new_id()
        open_lesson = await learn(house, await on_version(house, name="open"))
        hidden_lesson = await learn(house, await on_version(house, name="hidden", visibility=Visibility.TEAM))
        bare = LessonSubject(kind=SubjectKind.JOB, id=job_id, team_id=house.teams["maintenance"], job_id=job_id)
        job_lesson = await learn(house, bare)
        seen = {
            who: set(await house.session.scalars(select(Lesson.id).where(visible_lessons(house.actor(who)))))
            for who in ("vera", "quinn", "mia", "omar")
        }
        assert seen == {
            "vera": {open_lesson, hidden_lesson, job_lesson},
            "quinn": {open_lesson},
            "mia": {open_lesson},
            "omar": set(),
        }
