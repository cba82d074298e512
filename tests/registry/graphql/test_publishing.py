"""The mutations of models, as DOCUMENTS.graphql has them."""

from sqlalchemy import select

from guildhall.clock import new_id
from guildhall.graphql.ids import encode_id
from registry.models.tables import Model, ModelVersion
from registry.models.uploading import finish_version
from tests.registry.asking import Asking, model_id, version_id
from tests.registry.house import FILE

REGISTER = """mutation RegisterModel($input: RegisterModelInput!) {
  registerModel(input: $input) { model { id name task riskTier team { name } } errors { code field message } } }"""
CREATE = """mutation CreateModelVersion($input: CreateModelVersionInput!) {
  createModelVersion(input: $input) {
    modelVersion { id number status }
    uploads { path url method partSizeBytes headers { name value } }
    errors { code field message } } }"""
UPDATE_CARD = """mutation UpdateCard($input: UpdateCardInput!) {
  updateCard(input: $input) { card { completeness missing } errors { code field message } } }"""
PUBLISH = """mutation PublishModelVersion($input: PublishModelVersionInput!) {
  publishModelVersion(input: $input) {
    modelVersion { id status statusReason { code message } } errors { code field message } } }"""
SET_ALIAS = """mutation SetAlias($input: SetAliasInput!) {
  setAlias(input: $input) { alias { name version { number } } errors { code field message } } }"""

GIVEN = {
    "team": "maintenance",
    "name": "gauge-reader",
    "task": "image-classification",
    "description": "Reads handwritten digits.",
    "riskTier": "LOW",
}
FILES = [{"path": FILE.path, "sizeBytes": str(FILE.size_bytes), "sha256": FILE.sha256}]


class TestTheStory:
    async def test_from_registration_to_champion(self, ask: Asking) -> None:
        async with ask.house() as house:
            data = await house.dataset_version(await house.dataset())
        registered = (await ask("anna", REGISTER, input=GIVEN))["registerModel"]
        model = registered["model"]
        told = {key: GIVEN[key] for key in ("name", "task", "riskTier")}
        assert registered == {"model": {"id": model["id"], **told, "team": {"name": "maintenance"}}, "errors": []}

        sources = [{"kind": "TRAINED_ON", "nodeId": encode_id("DatasetVersion", data)}]
        metrics = [{"name": "accuracy", "value": 0.97, "split": "test"}]
        given = {"modelId": model["id"], "files": FILES, "metrics": metrics, "sources": sources, "parameters": {"k": 3}}
        created = (await ask("anna", CREATE, input=given))["createModelVersion"]
        version = created["modelVersion"]
        assert (version["number"], version["status"], created["errors"]) == (1, "DRAFT", [])
        (upload,) = created["uploads"]
        assert (upload["path"], upload["method"], upload["headers"][0]["name"]) == (
            FILE.path,
            "PUT",
            "X-Guildhall-Upload",
        )

        draft = (await ask("anna", PUBLISH, input={"modelVersionId": version["id"]}))["publishModelVersion"]
        assert (draft["modelVersion"], [error["code"] for error in draft["errors"]]) == (None, ["UPLOADS_INCOMPLETE"])
        async with ask.house() as house:
            key = (await house.session.scalars(select(ModelVersion.id))).one()
            await finish_version(house.session, house.actor("anna"), key, at=house.at, new_id=new_id)

        blocked = (await ask("anna", PUBLISH, input={"modelVersionId": version["id"]}))["publishModelVersion"]
        assert blocked["modelVersion"] == {
            "id": version["id"],
            "status": "BLOCKED",
            "statusReason": {
                "code": "CARD_INCOMPLETE",
                "message": "The card lacks what a model of risk tier LOW needs: Intended use, Training data, Metrics.",
            },
        }
        assert blocked["errors"] == [
            {
                "code": "CARD_SECTION_MISSING",
                "field": f"card.sections[{name}]",
                "message": f"The card lacks the section “{name}”.",
            }
            for name in ("Intended use", "Training data", "Metrics")
        ]

        sections = [{"name": "Intended use", "body": "Dials."}, {"name": "training data", "body": "Digits."}]
        card = await ask("anna", UPDATE_CARD, input={"modelVersionId": version["id"], "sections": sections})
        assert card["updateCard"]["card"]["missing"] == ["Metrics"]
        assert round(card["updateCard"]["card"]["completeness"], 6) == 0.666667
        needs = {
            "features": [{"name": "image", "type": "uint8[8,8]"}],
            "labelDefinition": "The digit.",
            "rowsMin": "50",
        }
        rest = {"sections": [{"name": "metrics", "body": "97 %."}], "dataNeeds": needs}
        card = await ask("anna", UPDATE_CARD, input={"modelVersionId": version["id"], **rest})
        assert card["updateCard"] == {"card": {"completeness": 1.0, "missing": []}, "errors": []}

        published = (await ask("anna", PUBLISH, input={"modelVersionId": version["id"]}))["publishModelVersion"]
        assert published == {
            "modelVersion": {"id": version["id"], "status": "PUBLISHED", "statusReason": None},
            "errors": [],
        }
        alias = {"modelId": model["id"], "name": "champion", "modelVersionId": version["id"], "reason": "first"}
        answer = await ask("anna", SET_ALIAS, input=alias)
        assert answer["setAlias"] == {"alias": {"name": "champion", "version": {"number": 1}}, "errors": []}

    async def test_the_same_key_twice_does_it_once(self, ask: Asking) -> None:
        async with ask.house():
            pass
        first, again = [await ask("anna", REGISTER, input={**GIVEN, "idempotencyKey": "k1"}) for _ in range(2)]
        assert first == again
        async with ask.house() as house:
            assert await house.count(Model) == 1


