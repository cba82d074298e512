"""The pages of the roles are one story on one server: each block carried out by whom its page is for, as it stands."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from guildhall.clock import SystemClock
from guildhall_client.client import Client
from tests.docs.pages import Block, blocks, pages
from tests.e2e.faults.processes import bootstrap, make_site, running

PEOPLE = {
    "roles/allocation-committee": "alma@example.org",
    "roles/data-steward": "stella@example.org",
    "roles/data-scientist": "mira@example.org",
    "roles/reusing-team": "quentin@example.org",
    "roles/team-lead": "mira@example.org",
    "roles/auditor": "audrey@example.org",
}
BY_AN_ADMINISTRATOR = {("roles/allocation-committee", "Programmes, a period and prices")}
STORY = (
    ("roles/platform-engineer", "The organisation as a file"),
    ("roles/platform-engineer", "Tokens, where there is no issuer"),
    ("roles/platform-engineer", "Watch it"),
    ("roles/allocation-committee", "Programmes, a period and prices"),
    ("roles/allocation-committee", "Allocate"),
    ("roles/data-steward", "Register"),
    ("roles/data-scientist", "Data for others to build on"),
    ("roles/data-scientist", "Publish in one command"),
    ("roles/data-scientist", "See what blocks it"),
    ("roles/data-scientist", "Write down what was learned"),
    ("roles/reusing-team", "Find it by what it does"),
    ("roles/reusing-team", "Adopt it"),
    ("roles/reusing-team", "Ask for the data"),
    ("roles/data-steward", "Decide"),
    ("roles/reusing-team", "Read it"),
    ("roles/data-scientist", "Ask for less than it inherited"),
    ("roles/data-steward", "Loosen what a model inherits"),
    ("roles/data-steward", "Look after it"),
    ("roles/team-lead", "The balance"),
    ("roles/team-lead", "A quote"),
    ("roles/team-lead", "Run"),
    ("roles/team-lead", "What came of it"),
    ("roles/allocation-committee", "Read the return"),
    ("roles/auditor", "Who read it"),
    ("roles/auditor", "Who may, and what nobody needs"),
    ("roles/auditor", "What changed in the rules"),
    ("roles/auditor", "A report"),
    ("roles/auditor", "Proof"),
)
"""In which order the sections of all pages happen."""
ISSUE = "mutation($input: IssueTokenInput!) { issueToken(input: $input) { secret errors { code field message } } }"
ID = re.compile(r"\b([A-Z][A-Za-z]+)_[0-9A-Za-z-]{8,}")
BLOCK_SECONDS_MAX = 120


@dataclass
class Story:
    """Who acts on which server, and the newest id of each type that anybody has seen."""

    url: str
    folder: Path
    administrator: str
    tokens: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def carry_out(self, block: Block) -> str:
        """What the block answers; a command that fails or an answer with errors fails the test."""
        token = self._token(block)
        text = this_year(re.sub(r"\b([A-Z][A-Za-z]+)_…", lambda named: self.ids[named[1]], block.text))
        said = self._shell(text, token) if block.kind == "sh" else self._ask(text, token)
        self.ids.update({found[1]: found[0] for found in ID.finditer(said)})
        return said

    def _token(self, block: Block) -> str:
        if block.page not in PEOPLE or (block.page, block.section) in BY_AN_ADMINISTRATOR:
            return self.administrator
        email = PEOPLE[block.page]
        if email not in self.tokens:
            with Client(self.url, self.administrator) as client:
                made = client.mutate(ISSUE, {"email": email, "label": "tests", "durationSeconds": 86_400})
            self.tokens[email] = made["secret"]
        return self.tokens[email]

    def _shell(self, text: str, token: str) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GUILDHALL_", "XDG_"))}
        environment = {
            **kept,
            "HOME": str(self.folder),
            "COLUMNS": "200",
            "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
            "GUILDHALL_URL": self.url,
            "GUILDHALL_TOKEN": token,
        }
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BLOCK_SECONDS_MAX,
            check=False,
        )
        assert ended.returncode == 0, f"{text}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout + ended.stderr

    def _ask(self, text: str, token: str) -> str:
        with Client(self.url, token) as client:
            answer = client.execute(text)
        refused = [
            payload["errors"] for payload in answer.values() if isinstance(payload, dict) and "errors" in payload
        ]
        assert not any(refused), f"{text}\n{refused}"
        return repr(answer)


def this_year(text: str) -> str:
    """The pages' years are this one and the next."""
    year = SystemClock().now().year
    return text.replace("2027", str(year + 1)).replace("2026", str(year))


