"""A small world on one installation: a team with credits and a pool of two slots, an outsider, and those who watch."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from demo.contract import document
from demo.organisation import Platform
from demo.story.organisation import REGISTER_CLUSTER
from guildhall.clock import SystemClock, new_id
from guildhall.graphql.ids import decode_id
from guildhall_client.client import Client
from tests.e2e.faults.ledger_book import Book
from tests.e2e.faults.processes import Site, marked_processes, tail, until

SCRIPTS = Path(__file__).parent / "scripts"
ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "TIMED_OUT", "EXPIRED"})
MICRO = 1_000_000
RATE = 36
"""Credits for an hour of one accelerator: a hundredth of a credit a second."""
PEOPLE: dict[str, tuple[str | None, list[str]]] = {
    "alma": (None, ["allocator"]),
    "audrey": (None, ["auditor"]),
    "ada": ("works", ["maintainer"]),
    "stella": ("works", ["steward"]),
    "oli": ("others", ["maintainer"]),
}
ISSUE_TOKEN = """
mutation IssueToken($input: IssueTokenInput!) {
  issueToken(input: $input) { token { id } secret errors { code field message } }
}
"""
BOOKS = """
query Books {
  ledgerCheck { balances postingsSum allocationsWrong }
  financeReport(first: 100) {
    nodes { balances allocated received captured held expired returned sent remaining }
  }
}
"""


@dataclass(frozen=True)
class Told:
    """An answer over HTTP as it came."""

    status: int
    body: dict[str, Any]

    @property
    def codes(self) -> list[str]:
        """The codes of all errors, those of a payload and those of the request."""
        return [problem["code"] for problem in self.problems]

    @property
    def problems(self) -> list[dict[str, Any]]:
        """Every error as `{code, message, field}`."""
        found = [{"message": each["message"], **each["extensions"]} for each in self.body.get("errors") or ()]
        for payload in (self.body.get("data") or {}).values():
            if isinstance(payload, dict):
                found += payload.get("errors") or ()
        return found

    def payload(self) -> dict[str, Any]:
        """The one field's value, where nothing was refused."""
        assert not self.problems, self.problems
        (found,) = self.body["data"].values()
        value: dict[str, Any] = found
        return value


