"""Upload tickets: a signed header that lets whoever was told to upload an owner's files do just that, for a day.

A ticket is not a token: it opens no read and no other owner, and it is worth nothing once the owner is complete.
"""

import base64
import hmac
from datetime import datetime, timedelta
from uuid import UUID

from guildhall.errors import Unauthenticated
from registry.artifacts.owners import OwnerRef
from registry.artifacts.tables import OwnerKind

TICKET_HEADER = "X-Guildhall-Upload"
TICKET_SECONDS = 24 * 60 * 60
_PURPOSE = b"guildhall upload ticket v1"


class TicketRefused(Unauthenticated):
    """The header is not a ticket of ours, is for something else, or has ended."""

    code = "UPLOAD_TICKET_REFUSED"


class UploadTickets:
    """Signs and checks tickets; `key` is the secret that all replicas share."""

    def __init__(self, key: bytes) -> None:
        # A key of our own, so that no signature made for another use of the secret can ever pass as a ticket.
        self._key = hmac.digest(key, _PURPOSE, "sha256")

    def issue(self, owner_kind: OwnerKind, owner_id: UUID, *, at: datetime) -> str:
        """A ticket for the files of this owner, from now for TICKET_SECONDS."""
        ends_at = int((at + timedelta(seconds=TICKET_SECONDS)).timestamp())
        text = f"{owner_kind}.{owner_id.hex}.{ends_at}"
        return f"{text}.{self._signature(text)}"

    def check(self, ticket: str, owner_kind: OwnerKind, owner_id: UUID, *, at: datetime) -> None:
        """Raises TicketRefused unless the ticket is ours, is for this owner and has not ended."""
        if self.owner(ticket, at=at) != OwnerRef(owner_kind, owner_id):
            raise TicketRefused(f"The header {TICKET_HEADER} holds the ticket of another upload.")

    def owner(self, ticket: str, *, at: datetime) -> OwnerRef:
        """Whose files it lets be sent. Raises TicketRefused unless the ticket is ours and has not ended."""
        text, _, signature = ticket.rpartition(".")
        # Bytes, because comparing texts would raise on letters beyond ASCII.
        if not hmac.compare_digest(self._signature(text).encode(), signature.encode()):
            raise TicketRefused(f"The header {TICKET_HEADER} does not hold an upload ticket of this server.")
        kind, owner, ends_at = text.split(".")
        if at.timestamp() >= int(ends_at):
            raise TicketRefused("This upload ticket has ended. Ask for the uploads again to get a new one.")
        return OwnerRef(OwnerKind(kind), UUID(hex=owner))

    def _signature(self, text: str) -> str:
        digest = hmac.digest(self._key, text.encode("utf-8", "replace"), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
