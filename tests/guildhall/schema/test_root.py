"""The whole schema: every field says who may see it, and the committed file is what the code says."""

from pathlib import Path
from uuid import UUID

import pytest
from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType, GraphQLScalarType
from strawberry.types import get_object_definition

from guildhall.auth.permissions import PERMISSIONS
from guildhall.graphql.compose import compose
from guildhall.graphql.declare import PUBLIC, SIGNED_IN, column, connection, extend, node
from guildhall.graphql.ids import encode_id, split_id
from guildhall.graphql.inputs import MutationInput
from guildhall.schema.root import composed_schema, declarations
from tests.guildhall.graphql.example import House

SCHEMA_FILE = Path(__file__).resolve().parents[3] / "guildhall" / "schema.graphql"


class TestPermissions:
    def test_every_field_declares_one(self) -> None:
        catalogue = composed_schema().catalogue
        known = {PUBLIC, SIGNED_IN, *PERMISSIONS}
        walked = 0
        for graphql_type in composed_schema().schema.type_map.values():
            if not isinstance(graphql_type, GraphQLObjectType) or graphql_type.name.startswith("__"):
                continue
            declared = catalogue.types[graphql_type.name]  # nothing in the schema comes from elsewhere
            for name in graphql_type.fields:
                permission = declared.fields[name].permission or declared.permission
                assert permission in known, f"{graphql_type.name}.{name}: {permission}"
                walked += 1
        assert walked > 500

    def test_nothing_below_the_roots_is_public(self) -> None:
        public = {
            f"{declared.name}.{name}"
            for declared in composed_schema().catalogue.types.values()
            for name, field in declared.fields.items()
            if (field.permission or declared.permission) == PUBLIC
        }
        assert public == set()

    def test_every_node_with_an_owner_filters_its_rows(self) -> None:
        unfiltered = {
            declared.name
            for declared in composed_schema().catalogue.types.values()
            if declared.is_node and declared.visible is None
        }
        # These are there for everybody who is signed in: people, places, who holds which role, prices, and what
        # software a run had.
        assert unfiltered == {
            "Team", "User", "ServiceAccount", "Programme", "Period", "PriceList", "Rate", "Cluster", "Pool",
            "Environment", "RoleBinding",
        }  # fmt: skip

    def test_silence_is_refused(self) -> None:
        @extend("Query")
        class Silent:
            houses = connection("House")

        @node("House", table=House, visible=None, permission=SIGNED_IN)
        class HouseType:
            name: str = column(House.name)

        with pytest.raises(AssertionError, match=r"Query\.houses"):
            compose([HouseType, Silent])

    def test_a_field_that_leads_nowhere_is_refused(self) -> None:
        @extend("Query", permission=SIGNED_IN)
        class Lost:
            houses = connection("Castle")

        with pytest.raises(AssertionError, match="Castle"):
            compose([Lost])


class TestConventions:
    def test_the_committed_file_is_what_the_code_says(self) -> None:
        assert SCHEMA_FILE.read_text(encoding="utf-8") == composed_schema().text.rstrip("\n") + "\n"

    def test_the_schema_composes_twice_alike(self) -> None:
        assert compose(declarations()).text == composed_schema().text

    def test_everything_is_described(self) -> None:
        silent = [
            graphql_type.name
            for graphql_type in composed_schema().schema.type_map.values()
            if isinstance(
                graphql_type,
                GraphQLObjectType | GraphQLInputObjectType | GraphQLInterfaceType | GraphQLEnumType | GraphQLScalarType,
            )
            and not graphql_type.name.startswith("__")
            and not graphql_type.description
        ]
        assert [name for name in silent if not name.endswith(("OrderField", "Filter"))] == []

    def test_every_mutation_takes_one_input_with_a_key_and_answers_with_errors(self) -> None:
        mutation = composed_schema().schema.mutation_type
        assert mutation is not None
        assert len(mutation.fields) >= 20
        for name, field in mutation.fields.items():
            assert list(field.args) == ["input"], name
            given = getattr(field.args["input"].type, "of_type", None)
            assert isinstance(given, GraphQLInputObjectType), name
            assert "idempotencyKey" in given.fields, name
            answer = getattr(field.type, "of_type", field.type)
            assert isinstance(answer, GraphQLObjectType), name
            assert "errors" in answer.fields, name
        assert get_object_definition(MutationInput, strict=True).is_input

    def test_every_connection_has_the_same_parts(self) -> None:
        for name, graphql_type in composed_schema().schema.type_map.items():
            if name.endswith("Connection") and isinstance(graphql_type, GraphQLObjectType):
                assert {"edges", "pageInfo"} <= graphql_type.fields.keys(), name


class TestIds:
    def test_an_id_opens_to_what_it_was_made_of(self) -> None:
        key = UUID("01976a2e-1111-7000-8000-000000000001")
        assert encode_id("ModelVersion", key) == "ModelVersion_01976a2e111170008000000000000001"
        assert split_id("ModelVersion_01976a2e111170008000000000000001") == ("ModelVersion", key)

    @pytest.mark.parametrize(
        "text", ["", "_", "Model", "Model_", "Model_01976A2E111170008000000000000001", "Mödel_" + "0" * 32]
    )
    def test_anything_else_does_not_open(self, text: str) -> None:
        assert split_id(text) is None