@dataclass
class House:
    """Who is there, and what has been made."""

    site: Site
    book: Book
    administrator: str
    clients: ExitStack
    http: httpx.Client
    """For whoever looks at raw answers; any number of threads may share it."""

    platform: Platform | None = None
    """The Kubernetes cluster that its jobs run on; without one, this machine."""

    tokens: dict[str, str] = field(default_factory=dict)
    people: dict[str, Client] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def furnish(self) -> None:
        """The configuration, everybody's token, credits, a package and a model."""
        self._sign_in("pat", self.administrator)
        if self.platform is not None:
            inputs = {"name": self.platform.name, "region": "eu-local", "kubeconfig": self.platform.kubeconfig}
            self.people["pat"].mutate(REGISTER_CLUSTER, inputs)
        self.change("pat", "ApplyConfiguration", **configuration(now(), self.platform))
        for name in PEOPLE:
            self._sign_in(name, self.new_token(name)["secret"])
        self.ids["allocation"] = self.allocate("works", "1000")
        self.ids["package"] = self.people["ada"].upload_package("works", SCRIPTS)["id"]
        self.ids["model"] = self.change(
            "ada", "RegisterModel", team="works", name="gadget", task="testing", description="Does little.",
            visibility="ORGANISATION", riskTier="LOW",
        )["model"]["id"]  # fmt: skip

    def new_token(self, person: str) -> dict[str, Any]:
        """One more token for a person."""
        inputs = {"email": f"{person}@guildhall.example", "label": "faults", "durationSeconds": 86_400}
        return self.people["pat"].mutate(ISSUE_TOKEN, inputs)

    def allocate(self, team: str, credits: str) -> str:
        """Credits for this year; the allocation's id."""
        begins = year_begins(now())
        allocation: dict[str, Any] = self.change(
            "alma", "AllocateCredits", team=team, programme="trials", credits=credits, validFrom=begins.isoformat(),
            validTo=begins.replace(year=begins.year + 1).isoformat(), reason="for the tests",
        )["allocation"]  # fmt: skip
        return str(allocation["id"])

    def ask(self, person: str, operation: str, /, **variables: Any) -> dict[str, Any]:
        """A query of the contract."""
        return self.people[person].execute(document(operation), variables)

    def change(self, person: str, operation: str, /, **inputs: Any) -> dict[str, Any]:
        """A mutation of the contract."""
        return self.people[person].mutate(document(operation), inputs)

    def told(self, token: str | None, text: str, variables: Mapping[str, Any] | None = None) -> Told:
        """The raw answer to a document, for who expects a refusal."""
        headers = {"Accept": "application/graphql-response+json", "Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        # Escaped to ASCII, so that what is no Unicode at all can be sent too.
        body = json.dumps({"query": text, "variables": dict(variables or {})})
        answer = self.http.post(f"{self.site.url}/graphql", content=body, headers=headers)
        return Told(answer.status_code, json.loads(answer.content))

    def try_change(self, person: str, operation: str, /, **inputs: Any) -> Told:
        """The raw answer to a mutation of the contract."""
        return self.told(self.tokens[person], document(operation), {"input": inputs})

    def job(self, *act: str, **more: Any) -> dict[str, Any]:
        """A job of one slot that runs the script."""
        job = {
            "name": "-".join(act).replace(".", "-"),
            "command": ["python3", "act.py", *act],
            "source": {"packageId": self.ids["package"]},
            "inputs": [],
            "output": {"modelId": self.ids["model"], "path": "output"},
            "nodes": 1,
            "perNode": {"accelerator": "sim", "acceleratorCount": 1},
            "walltimeSeconds": 120,
            "tier": "STANDARD",
            **more,
        }
        return {name: value for name, value in job.items() if value is not None}

    def quote(self, **job: Any) -> str:
        """The id of a quote for the job."""
        quote: dict[str, Any] = self.change("ada", "RequestQuote", team="works", programme="trials", job=job)["quote"]
        return str(quote["id"])

    def accept(self, quote_id: str) -> str:
        """The id of the quote's job."""
        return str(self.change("ada", "AcceptQuote", quoteId=quote_id)["job"]["id"])

    def submit(self, *act: str, **more: Any) -> str:
        """Quote and accept; the job's id."""
        return self.accept(self.quote(**self.job(*act, **more)))

    def page(self, job_id: str) -> dict[str, Any]:
        """The job as its page shows it."""
        found: dict[str, Any] = self.ask("ada", "JobPage", id=job_id)["node"]
        return found

    def wait_for(self, job_id: str, *states: str, seconds: float = 60.0) -> dict[str, Any]:
        """The job, once it is in one of the states (or has ended, where none are named)."""
        wanted = frozenset(states) or ENDED

        def reached() -> dict[str, Any] | None:
            job = self.page(job_id)
            assert job["state"] in wanted or job["state"] not in ENDED, f"{job['state']}: {job['stateReason']}"
            return job if job["state"] in wanted else None

        try:
            return until(reached, f"the job is {' or '.join(sorted(wanted))}", seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.page(job_id)}\n{tail(self.site)}") from None

    def assert_nothing_left(self, job_id: str) -> None:
        """After its settlement: no hold, process, folder, token, lease or half a version."""
        key = decode_id(job_id, "Job")
        of_job = f"job_id = '{key}'"
        names = [row["name"] for row in self.book.rows(f"SELECT name FROM attempts WHERE {of_job}")]

        def removed() -> bool:
            return not self.book.rows(f"SELECT 1 FROM attempts WHERE {of_job} AND removed_at IS NULL")

        until(removed, f"the cluster has forgotten {names}")
        assert not [path for path in self.site.jobs_folder.glob("*") if path.name.rpartition(".")[2] in names]
        until(lambda: not list(self.site.jobs_folder.glob(".*")), "no half made or half removed folder is left")
        assert marked_processes(names) == []
        alive = f"SELECT 1 FROM tokens WHERE subject_kind = 'JOB' AND subject_id = '{key}' AND revoked_at IS NULL"
        assert self.book.rows(alive) == []
        launches = f"SELECT 1 FROM outbox WHERE topic = 'scheduler.launch' AND payload ->> 'job_id' = '{key}'"
        assert self.book.rows(f"{launches} AND (done_at IS NULL OR lease_token IS NOT NULL)") == []
        assert self.book.rows(f"SELECT 1 FROM attempts WHERE {of_job} AND lease_token IS NOT NULL") == []
        uses = "SELECT 1 FROM slot_uses JOIN attempts ON attempts.id = slot_uses.attempt_id WHERE"
        assert self.book.rows(f"{uses} {of_job}") == []
        drafts = f"SELECT 1 FROM model_versions WHERE produced_by_job_id = '{key}' AND status = 'DRAFT'"
        assert self.book.rows(drafts) == []

    def assert_charged_once(self, job_id: str) -> None:
        """Its hold resolved once, and it paid for its one recorded interval at the quoted rate."""
        key = decode_id(job_id, "Job")
        (job,) = self.book.rows(f"SELECT * FROM jobs WHERE id = '{key}'")
        charge = self.page(job_id)["charge"]
        assert Decimal(charge["held"]) == 0
        assert job["captured"] + job["released"] == job["held"]
        assert Decimal(charge["captured"]) * MICRO == job["captured"]
        assert Decimal(charge["released"]) * MICRO == job["released"]
        (resolved,) = self.book.rows(f"SELECT * FROM hold_resolutions WHERE hold_id = '{job['hold_id']}'")
        assert (resolved["captured"], resolved["released"]) == (job["captured"], job["released"])
        transfers = self.book.rows(f"SELECT kind, credits FROM transfers WHERE job_id = '{key}'")
        holds = [each["credits"] for each in transfers if each["kind"] == "HOLD"]
        captures = [each["credits"] for each in transfers if each["kind"] == "CAPTURE"]
        assert sum(holds) == job["held"]
        assert captures == ([job["captured"]] if job["captured"] else [])
        assert job["captured"] == self.price_of_runs(key)

    def price_of_runs(self, key: UUID) -> int:
        """What its recorded intervals cost, computed here anew; all of them must have ended."""
        runs = self.book.rows(
            "SELECT extract(epoch FROM run_intervals.ended_at - run_intervals.started_at)::text AS seconds, "
            "jobs.slots, jobs.held "
            "FROM run_intervals JOIN attempts ON attempts.id = run_intervals.attempt_id "
            f"JOIN jobs ON jobs.id = attempts.job_id WHERE jobs.id = '{key}'"
        )
        assert len(runs) <= 1, "one launch is one interval"
        if not runs:
            return 0
        price = Decimal(runs[0]["seconds"]) * runs[0]["slots"] * RATE * MICRO / 3600
        return min(int(price.quantize(Decimal(1), ROUND_HALF_EVEN)), int(runs[0]["held"]))

    def assert_books_balance(self) -> None:
        """The identity of every allocation, from the public view; nothing held once all is settled."""
        books = self.people["audrey"].execute(BOOKS)
        assert books["ledgerCheck"] == {"balances": True, "postingsSum": "0", "allocationsWrong": 0}
        for row in books["financeReport"]["nodes"]:
            figures = {name: Decimal(value) for name, value in row.items() if name != "balances"}
            gone = sum(figures[name] for name in ("captured", "held", "expired", "returned", "sent", "remaining"))
            assert row["balances"] is True
            assert figures["allocated"] + figures["received"] == gone
            assert min(figures.values()) >= 0

    def _sign_in(self, person: str, token: str) -> None:
        self.tokens[person] = token
        self.people[person] = self.clients.enter_context(Client(self.site.url, token))


def now() -> datetime:
    """The machine's clock, as the server reads it."""
    return SystemClock().now()


def year_begins(at: datetime) -> datetime:
    """The first moment of the year."""
    return at.replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0)


