from guildhall.clock import new_id
from registry.lessons.recording import lesson_subject_for_registry, record_lesson
from registry.lessons.tables import LessonOutcome, SubjectKind
from tests.registry.asking import Asking, model_id

SEARCH = """query SearchModels($text: String!, $first: Int!, $after: String, $filter: ModelFilter) {
  searchModels(text: $text, first: $first, after: $after, filter: $filter) {
    count { value exact }
    edges {
      cursor score highlights { field text }
      node {
        id name team { name } lessons(first: 1) { nodes { summary } } adoptions { totalCount }
        viewerCan(permission: "registry:model:adopt")
      }
    }
    pageInfo { hasNextPage endCursor }
  }
}"""


class TestSearchModels:
    async def test_finds_by_what_a_model_does(self, ask: Asking) -> None:
        async with ask.house() as house:
            model = await house.model(description="Reads the handwritten digits of a gauge.")
            version = await house.version(model)
            subject = await lesson_subject_for_registry(
                house.session, house.actor("anna"), SubjectKind.MODEL_VERSION, version
            )
            await record_lesson(
                house.session,
                house.actor("anna"),
                subject=subject,
                summary="Fails on glare.",
                body="",
                outcome=LessonOutcome.MIXED,
                at=house.at,
                new_id=new_id,
            )
            await house.model("unrelated")
        found = (await ask("quinn", SEARCH, text="digit", first=5))["searchModels"]
        assert (found["count"], found["pageInfo"]["hasNextPage"]) == ({"value": 1, "exact": True}, False)
        (edge,) = found["edges"]
        assert 0 < edge["score"] < 1
        assert edge["highlights"] == [{"field": "description", "text": "Reads the handwritten «digits» of a gauge."}]
        assert edge["node"] == {
            "id": model_id(model),
            "name": "gauge-reader",
            "team": {"name": "maintenance"},
            "lessons": {"nodes": [{"summary": "Fails on glare."}]},
            "adoptions": {"totalCount": 0},
            "viewerCan": True,
        }

    async def test_pages_from_the_best_to_the_least(self, ask: Asking) -> None:
        async with ask.house() as house:
            await house.model("c", description="About torque.")
            await house.model("b", task="torque")
            await house.model("torque")
            for name in ("d", "e"):
                await house.model(name, description="About torque.")
        names, after = [], None
        for more in (True, True, False):
            page = (await ask("mia", SEARCH, text="torque", first=2, after=after))["searchModels"]
            assert (page["count"], page["pageInfo"]["hasNextPage"]) == ({"value": 5, "exact": True}, more)
            names.append([edge["node"]["name"] for edge in page["edges"]])
            after = page["pageInfo"]["endCursor"]
        assert names == [["torque", "b"], ["e", "d"], ["c"]]

    async def test_filters_as_the_list_does(self, ask: Asking) -> None:
        async with ask.house() as house:
            await house.model("ours")
            await house.model("theirs", by="quinn", team="quality")
        found = (await ask("mia", SEARCH, text="gauge", first=5, filter={"team": {"eq": "quality"}}))["searchModels"]
        assert ([edge["node"]["name"] for edge in found["edges"]], found["count"]["value"]) == (["theirs"], 1)

    async def test_what_is_hidden_is_neither_found_nor_counted(self, ask: Asking) -> None:
        async with ask.house() as house:
            await house.model("hidden", visibility="TEAM")
        found = (await ask("quinn", SEARCH, text="gauge", first=5))["searchModels"]
        assert (found["edges"], found["count"]) == ([], {"value": 0, "exact": True})
        assert (await ask("vera", SEARCH, text="gauge", first=5))["searchModels"]["count"]["value"] == 1

    async def test_who_may_adopt_is_asked_about_their_own_teams(self, ask: Asking) -> None:
        async with ask.house() as house:
            await house.model()
        can = {}
        for who in ("paul", "anna", "vera", "mia"):
            found = (await ask(who, SEARCH, text="gauge", first=5))["searchModels"]
            can[who] = found["edges"][0]["node"]["viewerCan"]
        assert can == {"paul": True, "anna": True, "vera": False, "mia": False}

    async def test_as_many_statements_for_fifty_as_for_one(self, ask: Asking) -> None:
        async with ask.house() as house:
            for number in range(50):
                await house.model(f"gauge-{number}")
        counts = []
        for first in (1, 50):
            with ask.counted() as statements:
                found = await ask("quinn", SEARCH, text="gauge", first=first)
            assert len(found["searchModels"]["edges"]) == first
            counts.append(len(statements))
        assert counts[0] == counts[1]

    async def test_a_text_that_is_too_long(self, ask: Asking) -> None:
        async with ask.house():
            pass
        assert await ask.refused("mia", SEARCH, text="x" * 501, first=5) == ["SEARCH_TEXT_TOO_LONG"]
