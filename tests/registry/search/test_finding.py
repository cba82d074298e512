from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from guildhall.clock import new_id
from registry.cards.writing import Section, update_card
from registry.datasets.tables import Visibility
from registry.lessons.recording import lesson_subject_for_registry, record_lesson
from registry.lessons.tables import LessonOutcome, SubjectKind
from registry.models.lookup import visible_models
from registry.models.publication import abandon_model_version
from registry.models.tables import Model
from registry.search.finding import SearchTextTooLong, highlight_query, highlights, matching_models, search_query
from tests.registry.house import House


async def search(house: House, text: str, *, by: str = "quinn") -> list[str]:
    """The names found, best first."""
    matching = matching_models(search_query(text))
    statement = select(Model.name).join(matching, matching.c.id == Model.id).where(visible_models(house.actor(by)))
    return list(await house.session.scalars(statement.order_by(matching.c.score.desc(), Model.id)))


async def shown(house: House, text: str) -> Any:
    matching = matching_models(search_query(text))
    statement = select(highlights(highlight_query(text))).select_from(Model)
    return await house.session.scalar(statement.join(matching, matching.c.id == Model.id))


async def write_card(house: House, version_id: UUID, name: str, body: str) -> None:
    await update_card(
        house.session,
        house.actor("anna"),
        model_version_id=version_id,
        sections=[Section(name, body)],
        at=house.at,
        new_id=new_id,
    )


async def learn(house: House, version_id: UUID, summary: str, **given: Any) -> None:
    actor = house.actor("anna")
    subject = await lesson_subject_for_registry(house.session, actor, SubjectKind.MODEL_VERSION, version_id)
    await record_lesson(
        house.session,
        actor,
        subject=subject,
        summary=summary,
        body="",
        outcome=LessonOutcome.MIXED,
        at=house.at,
        new_id=new_id,
        **given,
    )


class TestSearch:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("digit", True),
            ("DIGITS", True),
            ("handwritten digits", True),
            ("digits on handwritten notes", False),
            ("handw dig", True),
            ("gauge", True),
            ("gauge-reader", True),
            ("reader", True),
            ("classification", True),
            ("dials", True),
            ('"handwritten digits"', True),
            ('"digits handwritten"', False),
            ("digit -handwritten", False),
            ("nothing or digit", True),
            ("igit", False),
            ("the", True),
            ("", False),
            ("   ", False),
            ("'; DROP TABLE models; --", False),
            ("& | ! ( ) :* <->", False),
            ("nul\0l", False),
        ],
    )
    async def test_by_words_stems_phrases_and_beginnings(self, house: House, text: str, found: bool) -> None:
        await house.model(description="Reads the handwritten digits of a gauge.", tags=["dials"])
        assert await search(house, text) == (["gauge-reader"] if found else [])

    async def test_by_the_card_of_a_version_until_it_is_given_up(self, house: House) -> None:
        version_id = await house.version(await house.model())
        await write_card(house, version_id, "Limitations", "Blind in fog.")
        assert await search(house, "foggy fog") == []
        assert await search(house, "fog") == ["gauge-reader"]
        await write_card(house, version_id, "Limitations", "Blind in smoke.")
        assert (await search(house, "fog"), await search(house, "smoke")) == ([], ["gauge-reader"])
        await abandon_model_version(
            house.session, house.actor("anna"), model_version_id=version_id, reason="x", at=house.at, new_id=new_id
        )
        assert await search(house, "smoke") == []

    async def test_by_a_section_until_it_is_taken_away(self, house: House) -> None:
        version_id = await house.version(await house.model())
        await write_card(house, version_id, "Limitations", "Blind in fog.")
        await write_card(house, version_id, "Limitations", "")
        assert await search(house, "fog") == []

    async def test_by_what_was_learned(self, house: House) -> None:
        version_id = await house.version(await house.model())
        await learn(house, version_id, "Fails on glare.", dont_use_when="under neon lamps", tags=["contrast"])
        assert [await search(house, text) for text in ("glare", "neon", "contrast")] == [["gauge-reader"]] * 3

    async def test_by_a_description_that_changed(self, house: House) -> None:
        model_id = await house.model(description="Reads clocks.")
        await house.change(Model, model_id, description="Reads thermometers.")
        assert (await search(house, "clock"), await search(house, "thermometer")) == ([], ["gauge-reader"])

    async def test_the_name_counts_more_than_the_task_the_description_and_a_lesson(self, house: House) -> None:
        await learn(house, await house.version(await house.model("d")), "About torque.")
        await house.model("c", description="About torque.")
        await house.model("b", task="torque")
        await house.model("torque")
        assert await search(house, "torque") == ["torque", "b", "c", "d"]

    async def test_what_is_hidden_is_not_found(self, house: House) -> None:
        hidden = await house.model("hidden", visibility=Visibility.TEAM)
        await learn(house, await house.version(hidden), "Fails on glare.")
        found = {who: await search(house, "glare", by=who) for who in ("vera", "quinn", "mia", "omar")}
        assert found == {"vera": ["hidden"], "quinn": [], "mia": [], "omar": []}

    def test_a_text_that_nobody_looks_for(self) -> None:
        with pytest.raises(SearchTextTooLong):
            search_query("x" * 501)


class TestHighlights:
    async def test_show_where_the_words_are(self, house: House) -> None:
        version_id = await house.version(await house.model(description="Reads the handwritten digits of a gauge."))
        await write_card(house, version_id, "Limitations", "Not for digits on paper.")
        await write_card(house, version_id, "Metrics", "Nothing to see.")
        await learn(house, version_id, "A digit is lost in glare.")
        assert await shown(house, "digit") == [
            {"field": "description", "text": "Reads the handwritten «digits» of a gauge."},
            {"field": "card: Limitations", "text": "Not for «digits» on paper."},
            {"field": "lesson", "text": "A «digit» is lost in glare."},
        ]

    async def test_a_few_of_many(self, house: House) -> None:
        version_id = await house.version(await house.model())
        for number in range(7):
            await learn(house, version_id, f"Glare {number}.")
        assert [entry["text"] for entry in await shown(house, "glare")] == [
            f"«Glare» {number}." for number in (6, 5, 4, 3, 2)
        ]

    async def test_words_that_stand_in_different_texts(self, house: House) -> None:
        await learn(house, await house.version(await house.model(description="Reads dials.")), "Glare blinds it.")
        assert await search(house, "gauge glare") == ["gauge-reader"]
        assert await shown(house, "gauge glare") == [
            {"field": "name", "text": "«gauge»-reader"},
            {"field": "lesson", "text": "«Glare» blinds it."},
        ]

    async def test_of_a_long_text_the_parts_around_the_words(self, house: House) -> None:
        words = " ".join(f"word{number}" for number in range(200))
        await house.model(description=f"{words} glare {words}")
        (entry,) = await shown(house, "glare")
        assert "«glare»" in entry["text"]
        assert len(entry["text"].split()) <= 20
