"""Whoever has no business with Works: every mutation of the contract is refused, and changes nothing."""

import pytest
from graphql import OperationDefinitionNode, OperationType, parse

from demo.contract import CONTRACT, document
from tests.e2e.faults.house import House, Told
from tests.e2e.faults.treasures import fingerprint, inputs_on_works

MUTATIONS = sorted(
    definition.name.value
    for definition in parse(CONTRACT.read_text(encoding="utf-8")).definitions
    if isinstance(definition, OperationDefinitionNode)
    and definition.operation is OperationType.MUTATION
    and definition.name is not None
)
REVOKE_TOKEN = "mutation Revoke($input: RevokeTokenInput!) { revokeToken(input: $input) { errors { code message } } }"
REFUSALS = frozenset({"PERMISSION_REFUSED", "NOT_FOUND", "STEWARD_REQUIRED"})


def assert_one_sentence(told: Told) -> None:
    """One error, with a code that is no fault of ours, and a sentence."""
    (problem,) = told.problems
    assert told.status < 500
    assert problem["code"] == problem["code"].upper()
    assert problem["code"] != "INTERNAL_ERROR"
    assert len(problem["message"]) > 10
    assert problem["message"].rstrip()[-1] in ".!?"


def refused(house: House, token: str | None, name: str) -> Told:
    """What the caller is told who tries; nothing may change by it."""
    before = fingerprint(house)
    told = house.told(token, document(name), {"input": inputs_on_works(house)[name]})
    assert_one_sentence(told)
    after = fingerprint(house)
    assert {table for table in before if before[table] != after[table]} == set()
    return told


def test_every_mutation_of_the_contract_is_tried(treasury: House) -> None:
    assert sorted(inputs_on_works(treasury)) == MUTATIONS


@pytest.mark.parametrize("name", MUTATIONS)
class TestOutsider:
    def test_of_another_team(self, treasury: House, name: str) -> None:
        assert refused(treasury, treasury.tokens["oli"], name).codes[0] in REFUSALS

    def test_without_a_token(self, treasury: House, name: str) -> None:
        told = refused(treasury, None, name)
        assert told.codes == ["UNAUTHENTICATED"]

    def test_with_a_token_that_is_none(self, treasury: House, name: str) -> None:
        told = refused(treasury, "ghu_this-is-no-token", name)
        assert (told.status, told.codes) == (401, ["TOKEN_REFUSED"])


class TestRevokedToken:
    def test_opens_nothing_from_that_moment_on(self, treasury: House) -> None:
        issued = treasury.new_token("ada")
        assert not treasury.told(issued["secret"], document("Viewer")).problems
        treasury.people["pat"].mutate(REVOKE_TOKEN, {"tokenId": issued["token"]["id"]})
        for name in MUTATIONS:
            told = treasury.told(issued["secret"], document(name), {"input": inputs_on_works(treasury)[name]})
            assert_one_sentence(told)
            assert (told.status, told.codes) == (401, ["TOKEN_REFUSED"])


class TestOwnMembers:
    @pytest.mark.parametrize("name", ["RegisterModel", "CreatePackage", "RecordLesson", "AcceptQuote", "UpdateCard"])
    def test_may_what_others_may_not(self, treasury: House, name: str) -> None:
        """The same inputs from a member change things: the refusals above are about who asked, not about what."""
        before = fingerprint(treasury)
        told = treasury.try_change("ada", name, **inputs_on_works(treasury)[name])
        assert told.problems == []
        assert fingerprint(treasury) != before
