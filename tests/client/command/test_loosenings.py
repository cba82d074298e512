"""Loosenings at the terminal: asked for, looked at, decided and withdrawn, and what is said where that is refused."""

from collections.abc import Callable
from typing import Any

import pytest

from guildhall_client.command.loosenings import _wanted
from tests.client.command.conftest import Command, Ended
from tests.client.command.test_datasets import REGISTER

ASK = ["loosening", "ask", "maintenance/glass-reader@1", "--justification", "no picture is left"]


@pytest.fixture(scope="session")
def glass_made() -> list[str]:
    """What was made on the session's server: its tests share one."""
    return []


@pytest.fixture
def glass(mira: Command, glass_made: list[str]) -> None:
    """A model version that was made from CONFIDENTIAL data."""
    for name in ("glass", "weights"):
        (mira.folder / name).mkdir()
        (mira.folder / name / "a.csv").write_text("1\n2\n")
    if glass_made:
        return
    mira.ok("dataset", "register", "maintenance/glass", *REGISTER)
    mira.ok("dataset", "upload", "maintenance/glass", "glass", "--rows", "2")
    mira.ok("model", "publish", "maintenance/glass-reader", "--folder", "weights", "--draft", "--task", "t",
            "--risk", "low", "--trained-on", "maintenance/glass")  # fmt: skip
    glass_made.append("glass")


@pytest.mark.usefixtures("glass")
class TestLoosening:
    def test_from_asking_to_withdrawing(self, mira: Command, person: Callable[[str], Command]) -> None:
        stella, quentin = person("stella"), person("quentin")
        asked = mira.ok(*ASK, "--classification", "internal")
        loosening = asked.out.split()[0]
        assert asked.out == f"{loosening} is PENDING; its stewards decide.\n"
        again = mira(*ASK, "--classification", "public")
        assert (again.code, again.out) == (1, "")
        assert again.err == (
            "guildhall: A loosening of the classification waits for the stewards already (to). Its stewards have it "
            "before them; `guildhall access list` and `guildhall loosening list` show how it stands.\n"
        )
        waiting = stella.ok("loosening", "list", "--to-decide").out
        assert f"{loosening}  PENDING  maintenance/glass-reader@1  INTERNAL  Mira Mercer  no picture is left" in waiting
        page = stella.ok("loosening", "show", loosening).out
        assert "model version  maintenance/glass-reader@1\n" in page
        assert "maintenance/glass@1  CONFIDENTIAL    defect-detection  eu-local  2036-12-31\n" in page
        assert "Approved by" not in page
        for somebody, code in ((mira, 4), (quentin, 3)):
            refused = somebody("loosening", "approve", loosening)
            assert (refused.code, refused.out) == (code, "")
        assert [each["id"] for each in mira.ok("loosening", "list", "--json").json["nodes"]] == [loosening]
        assert stella.ok("loosening", "approve", loosening, "--reason", "seen").out == f"{loosening} is APPROVED.\n"
        assert stella.ok("loosening", "list", "--to-decide").err == "None here.\n"
        page = mira.ok("loosening", "show", loosening).out
        assert "decided by     Stella Stern, 20" in page
        assert page.splitlines()[-1].startswith("Stella Stern  20")
        assert page.splitlines()[-1].endswith("  seen")
        ended = mira.ok("loosening", "withdraw", loosening, "--reason", "a mistake", "--json").json
        assert ended == {"id": loosening, "state": "WITHDRAWN"}
        shown = mira.ok("loosening", "show", loosening, "--json").json
        assert (shown["withdrawnBy"]["name"], shown["withdrawalReason"]) == ("Mira Mercer", "a mistake")
        assert mira.ok("loosening", "list", "--state", "approved").err == "None here.\n"

    def test_refused_and_asked_for_as_a_document(self, mira: Command, person: Callable[[str], Command]) -> None:
        loosening = mira.ok(*ASK, "--kept-without-end", "--json").json["id"]
        decided = person("stella").ok("loosening", "refuse", loosening, "--reason", "it holds faces", "--json").json
        assert decided == {"id": loosening, "state": "REFUSED"}
        assert "reason         it holds faces\n" in mira.ok("loosening", "show", loosening).out
        page = mira.ok("loosening", "list", "--limit", "1")
        assert f"{loosening}  REFUSED  maintenance/glass-reader@1  kept without end" in page.out

    @pytest.mark.parametrize(
        ("arguments", "code", "sentence"),
        [
            (["ask", "maintenance/glass-reader@1", "--justification", "x"], 2, "Say what is to be with one of"),
            ([*ASK[1:], "--region", "us", "--kept-without-end"], 2, "Say what is to be with one of"),
            ([*ASK[1:], "--kept-until", "soon"], 2, "'soon' is no day"),
            (["ask", "maintenance/glass-reader@7", "--justification", "x", "--region", "us"], 3, "has no version @7"),
            (["ask", "maintenance/none", "--justification", "x", "--region", "us"], 3, "There is no model"),
            ([*ASK[1:], "--purpose", "fun"], 3, "fun"),
            ([*ASK[1:], "--kept-until", "2030-01-01"], 1, "Nothing that this version was made from stands in the way"),
            (["list", "--to-decide", "--state", "pending"], 2, "exclude one another"),
            (["show", "Loosening_1"], 3, "There is no loosening Loosening_1 that you may see"),
            (["approve", "Loosening_1"], 3, "There is no"),
            (["withdraw", "Loosening_1", "--reason", "x"], 3, "There is no"),
        ],
    )
    def test_what_cannot_be(self, here: Callable[..., Ended], arguments: list[str], code: int, sentence: str) -> None:
        ended = here("loosening", *arguments)
        assert (ended.code, ended.out) == (code, ""), ended.err
        assert sentence in ended.err


class TestWanted:
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"property": "PERMITTED_PURPOSES", "permittedPurposes": ["a", "b"]}, "for a, b"),
            ({"property": "REGIONS", "regions": ["eu"]}, "in eu"),
            ({"property": "RETENTION", "retentionEndsOn": "2040-01-01"}, "kept until 2040-01-01"),
        ],
    )
    def test_in_words(self, given: dict[str, Any], words: str) -> None:
        assert _wanted(given) == words
