"""Data sets by command, access to them, and who read them."""

from collections.abc import Callable

import pytest

from tests.client.command.conftest import Command

REGISTER = [
    "--description", "dials", "--classification", "confidential", "--licence", "CC-BY-4.0", "--legal-basis", "ours",
    "--purpose", "defect-detection", "--region", "eu-local", "--steward", "stella@guildhall.example",
    "--retention-ends", "2036-12-31", "--consent", "by contract",
]  # fmt: skip


@pytest.fixture
def dials(mira: Command) -> None:
    """A folder with data, its columns, and nothing on the server yet."""
    folder = mira.folder / "dials"
    folder.mkdir()
    (folder / "a.csv").write_text("\n".join(map(str, range(1000))))
    (mira.folder / "columns.yaml").write_text("- {name: pressure, type: float, unit: bar}\n")


@pytest.mark.usefixtures("dials")
def test_from_registration_to_who_read_it(mira: Command, person: Callable[[str], Command]) -> None:
    assert mira.ok("dataset", "register", "maintenance/dials", *REGISTER).out == (
        "maintenance/dials is registered, CONFIDENTIAL.\n"
    )
    upload = ["dataset", "upload", "maintenance/dials", "dials", "--rows", "1000", "--columns", "columns.yaml"]
    assert mira.ok(*upload).out == "maintenance/dials@1 is READY.\n"
    assert mira.ok(*upload, "--json").json["number"] == 2
    page = mira.ok("dataset", "show", "maintenance/dials").out
    assert "licence          CC-BY-4.0\n" in page
    assert "@2       READY  1000  1" in page

    quentin, stella = person("quentin"), person("stella")
    shown = quentin.ok("dataset", "show", "maintenance/dials", "--json").json
    assert shown["viewerAccess"]["allowed"] is False
    refused = quentin("dataset", "download", "maintenance/dials@1")
    assert (refused.code, refused.out) == (4, "")
    assert "stella@guildhall.example" in refused.err
    assert refused.err.endswith("On the command line, `guildhall access request` asks.\n")
    assert not list(quentin.folder.glob("dials-v1/*"))

    ask = ["access", "request", "--dataset", "maintenance/dials", "--purpose", "defect-detection", "--for", "14d"]
    asked = quentin.ok(*ask, "--team", "quality", "--justification", "our presses", "--json").json
    assert asked["state"] == "PENDING"
    queue = stella.ok("access", "list", "--to-decide").out
    assert asked["id"] in queue
    # In words: how wide the columns are depends on what else waits for her.
    assert "team quality maintenance/dials defect-detection 14d our presses" in " ".join(queue.split())
    approved = stella.ok("access", "approve", asked["id"], "--for", "7d", "--reason", "fine", "--json").json
    assert approved["accessRequest"]["state"] == "APPROVED"
    assert quentin.ok("dataset", "download", "maintenance/dials@1").out == (
        "maintenance/dials@1: 1 file, 3.8 KiB in dials-v1.\n"
    )

    second = quentin.ok(*ask, "--email", "quentin@guildhall.example", "--justification", "me too").out.split()[0]
    assert stella.ok("access", "refuse", second, "--reason", "the team may already").out == f"{second} is REFUSED.\n"
    refused_ids = [node["id"] for node in quentin.ok("access", "list", "--state", "refused", "--json").json["nodes"]]
    assert refused_ids == [second]
    grants = stella.ok("access", "list", "--grants").out
    grant = approved["accessGrant"]["id"]
    assert grant in grants
    assert stella.ok("access", "withdraw", grant, "--reason", "done").out.startswith(f"{grant} ended ")
    assert quentin("dataset", "download", "maintenance/dials@1", "--into", "again").code == 4

    audrey = person("audrey")
    events = audrey.ok("audit", "who-read", "maintenance/dials", "--json").json["nodes"]
    assert [(event["actor"]["name"], event["outcome"]) for event in events] == [
        ("Quentin Quast", "REFUSED"),
        ("Quentin Quast", "COMPLETED"),
        ("Quentin Quast", "REFUSED"),
    ]
    table = audrey.ok("audit", "who-read", "maintenance/dials@1", "--from", "2026-01-01", "--limit", "1")
    assert "quentin@guildhall.example" in table.out
    assert "There are more: --after " in table.err
    assert mira("audit", "who-read", "maintenance/dials").code == 4


