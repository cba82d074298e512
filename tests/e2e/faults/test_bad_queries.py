"""Questions that cannot be answered: unknown and foreign ids, cursors that are none, pages without an end."""

from typing import Any
from uuid import UUID

import pytest

from demo.contract import document
from guildhall.graphql.ids import encode_id
from tests.e2e.faults.house import House, Told

NOWHERE = UUID("01900000-0000-7000-8000-00000000dead")
LONG = "x" * 10_000
NUL = "a\0b"
NO_CURSORS = ("", "x", "not base64!", "AAAA", "A" * 60, LONG, NUL, "é")
JOBS_TEXT = "query ($after: String) { jobs(first: 1, after: $after) { pageInfo { endCursor } nodes { id } } }"


def ask(house: House, person: str, operation: str, **variables: Any) -> Told:
    return house.told(house.tokens[person], document(operation), variables)


def assert_one_refusal(told: Told, code: str) -> None:
    assert told.status < 500
    (problem,) = told.problems
    assert problem["code"] == code, problem
    assert len(problem["message"]) > 10


class TestCursor:
    @pytest.mark.parametrize("cursor", NO_CURSORS, ids=lambda cursor: repr(cursor)[:20])
    def test_that_is_none(self, treasury: House, cursor: str) -> None:
        assert_one_refusal(ask(treasury, "ada", "Models", first=1, after=cursor), "INVALID_CURSOR")

    def test_of_another_list(self, treasury: House) -> None:
        cursor = treasury.told(treasury.tokens["ada"], JOBS_TEXT).body["data"]["jobs"]["pageInfo"]["endCursor"]
        assert cursor
        assert treasury.told(treasury.tokens["ada"], JOBS_TEXT, {"after": cursor}).problems == []
        assert_one_refusal(ask(treasury, "ada", "Models", first=1, after=cursor), "INVALID_CURSOR")

    def test_of_another_filter_order_and_viewer(self, treasury: House) -> None:
        cursor = ask(treasury, "ada", "Models", first=1).body["data"]["models"]["pageInfo"]["endCursor"]
        assert ask(treasury, "ada", "Models", first=1, after=cursor).problems == []
        filtered = {"filter": {"team": {"eq": "works"}}}
        assert_one_refusal(ask(treasury, "ada", "Models", first=1, after=cursor, **filtered), "INVALID_CURSOR")
        ordered = {"orderBy": {"field": "NAME", "direction": "DESC"}}
        assert_one_refusal(ask(treasury, "ada", "Models", first=1, after=cursor, **ordered), "INVALID_CURSOR")
        assert_one_refusal(ask(treasury, "oli", "Models", first=1, after=cursor), "INVALID_CURSOR")

    def test_that_was_changed(self, treasury: House) -> None:
        cursor = ask(treasury, "ada", "Models", first=1).body["data"]["models"]["pageInfo"]["endCursor"]
        for place in (0, len(cursor) // 2, len(cursor) - 1):
            changed = cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
            assert_one_refusal(ask(treasury, "ada", "Models", first=1, after=changed), "INVALID_CURSOR")


class TestPage:
    @pytest.mark.parametrize("first", [-1, 101, 2**31 - 1])
    def test_of_a_size_that_cannot_be(self, treasury: House, first: int) -> None:
        told = ask(treasury, "ada", "Models", first=first)
        assert told.status < 500
        (problem,) = told.problems
        assert problem["code"] != "INTERNAL_ERROR"

    def test_of_a_size_beyond_integers(self, treasury: House) -> None:
        assert_one_refusal(ask(treasury, "ada", "Models", first=2**40), "BAD_USER_INPUT")


class TestNode:
    @pytest.mark.parametrize(
        "key",
        [encode_id("Job", NOWHERE), encode_id("Token", NOWHERE), "Nothing_" + "0" * 32, "", "x", LONG, NUL],
        ids=lambda key: repr(key)[:20],
    )
    def test_of_an_unknown_id_is_null(self, treasury: House, key: str) -> None:
        told = ask(treasury, "ada", "JobPage", id=key)
        assert (told.status, told.problems, told.body["data"]) == (200, [], {"node": None})

    def test_of_another_type_is_empty(self, treasury: House) -> None:
        told = ask(treasury, "ada", "JobPage", id=treasury.ids["model"])
        assert (told.status, told.problems, told.body["data"]) == (200, [], {"node": {}})

    @pytest.mark.parametrize("kind", ["job", "quote", "package", "request"])
    def test_of_another_team_is_null(self, treasury: House, kind: str) -> None:
        """What one may not see is answered as what is not there."""
        told = ask(treasury, "alma" if kind == "request" else "oli", "JobPage", id=treasury.ids[kind])
        assert (told.status, told.problems, told.body["data"]) == (200, [], {"node": None})


class TestNames:
    @pytest.mark.parametrize("name", ["nowhere", "", LONG, "UPPER", "a/b"], ids=lambda name: name[:10])
    def test_that_nobody_has_are_null(self, treasury: House, name: str) -> None:
        assert ask(treasury, "ada", "ModelPage", team="works", name=name).body["data"] == {"model": None}
        assert ask(treasury, "ada", "DatasetPage", team=name, name="hidden").body["data"] == {"dataset": None}
        assert ask(treasury, "ada", "WalletPage", team=name).body["data"] == {"team": None}

    def test_with_null_characters(self, treasury: House) -> None:
        for told in (
            ask(treasury, "ada", "ModelPage", team="works", name=NUL),
            ask(treasury, "ada", "WalletPage", team=NUL),
            ask(treasury, "ada", "Models", first=1, filter={"team": {"eq": NUL}}),
            ask(treasury, "ada", "SearchModels", text=NUL, first=1),
        ):
            assert told.status < 500
            assert "INTERNAL_ERROR" not in told.codes, told.problems

    @pytest.mark.parametrize("text", ["", " ", LONG, "a & | ! ( ) : * <->", "'; DROP TABLE models; --", "%_\\"])
    def test_odd_searches_find_nothing_or_say_why(self, treasury: House, text: str) -> None:
        told = ask(treasury, "ada", "SearchModels", text=text, first=5)
        assert told.status < 500
        assert "INTERNAL_ERROR" not in told.codes, told.problems

    def test_impact_of_what_is_not_there(self, treasury: House) -> None:
        for key in (encode_id("Dataset", NOWHERE), encode_id("Pool", NOWHERE), "", LONG, NUL):
            told = ask(treasury, "ada", "Impact", id=key, first=5)
            assert told.status < 500
            assert "INTERNAL_ERROR" not in told.codes, told.problems

    def test_audit_of_what_is_not_there(self, treasury: House) -> None:
        for key in (encode_id("Dataset", NOWHERE), "", LONG, NUL):
            told = ask(treasury, "audrey", "WhoReadIt", resourceId=key, first=5)
            assert told.status < 500
            assert "INTERNAL_ERROR" not in told.codes, told.problems