@pytest.fixture(scope="module")
def said() -> Iterator[dict[tuple[str, str], str]]:
    """What each section of the pages answered, when all have been carried out.

    Not below pytest's own folder: every start of pytest closes that to PostgreSQL's user.
    """
    with tempfile.TemporaryDirectory(prefix="gh-roles-") as name:
        site = make_site(Path(name) / "data")
        administrator = bootstrap(site)
        work = Path(name) / "work"
        work.mkdir()
        answers = {}
        with running(site, "all"):
            story = Story(site.url, work, administrator)
            for page, section in STORY:
                chosen = [block for block in blocks(page) if block.section == section]
                answers[page, section] = "\n".join(story.carry_out(block) for block in chosen)
        yield answers


EXPECTED = {
    ("roles/platform-engineer", "The organisation as a file"): [
        "exit code 7",
        "15 changes are made.",
        "Everything is so already.",
    ],
    ("roles/platform-engineer", "Tokens, where there is no issuer"): ["'secret': 'ghu_"],
    ("roles/platform-engineer", "Watch it"): ['{"status":"ready"}', "'total': 2, 'used': 0", "['allocator']"],
    ("roles/allocation-committee", "Programmes, a period and prices"): ["changes are made."],
    ("roles/allocation-committee", "Allocate"): ["'remaining': '100'", "'remaining': '40'"],
    ("roles/allocation-committee", "Read the return"): ["'postingsSum': '0'", "'state': 'SUCCEEDED'", "'held': '0'"],
    ("roles/data-steward", "Register"): ["is registered, CONFIDENTIAL."],
    ("roles/data-steward", "Decide"): ["is APPROVED: AccessGrant_", "team quality"],
    ("roles/data-scientist", "Ask for less than it inherited"): ["is PENDING; its stewards decide."],
    ("roles/data-steward", "Loosen what a model inherits"): [
        "maintenance/gauge-reader@1  INTERNAL",
        "maintenance/gauge-digits@1  CONFIDENTIAL",
        "is APPROVED.",
        "is WITHDRAWN.",
        "WITHDRAWN  maintenance/gauge-reader@1",
    ],
    ("roles/data-steward", "Look after it"): ["'__typename': 'ModelVersion'", "{'setReadBudget': {'errors': []}}"],
    ("roles/data-scientist", "Data for others to build on"): ["maintenance/gauge-digits@1 is READY."],
    ("roles/data-scientist", "Publish in one command"): ["maintenance/gauge-reader@1 is READY."],
    ("roles/data-scientist", "See what blocks it"): [
        "The card lacks the section “Intended use”.",
        "exit code 1",
        "maintenance/gauge-reader@1 is PUBLISHED.",
        "maintenance/gauge-reader@champion is version 1.",
    ],
    ("roles/data-scientist", "Write down what was learned"): ["Kept as Lesson_", "Glare halves the accuracy"],
    ("roles/reusing-team", "Find it by what it does"): ["at least 500 rows", "gauges stand behind glass"],
    ("roles/reusing-team", "Adopt it"): ["'version': {'number': 1}"],
    ("roles/reusing-team", "Ask for the data"): ["exit code 4", "Ask the steward stella@example.org", "is PENDING"],
    ("roles/reusing-team", "Read it"): ["image,digit\n1,7\n2,3\n"],
    ("roles/team-lead", "The balance"): ["available  100", "'available': '100'"],
    ("roles/team-lead", "A quote"): ["credits"],
    ("roles/team-lead", "Run"): ["training\n", "SUCCEEDED"],
    ("roles/team-lead", "What came of it"): ["'state': 'SUCCEEDED'", "'modelVersion': {'number': 2"],
    ("roles/auditor", "Who read it"): [
        "quentin@example.org",
        "'outcome': 'REFUSED'",
        "'our presses carry the same gauges'",
    ],
    ("roles/auditor", "Who may, and what nobody needs"): ["'unusedAccessGrants': {'nodes': [{'id': 'AccessGrant_"],
    ("roles/auditor", "What changed in the rules"): ["'action': 'guildhall:role:bind'"],
    ("roles/auditor", "A report"): ["id,actor_kind,actor_id"],
    ("roles/auditor", "Proof"): ["guildhall.internal/audit/log\n"],
}
"""What stands in the answers, section by section."""


class TestRoles:
    def test_every_block_does_what_the_page_says(self, said: dict[tuple[str, str], str]) -> None:
        absent = {
            section: [text for text in wanted if text not in said[section]] for section, wanted in EXPECTED.items()
        }
        assert {section: texts for section, texts in absent.items() if texts} == {}

    def test_nothing_of_the_pages_is_left_out(self) -> None:
        told = {(block.page, block.section) for page in pages() if page.startswith("roles/") for block in blocks(page)}
        assert told == set(STORY) == set(EXPECTED)