class TestProblems:
    async def test_what_can_be_mended_is_in_the_payload(self, ask: Asking) -> None:
        async with ask.house() as house:
            model = await house.model()
            hidden = await house.dataset_version(await house.dataset(team="quality"))
        taken = (await ask("anna", REGISTER, input=GIVEN))["registerModel"]
        assert (taken["model"], [(error["code"], error["field"]) for error in taken["errors"]]) == (
            None,
            [("NAME_TAKEN", "name")],
        )
        for node, codes in (
            ("nonsense", ["NOT_FOUND"]),
            (version_id(new_id()), ["NOT_FOUND"]),
            (encode_id("DatasetVersion", hidden), ["WRONG_KIND"]),
        ):
            given = {
                "modelId": model_id(model),
                "files": FILES,
                "sources": [{"kind": "FINE_TUNED_FROM", "nodeId": node}],
            }
            answer = (await ask("anna", CREATE, input=given))["createModelVersion"]
            assert [error["code"] for error in answer["errors"]] == codes
            assert (answer["modelVersion"], answer["uploads"]) == (None, [])

    async def test_what_is_refused_is_an_error_and_recorded(self, ask: Asking) -> None:
        async with ask.house() as house:
            version = await house.version(await house.model())
        given = {"modelVersionId": version_id(version)}
        assert await ask.refused("carl", PUBLISH, input=given) == ["PERMISSION_REFUSED"]
        async with ask.house() as house:
            (event,) = await house.events("registry:model:publish")
            assert (event.outcome, event.actor_id, event.resource_ids) == ("REFUSED", house.people["carl"], [version])
            assert (await house.facts(version)).status == "READY"

    async def test_hidden_is_not_found(self, ask: Asking) -> None:
        async with ask.house() as house:
            version = await house.version(await house.model(visibility="TEAM"))
        answer = (await ask("quinn", PUBLISH, input={"modelVersionId": version_id(version)}))["publishModelVersion"]
        assert [(error["code"], error["field"]) for error in answer["errors"]] == [("NOT_FOUND", "modelVersionId")]


class TestAdopting:
    async def test_says_since_when_and_which_version(self, ask: Asking) -> None:
        async with ask.house() as house:
            version = await house.published(await house.model())
        document = """mutation AdoptModel($input: AdoptModelInput!) {
          adoptModel(input: $input) { adoption { id since version { number } } errors { code field message } } }"""
        given = {"modelVersionId": version_id(version), "team": "quality", "purpose": "reading line 3"}
        first = (await ask("paul", document, input=given))["adoptModel"]
        assert first["errors"] == []
        assert first["adoption"]["since"] == "2026-03-02T08:00:00.000000Z"
        assert first["adoption"]["version"] == {"number": 1}
        again = (await ask("paul", document, input=given))["adoptModel"]
        assert (again["adoption"], [error["code"] for error in again["errors"]]) == (None, ["ALREADY_ADOPTED"])
        assert await ask.refused("paul", document, input={**given, "team": "maintenance"}) == ["PERMISSION_REFUSED"]


class TestGivingUp:
    async def test_withdraw_then_abandon(self, ask: Asking) -> None:
        async with ask.house() as house:
            version = await house.published(await house.model())
        given = {"modelVersionId": version_id(version), "reason": "worse than the first"}
        withdrawn = await ask(
            "anna",
            """mutation ($input: WithdrawPublicationInput!) { withdrawPublication(input: $input) {
                 modelVersion { status statusReason { code message } } errors { code } } }""",
            input=given,
        )
        assert withdrawn["withdrawPublication"]["modelVersion"] == {
            "status": "READY",
            "statusReason": {"code": "WITHDRAWN", "message": "worse than the first"},
        }
        abandoned = await ask(
            "anna",
            """mutation ($input: AbandonModelVersionInput!) { abandonModelVersion(input: $input) {
                 modelVersion { status } errors { code } } }""",
            input=given,
        )
        assert abandoned["abandonModelVersion"] == {"modelVersion": {"status": "ABANDONED"}, "errors": []}
