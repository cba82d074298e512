"""A notification as a mail: plain text, known again when it comes twice, and answered by no machine."""

from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from uuid import UUID

from guildhall.inbox.wording import Wording

WHY = """You get this because you asked Guildhall for mail. To get none:
mutation { updateInboxSettings(input: {mail: NONE}) { settings { mail } } }"""


def compose_mail(
    words: Wording, *, delivery_id: UUID, sender: str, name: str, address: str, site: str, at: datetime
) -> EmailMessage:
    """The mail of one notification, the same each time. Raises ValueError for an address that none can be sent to.

    Nothing in a name or a title can become a header: control characters are taken out, and the message refuses lines.
    """
    display, own = parseaddr(sender)
    domain = own.rpartition("@")[2]
    message = EmailMessage(policy=SMTP)
    message["Message-ID"] = f"<{delivery_id}@{domain}>"
    message["Date"] = format_datetime(at)
    message["From"] = _address(display, own)
    message["To"] = _address(name, address)
    message["Subject"] = _line(words.title)
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message.set_content(f"{words.text}\n\n{site}\n\n-- \n{WHY}\n")
    return message


def _address(name: str, address: str) -> Address:
    """Raises ValueError where it is no address, also for what else the parser raises for one."""
    try:
        return Address(display_name=_line(name), addr_spec=address)
    except Exception as error:  # it has many ways to say so, and an IndexError is one of them
        raise ValueError(f"{address!r} is no address") from error


def _line(text: str) -> str:
    """One line without control characters: what would end a header, or hide in it."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
