"""Where the story takes place: a server, a client for each person, and what the chapters have made so far."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from demo.contract import document
from demo.narrator import Narrator, Step
from demo.organisation import Platform
from guildhall_client.client import Client

TRAINING_FOLDER = Path(__file__).parent / "training"
PER_NODE = {"accelerator": None, "acceleratorCount": 1, "cpu": 1, "memoryBytes": str(1 << 30)}


@dataclass
class World:
    """What chapters share. `facts` is what the last table and the tests look at."""

    url: str
    narrator: Narrator
    folder: Path
    now: Callable[[], datetime]
    clients: ExitStack
    platform: Platform | None = None
    people: dict[str, Client] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    begun: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.begun = self.now()

    def sign_in(self, person: str, token: str) -> Client:
        """Give the person a client of their own."""
        self.tokens[person] = token
        self.people[person] = self.clients.enter_context(Client(self.url, token))
        return self.people[person]

    def ask(self, person: str, operation: str, /, **variables: Any) -> dict[str, Any]:
        """Run a query of the contract as that person."""
        return self.people[person].execute(document(operation), variables)

    def change(self, person: str, operation: str, /, **inputs: Any) -> dict[str, Any]:
        """Run a mutation of the contract as that person."""
        return self.people[person].mutate(document(operation), inputs)

    def quote(self, person: str, team: str, programme: str, /, **job: Any) -> dict[str, Any]:
        """Ask for a quote; what a chapter does not state about the job is one accelerator of any kind."""
        per_node = {**PER_NODE, **job.pop("per_node", {})}
        stated = {"nodes": 1, "perNode": per_node, "tier": "STANDARD", "inputs": [], "environment": [], **job}
        quote: dict[str, Any] = self.change(person, "RequestQuote", team=team, programme=programme, job=stated)["quote"]
        return quote

    def accept(self, person: str, quote: dict[str, Any]) -> str:
        """Accept a quote and answer with the job's id."""
        job_id: str = self.change(person, "AcceptQuote", quoteId=quote["id"])["job"]["id"]
        return job_id

    def follow(self, person: str, job_id: str, step: Step, walltime_seconds: int) -> dict[str, Any]:
        """Follow a job to its end, with a bar over its walltime."""
        begun = self.now()

        def show(job: dict[str, Any]) -> None:
            elapsed = (self.now() - begun).total_seconds()
            last_line = (job["logTail"] or "").splitlines()[-1:] or [job["state"].lower()]
            step.show(min(elapsed / walltime_seconds, 1.0), last_line[0])

        job = self.people[person].wait_for_job(job_id, show, poll_seconds=0.3)
        step.cost = f"charged {job['charge']['captured']} credits"
        return job

    def wallet(self, person: str, team: str) -> dict[str, Any]:
        """The team's wallet."""
        wallet: dict[str, Any] = self.ask(person, "WalletPage", team=team)["team"]["wallet"]
        return wallet

    def recorded(self) -> str:
        """How many audit events there are since this was asked last, for the line of a step."""
        seen: set[str] = self.facts.setdefault("seen_events", set())
        since = self.facts.setdefault("events_since", self.begun.isoformat())
        found = self.people["audrey"].execute(EVENTS_SINCE, {"from": since})["auditEvents"]["nodes"]
        fresh = [event for event in found if event["id"] not in seen]
        seen.update(event["id"] for event in found)
        if found:
            self.facts["events_since"] = max(event["occurredAt"] for event in found)
        more = "+" if len(fresh) == 100 else ""
        return f"{len(fresh)}{more} audit events" if len(fresh) != 1 else "1 audit event"


EVENTS_SINCE = """
query EventsSince($from: DateTime) {
  auditEvents(filter: {occurredAt: {from: $from}}, first: 100) { nodes { id occurredAt } }
}
"""