def in_seconds(seconds: float) -> str:
    """A moment from now on, as an input."""
    return (now() + timedelta(seconds=seconds)).isoformat()


def new_key() -> str:
    """An idempotency key."""
    return str(new_id())


def configuration(at: datetime, platform: Platform | None = None) -> dict[str, Any]:
    """Two teams, five people, one programme, one pool at one price around the clock; of two slots on this machine."""
    begins = year_begins(at)
    ends = begins.replace(year=begins.year + 2)
    return {
        "teams": [{"name": "works", "title": "Works"}, {"name": "others", "title": "Others"}],
        "members": [
            {"email": f"{name}@guildhall.example", "name": name.title(), "team": team, "roles": roles}
            for name, (team, roles) in PEOPLE.items()
        ],
        "programmes": [{"name": "trials", "title": "Trials", "strategicClass": "B"}],
        "pools": [{"name": "bench", "accelerator": "sim", "walltimeSecondsMax": 3600, **_place(platform)}],
        "priceLists": [
            {
                "name": "prices",
                "validFrom": begins.isoformat(),
                "validTo": ends.isoformat(),
                "rates": [{"pool": "bench", "tier": "STANDARD", "creditsPerHour": str(RATE)}],
            }
        ],
        "purposes": [{"name": "testing", "description": "Finds faults."}],
    }


def _place(platform: Platform | None) -> dict[str, Any]:
    if platform is None:
        return {"cluster": "this-machine", "region": "eu-local", "slots": 2}
    return {
        "cluster": platform.name,
        "nodeSelector": [{"name": name, "value": value} for name, value in platform.node_selector.items()],
        "acceleratorResource": platform.resources["sim"],
        "image": platform.image,
    }
