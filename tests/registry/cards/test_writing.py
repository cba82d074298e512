import pytest
from sqlalchemy import select

from guildhall.auth.authorize import PermissionRefused
from guildhall.clock import new_id
from guildhall.errors import GuildhallError, NotFound
from registry.cards.sections import canonical_name, completeness, missing_sections
from registry.cards.tables import CardSection, DataNeed, SectionOrigin
from registry.cards.writing import DataNeeds, Feature, Section, update_card, write_sections
from registry.models.tables import ModelVersion, RiskTier
from tests.registry.house import House


async def write(
    house: House, version_id: object, *sections: Section, by: str = "carl", needs: DataNeeds | None = None
) -> None:
    await update_card(
        house.session,
        house.actor(by),
        model_version_id=version_id,  # type: ignore[arg-type]  # an id of the house
        sections=sections,
        data_needs=needs,
        at=house.at,
        new_id=new_id,
    )


async def stored(house: House) -> list[tuple[str, str, str]]:
    statement = select(CardSection).order_by(CardSection.position, CardSection.name)
    rows = await house.session.scalars(statement.execution_options(populate_existing=True))
    return [(row.name, row.body, row.origin) for row in rows]


class TestUpdateCard:
    async def test_writes_under_canonical_names_in_order(self, house: House) -> None:
        version_id = await house.version(await house.model())
        await write(
            house, version_id, Section(" our  notes", "x"), Section("METRICS", "y"), Section("intended_use", "z")
        )
        assert await stored(house) == [
            ("Intended use", "z", "PERSON"),
            ("Metrics", "y", "PERSON"),
            ("our notes", "x", "PERSON"),
        ]

    async def test_replaces_what_it_names_and_keeps_the_rest(self, house: House) -> None:
        version_id = await house.version(await house.model())
        await write(house, version_id, Section("Metrics", "old"), Section("Limitations", "glare"))
        await write(house, version_id, Section("Metrics", "new"))
        assert await stored(house) == [("Limitations", "glare", "PERSON"), ("Metrics", "new", "PERSON")]

    async def test_an_empty_body_takes_a_section_away(self, house: House) -> None:
        version_id = await house.version(await house.model())
        await write(house, version_id, Section("Metrics", "old"))
        await write(house, version_id, Section("Metrics", "  "))
        assert await stored(house) == []

    async def test_replaces_the_data_needs(self, house: House) -> None:
        version_id = await house.version(await house.model())
        await write(house, version_id, needs=DataNeeds(features=[Feature(name="old", type="text")], rows_min=1))
        needs = DataNeeds(
            features=[
                Feature(name="image", type="uint8[8,8]", unit=" grey "),
                Feature(name="note", type="text", required=False),
            ],
            label_definition="What the hand points at.",
        )
        await write(house, version_id, needs=needs)
        row = (await house.session.scalars(select(DataNeed).execution_options(populate_existing=True))).one()
        assert row.features == [
            {"name": "image", "type": "uint8[8,8]", "unit": "grey", "required": True},
            {"name": "note", "type": "text", "unit": None, "required": False},
        ]
        assert (row.label_definition, row.rows_min) == ("What the hand points at.", None)

    async def test_is_recorded(self, house: House) -> None:
        model_id = await house.model()
        version_id = await house.version(model_id)
        await write(house, version_id, Section("metrics", "x"))
        (event,) = await house.events("registry:model:describe")
        assert (event.resource_ids, event.after) == (
            [version_id, model_id],
            {"sections": ["Metrics"], "dataNeeds": False},
        )

    @pytest.mark.parametrize(
        ("sections", "needs", "field"),
        [
            ([Section("", "x")], None, "sections[0].name"),
            ([Section("Metrics", "x"), Section("metrics", "y")], None, "sections[1].name"),
            ([Section("Metrics", "x" * 50_001)], None, "sections[0].body"),
            ([Section(f"s{number}", "x") for number in range(41)], None, "sections"),
            ([], DataNeeds(features=[Feature(name="", type="x")]), "dataNeeds.features[0].name"),
            ([], DataNeeds(features=[Feature(name="a", type="")]), "dataNeeds.features[0].type"),
            ([], DataNeeds(features=[Feature(name="a", type="x")] * 2), "dataNeeds.features[1].name"),
            ([], DataNeeds(features=[Feature(name="a", type="x")] * 2_001), "dataNeeds.features"),
            ([], DataNeeds(features=[], rows_min=-1), "dataNeeds.rowsMin"),
            ([], DataNeeds(features=[], rows_min=2**63), "dataNeeds.rowsMin"),
        ],
    )
    async def test_what_does_not_fit(
        self, house: House, sections: list[Section], needs: DataNeeds | None, field: str
    ) -> None:
        version_id = await house.version(await house.model())
        with pytest.raises(GuildhallError) as refusal:
            await write(house, version_id, *sections, needs=needs)
        assert (refusal.value.field, await house.count(DataNeed)) == (field, 0)

    async def test_a_card_does_not_grow_for_ever(self, house: House) -> None:
        version_id = await house.version(await house.model())
        await write(house, version_id, *(Section(f"s{number}", "x") for number in range(40)))
        with pytest.raises(GuildhallError) as refusal:
            await write(house, version_id, Section("one more", "x"))
        assert refusal.value.field == "sections"

    @pytest.mark.parametrize(
        ("who", "error"), [("vera", PermissionRefused), ("quinn", PermissionRefused), ("omar", NotFound)]
    )
    async def test_refused(self, house: House, who: str, error: type[GuildhallError]) -> None:
        version_id = await house.version(await house.model())
        with pytest.raises(error):
            await write(house, version_id, Section("Metrics", "x"), by=who)
        assert await stored(house) == []


