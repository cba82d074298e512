"""Mails: known again, answered by no machine, and nothing in a name or title becomes a header."""

from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP, default
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildhall.inbox.mail_messages import compose_mail
from guildhall.inbox.wording import Wording

DELIVERY = UUID("01980000-0000-7000-8000-000000000001")


def composed(title: str = "Job train failed", text: str = "It ended.", **changed: Any) -> EmailMessage:
    values: dict[str, Any] = {
        "delivery_id": DELIVERY, "sender": "Guildhall <guildhall@example.org>", "name": "Mia",
        "address": "mia@example.org", "site": "https://guildhall.example.org",
        "at": datetime(2026, 3, 2, 8, 0, tzinfo=UTC), **changed,
    }  # fmt: skip
    return compose_mail(Wording(title, text), **values)


def read_back(message: EmailMessage) -> Any:
    return message_from_bytes(message.as_bytes(policy=SMTP), policy=default)


class TestComposeMail:
    def test_has_the_headers_of_a_notice(self) -> None:
        message = read_back(composed())
        assert dict(message.items()) == {
            "Message-ID": f"<{DELIVERY}@example.org>",
            "Date": "Mon, 02 Mar 2026 08:00:00 +0000",
            "From": "Guildhall <guildhall@example.org>",
            "To": "Mia <mia@example.org>",
            "Subject": "Job train failed",
            "Auto-Submitted": "auto-generated",
            "X-Auto-Response-Suppress": "All",
            "Content-Type": 'text/plain; charset="utf-8"',
            "Content-Transfer-Encoding": "7bit",
            "MIME-Version": "1.0",
        }
        body = message.get_content().replace("\r\n", "\n")
        assert body.startswith("It ended.\n\nhttps://guildhall.example.org\n\n-- \nYou get this because")

    @given(st.text(max_size=300), st.text(max_size=100))
    def test_whatever_people_are_called_stays_in_its_header(self, title: str, name: str) -> None:
        title = title.encode("utf-8", "replace").decode()
        name = name.encode("utf-8", "replace").decode()
        message = read_back(composed(title, "Text.", name=name))
        assert len(message.keys()) == 10
        assert [each.addr_spec for each in message["To"].addresses] == ["mia@example.org"]
        assert message["Message-ID"] == f"<{DELIVERY}@example.org>"

    @pytest.mark.parametrize("title", ["Überfällig: Café – 数据 🚀", "a\r\nBcc: eve@example.org", "x" * 200, "ж" * 200])
    def test_subjects_of_any_letters(self, title: str) -> None:
        assert read_back(composed(title))["Subject"] == " ".join(title.split())

    def test_lines_of_any_length_and_letters(self) -> None:
        text = "日本 " * 2_000 + "\n.\nFrom here"
        message = composed(text=text)
        assert max(map(len, message.as_bytes(policy=SMTP).split(b"\r\n"))) < 998
        assert read_back(message).get_content().replace("\r\n", "\n").startswith(text)

    @pytest.mark.parametrize(
        "address", ["", "mia", "mia@", "mia@example.org\r\nBcc: eve@example.org", "a b@example.org"]
    )
    def test_what_is_no_address(self, address: str) -> None:
        with pytest.raises(ValueError, match="is no address"):
            composed(address=address)