TABLES = {
    "a.csv": "id,note\n1,\x1b[31mred\n2,wide as it is\n",
    "b.csv": "id\n1\n",
    "notes.txt": "no table",
    "damaged.csv": "id\n1,2\n",
}


@pytest.fixture
def tables(mira: Command) -> None:
    """Open data of several files."""
    folder = mira.folder / "tables"
    folder.mkdir()
    for name, content in TABLES.items():
        (folder / name).write_text(content)
    register = ["internal" if each == "confidential" else each for each in REGISTER]
    mira.ok("dataset", "register", "maintenance/tables", *register)
    mira.ok("dataset", "upload", "maintenance/tables", "tables")


@pytest.mark.usefixtures("tables")
def test_a_preview_shows_the_first_rows(mira: Command) -> None:
    preview = ["dataset", "preview", "maintenance/tables"]
    shown = mira.ok(*preview, "a.csv")
    assert shown.out == "id (text)  note (text)\n1          red\n2          wide as it is\n"
    assert shown.err == ""
    first = mira.ok(*preview, "a.csv", "--rows", "1")
    assert (first.out, first.err) == ("id (text)  note (text)\n1          red\n", "There are more rows.\n")
    assert mira.ok(*preview, "a.csv", "--rows", "1", "--json").json == {
        "path": "a.csv",
        "columns": [{"name": "id", "type": "text"}, {"name": "note", "type": "text"}],
        "rows": [["1", "\x1b[31mred"]],
        "hasMoreRows": True,
        "shortenedCells": 0,
    }
    for arguments, code, sentence in (
        ([], 2, "Name one FILE of maintenance/tables: its tables are a.csv, b.csv, damaged.csv."),
        (["c.csv"], 3, "maintenance/tables has no file 'c.csv': its tables are a.csv, b.csv, damaged.csv."),
        (["notes.txt"], 1, "notes.txt is no table: a preview shows the rows of .csv, .parquet and .pq files."),
        (["damaged.csv"], 1, "damaged.csv cannot be shown as a table. Row 1 has 2 fields where the header has 1."),
        (["a.csv", "--rows", "101"], 2, "101 is not in the range 1<=x<=100"),
    ):
        refused = mira(*preview, *arguments)
        assert (refused.code, refused.out) == (code, "")
        assert sentence in refused.err


@pytest.mark.usefixtures("dials")
def test_a_preview_without_access_is_refused(mira: Command, person: Callable[[str], Command]) -> None:
    mira.ok("dataset", "register", "maintenance/unseen-dials", *REGISTER)
    mira.ok("dataset", "upload", "maintenance/unseen-dials", "dials")
    refused = person("quentin")("dataset", "preview", "maintenance/unseen-dials")
    assert (refused.code, refused.out) == (4, "")
    assert "On the command line, `guildhall access request` asks." in refused.err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["dataset", "show", "maintenance/absent"], 3, "no data set maintenance/absent that you may see"),
        (["dataset", "show", "maintenance/absent@1"], 2, "names a version, where TEAM/NAME is meant"),
        (["dataset", "upload", "maintenance/absent", "."], 3, "no data set maintenance/absent"),
        (["dataset", "download", "absent"], 2, "'absent' is not TEAM/NAME[@VERSION]"),
        (["dataset", "register", "maintenance/x"], 2, "Missing option '--description'"),
        (["access", "request", "--purpose", "p", "--justification", "j", "--for", "1d"], 2, "--dataset or --model"),
        (["access", "list", "--grants", "--to-decide"], 2, "exclude one another"),
        (["access", "approve", "AccessRequest_0"], 3, ""),
        (
            ["access", "request", "--dataset", "a/b", "--purpose", "p", "--justification", "j", "--for", "1d"],
            2,
            "--email",
        ),
        (
            ["dataset", "register", "maintenance/x", *REGISTER, "--retention-ends", "2030-13-45"],
            2,
            "'2030-13-45' is no day",
        ),
        (["dataset", "register", "maintenance/x", *REGISTER, "--purpose", "plunder"], 3, "'plunder' is not on the"),
        (["audit", "who-read"], 2, "Name a data set, or a model version with --model"),
        (["audit", "who-read", "a/b", "--from", "yesterday"], 2, "'yesterday' is no moment"),
    ],
)
def test_refused(mira: Command, arguments: list[str], code: int, sentence: str) -> None:
    ended = mira(*arguments)
    assert (ended.code, ended.out) == (code, "")
    assert sentence in ended.err