class TestWriteSections:
    async def test_a_run_never_replaces_a_person(self, house: House) -> None:
        version_id = await house.version(await house.model())
        await write(house, version_id, Section("Metrics", "mine"))
        run = [Section("Metrics", "measured"), Section("Parameters", "depth 3")]
        for origin in (SectionOrigin.RUN, SectionOrigin.RUN):
            await write_sections(
                house.session,
                model_version_id=version_id,
                sections=run,
                origin=origin,
                written_by=house.people["carl"],
                at=house.at,
                new_id=new_id,
            )
        assert await stored(house) == [("Metrics", "mine", "PERSON"), ("Parameters", "depth 3", "RUN")]
        await write(house, version_id, Section("Parameters", "depth three"))
        assert await stored(house) == [("Metrics", "mine", "PERSON"), ("Parameters", "depth three", "PERSON")]


class TestCompleteness:
    @pytest.mark.parametrize(
        ("tier", "share", "missing"),
        [
            (RiskTier.LOW, 1 / 3, ["Intended use", "Training data"]),
            (RiskTier.LIMITED, 1 / 3, ["Intended use", "Training data", "Procedure", "Data needs"]),
            (
                RiskTier.HIGH,
                3 / 9,
                [
                    "Intended use",
                    "Training data",
                    "Procedure",
                    "Evaluation",
                    "Ethical considerations",
                    "Human oversight",
                ],
            ),
        ],
    )
    async def test_counts_what_the_tier_asks_for(
        self, house: House, tier: RiskTier, share: float, missing: list[str]
    ) -> None:
        version_id = await house.version(await house.model(risk_tier=tier))
        needs = DataNeeds(features=[]) if tier == RiskTier.HIGH else None
        await write(
            house, version_id, Section("Metrics", "x"), Section("Limitations", "x"), Section("More", "x"), needs=needs
        )
        statement = select(completeness(), missing_sections()).where(ModelVersion.id == version_id)
        assert (await house.session.execute(statement)).one() == (pytest.approx(share), missing)


class TestCanonicalName:
    @pytest.mark.parametrize(
        ("given", "want"),
        [("INTENDED USE", "Intended use"), ("human_oversight", "Human oversight"), (" My  own ", "My own")],
    )
    def test_known_names_in_any_case(self, given: str, want: str) -> None:
        assert canonical_name(given) == want
