"""The inbox at the terminal: what somebody else did is told, read, and unread again."""

from collections.abc import Callable

from tests.client.command.conftest import Command


def test_from_a_request_to_an_empty_inbox(mira: Command, person: Callable[[str], Command]) -> None:
    stella, quentin = person("stella"), person("quentin")
    legal = ["--licence", "CC0", "--legal-basis", "contract", "--purpose", "defect-detection", "--region", "eu-local"]
    mira.ok("dataset", "register", "maintenance/inbox-faces", "--description", "Faces.", "--classification",
            "confidential", "--steward", "stella@guildhall.example", *legal)  # fmt: skip
    quentin.ok("access", "request", "--dataset", "maintenance/inbox-faces", "--team", "quality", "--for", "14d",
               "--purpose", "defect-detection", "--justification", "our presses carry them too")  # fmt: skip
    listed = stella.ok("inbox", "--unread")
    assert "asks for access to maintenance/inbox-faces" in listed.out
    assert "our presses carry them too" in listed.out
    found = stella.ok("inbox", "--kind", "access_asked", "--json").json
    told = next(each for each in found["nodes"] if "inbox-faces" in each["title"])
    assert (told["kind"], told["readAt"], told["subject"]["__typename"]) == ("ACCESS_ASKED", None, "AccessRequest")
    unread = found["unreadNotifications"]
    assert listed.err.startswith(f"{unread} unread: ")
    assert stella.ok("inbox", "read", told["id"]).out == f"1 marked as read; {unread - 1} unread.\n"
    assert "inbox-faces" not in stella.ok("inbox", "--unread").out
    again = stella.ok("inbox", "unread", told["id"], "--json").json
    assert again == {"marked": 1, "unreadNotifications": unread}
    assert stella.ok("inbox", "read", "--all").out == f"{unread} marked as read; 0 unread.\n"
    assert stella.ok("inbox", "--unread").err == "Nothing here.\n"
    quentin.ok("access", "request", "--dataset", "maintenance/inbox-faces", "--email", "milan@guildhall.example",
               "--for", "1d", "--purpose", "defect-detection", "--justification", "he helps us")  # fmt: skip
    page = stella.ok("inbox", "--limit", "1")
    assert len(page.out.splitlines()) == 2
    assert page.err.splitlines()[0].startswith("1 unread: ")
    assert page.err.splitlines()[1].startswith("There are more: --after ")


def test_an_empty_inbox_and_what_is_not_there(person: Callable[[str], Command]) -> None:
    nobody = person("alma")
    assert nobody.ok("inbox").err == "Nothing here.\n"
    assert nobody.ok("inbox", "read", "--all").out == "0 marked as read; 0 unread.\n"
    refused = nobody("inbox", "read", "Notification_1")
    assert (refused.code, refused.out) == (3, "")
    assert "There is no Notification with the id 'Notification_1'" in refused.err
    for arguments in ([], ["--all", "Notification_1"]):
        wrong = nobody("inbox", "read", *arguments)
        assert wrong.code == 2
        assert "one of the two" in wrong.err


def test_what_comes_is_shown_as_it_comes(mira: Command, person: Callable[[str], Command]) -> None:
    stella, quentin = person("stella"), person("quentin")
    legal = ["--licence", "CC0", "--legal-basis", "contract", "--purpose", "defect-detection", "--region", "eu-local"]
    mira.ok("dataset", "register", "maintenance/inbox-followed", "--description", "Faces.", "--classification",
            "confidential", "--steward", "stella@guildhall.example", *legal)  # fmt: skip
    with stella.terminal("inbox", "--follow", "--kind", "access_asked") as terminal:
        terminal.until("Waiting for what comes")
        quentin.ok("access", "request", "--dataset", "maintenance/inbox-followed", "--team", "quality", "--for", "14d",
                   "--purpose", "defect-detection", "--justification", "our presses carry them")  # fmt: skip
        terminal.until("asks for access to maintenance/inbox-followed")
        assert terminal.insist("\x03") == 130
    assert "Traceback" not in terminal.said


def test_what_is_there_and_what_comes_are_two_things(mira: Command) -> None:
    for more in (["--unread"], ["--after", "x"]):
        wrong = mira("inbox", "--follow", *more)
        assert (wrong.code, wrong.out) == (2, "")
        assert "--follow shows what comes" in wrong.err
