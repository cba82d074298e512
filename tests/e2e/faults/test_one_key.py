"""One idempotency key from a hundred callers at once: one act, one answer; with another input, a refusal."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Barrier
from typing import Any

from guildhall.graphql.ids import decode_id
from tests.e2e.faults.house import House, Told, new_key, now, year_begins

CALLERS = 100


def all_at_once(call: Callable[[], Told]) -> list[Told]:
    """What a hundred callers are told who begin together."""
    gate = Barrier(CALLERS)

    def one(_: int) -> Told:
        gate.wait()
        return call()

    with ThreadPoolExecutor(CALLERS) as callers:
        return list(callers.map(one, range(CALLERS)))


def one_id(answers: list[Told], name: str) -> str:
    """The id that everybody was answered with."""
    assert Counter(answer.status for answer in answers) == {200: CALLERS}
    (found,) = {answer.payload()[name]["id"] for answer in answers}
    return str(found)


def wallet(house: House) -> dict[str, Any]:
    found: dict[str, Any] = house.ask("ada", "WalletPage", team="works")["team"]["wallet"]
    return found


class TestAcceptQuote:
    def test_a_hundred_callers_make_one_job(self, workshop: House) -> None:
        quote_id = workshop.quote(**workshop.job("succeed"))
        key = new_key()
        before = wallet(workshop)

        answers = all_at_once(lambda: workshop.try_change("ada", "AcceptQuote", quoteId=quote_id, idempotencyKey=key))
        job_id = one_id(answers, "job")
        quote_key = decode_id(quote_id, "Quote")
        jobs = f"SELECT count(*) AS value FROM jobs WHERE quote_id = '{quote_key}'"
        assert workshop.book.value(jobs) == 1
        holds = f"SELECT count(*) AS value FROM holds WHERE job_id = '{decode_id(job_id, 'Job')}'"
        assert workshop.book.value(holds) == 1

        job = workshop.wait_for(job_id, "SUCCEEDED")
        workshop.assert_charged_once(job_id)
        workshop.assert_nothing_left(job_id)
        workshop.assert_books_balance()
        spent = Decimal(before["available"]) - Decimal(wallet(workshop)["available"])
        assert spent == Decimal(job["charge"]["captured"])

    def test_a_hundred_callers_with_keys_of_their_own_make_one_job(self, workshop: House) -> None:
        quote_id = workshop.quote(**workshop.job("succeed"))

        answers = all_at_once(
            lambda: workshop.try_change("ada", "AcceptQuote", quoteId=quote_id, idempotencyKey=new_key())
        )
        job_id = one_id(answers, "job")
        workshop.wait_for(job_id, "SUCCEEDED")
        workshop.assert_charged_once(job_id)

    def test_another_input_changes_nothing(self, workshop: House) -> None:
        first, second = (workshop.quote(**workshop.job("succeed")) for _ in range(2))
        key = new_key()
        job_id = workshop.try_change("ada", "AcceptQuote", quoteId=first, idempotencyKey=key).payload()["job"]["id"]

        told = workshop.try_change("ada", "AcceptQuote", quoteId=second, idempotencyKey=key)
        assert (told.status, told.codes) == (200, ["IDEMPOTENCY_KEY_REUSED"])
        assert told.problems[0]["message"].startswith("This idempotency key was used before with another input")
        untouched = f"SELECT accepted_at FROM quotes WHERE id = '{decode_id(second, 'Quote')}'"
        assert workshop.book.rows(untouched) == [{"accepted_at": None}]
        again = workshop.try_change("ada", "AcceptQuote", quoteId=first, idempotencyKey=key)
        assert again.payload()["job"]["id"] == job_id
        workshop.wait_for(job_id, "SUCCEEDED")


class TestAllocateCredits:
    @staticmethod
    def inputs(key: str, credits: str) -> dict[str, Any]:
        begins = year_begins(now())
        return {
            "team": "others", "programme": "trials", "credits": credits, "validFrom": begins.isoformat(),
            "validTo": begins.replace(year=begins.year + 1).isoformat(), "reason": "once", "idempotencyKey": key,
        }  # fmt: skip

    def test_a_hundred_callers_allocate_once(self, workshop: House) -> None:
        inputs = self.inputs(new_key(), "7.000001")
        answers = all_at_once(lambda: workshop.try_change("alma", "AllocateCredits", **inputs))
        assert one_id(answers, "allocation")
        assert {answer.payload()["allocation"]["allocated"] for answer in answers} == {"7.000001"}
        count = "SELECT count(*) AS value FROM allocations JOIN teams ON teams.id = team_id WHERE teams.name = 'others'"
        assert workshop.book.value(count) == 1

        told = workshop.try_change("alma", "AllocateCredits", **{**inputs, "credits": "8"})
        assert (told.status, told.codes) == (200, ["IDEMPOTENCY_KEY_REUSED"])
        assert workshop.book.value(count) == 1
        workshop.assert_books_balance()

    def test_a_key_is_its_callers_own(self, workshop: House) -> None:
        """Another caller with the same key is another act, and no way to read the first answer."""
        key = new_key()
        model = {
            "task": "testing", "description": "x", "visibility": "ORGANISATION", "riskTier": "LOW",
            "idempotencyKey": key,
        }  # fmt: skip
        ada = workshop.try_change("ada", "RegisterModel", team="works", name="first-with-key", **model)
        oli = workshop.try_change("oli", "RegisterModel", team="others", name="second-with-key", **model)
        assert ada.payload()["model"]["name"] == "first-with-key"
        assert oli.payload()["model"]["name"] == "second-with-key"
