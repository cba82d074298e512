"""Upload tickets: good for one owner and one day, and for nothing when a letter of them is changed."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from registry.artifacts.tables import OwnerKind
from registry.artifacts.tickets import TicketRefused, UploadTickets

AT = datetime(2026, 3, 2, 8, tzinfo=UTC)
OWNER = UUID(int=7)
KIND = OwnerKind.DATASET_VERSION
TICKETS = UploadTickets(b"k" * 32)
TICKET = TICKETS.issue(KIND, OWNER, at=AT)


class TestCheck:
    def test_the_ticket_itself(self) -> None:
        TICKETS.check(TICKET, KIND, OWNER, at=AT + timedelta(hours=23, minutes=59))

    def test_every_replica_with_the_same_key_takes_it(self) -> None:
        UploadTickets(b"k" * 32).check(TICKET, KIND, OWNER, at=AT)

    def test_after_a_day(self) -> None:
        with pytest.raises(TicketRefused) as caught:
            TICKETS.check(TICKET, KIND, OWNER, at=AT + timedelta(hours=24))
        assert caught.value.message == "This upload ticket has ended. Ask for the uploads again to get a new one."

    @pytest.mark.parametrize(
        ("kind", "owner"), [(KIND, UUID(int=8)), (OwnerKind.MODEL_VERSION, OWNER), (OwnerKind.PACKAGE, OWNER)]
    )
    def test_of_another_upload(self, kind: OwnerKind, owner: UUID) -> None:
        with pytest.raises(TicketRefused) as caught:
            TICKETS.check(TICKET, kind, owner, at=AT)
        assert caught.value.message == "The header X-Guildhall-Upload holds the ticket of another upload."

    def test_of_a_server_with_another_key(self) -> None:
        with pytest.raises(TicketRefused):
            UploadTickets(b"K" * 32).check(TICKET, KIND, OWNER, at=AT)

    @pytest.mark.parametrize("place", range(len(TICKET)))
    def test_with_one_letter_changed(self, place: int) -> None:
        changed = TICKET[:place] + ("b" if TICKET[place] != "b" else "c") + TICKET[place + 1 :]
        with pytest.raises(TicketRefused):
            TICKETS.check(changed, KIND, OWNER, at=AT)

    @pytest.mark.parametrize("text", ["", ".", "...", "a.b.c.d", "ä.ö.ü.ß", TICKET[:-1], TICKET + "A"])
    def test_what_was_never_one(self, text: str) -> None:
        with pytest.raises(TicketRefused):
            TICKETS.check(text, KIND, OWNER, at=AT)
