"""What to do next after a refusal, by its code: one table, for the API, the routes for files and the command alike.

A hint adds to the sentence of the refusal and never repeats it. Codes whose sentences say it all have none.
"""

from collections.abc import Mapping
from types import MappingProxyType

_SIGN_IN = "`guildhall login` signs in on the command line."
_LATER = "Try again in a moment; nothing was changed."
_FEWER = "Ask for less at once: a smaller `first`, or fewer lists within lists."

HINTS: Mapping[str, str] = MappingProxyType(
    {
        "ACCESS_REFUSED": "On the command line, `guildhall access request` asks.",
        "ALREADY_REQUESTED": "Its stewards have it before them; `guildhall access list` and `guildhall loosening list` "
        "show how it stands.",
        "ARTIFACT_STORE_UNAVAILABLE": _LATER,
        "DATABASE_BUSY": _LATER,
        "DATABASE_UNAVAILABLE": _LATER,
        "DOCUMENT_NOT_TRUSTED": "This server runs only the documents of its manifest; have yours added to it.",
        "FIRST_REQUIRED": "Add `first`, as in `models(first: 20)`.",
        "FORBIDDEN": "`guildhall whoami` shows your roles; the team's maintainers and administrators give others.",
        "IDEMPOTENCY_KEY_REUSED": "Send a key of its own with each input.",
        "INSUFFICIENT_CREDITS": "`guildhall wallet TEAM` shows what is left, and until when; ask for less, or the "
        "allocation committee for credits.",
        "INVALID_CURSOR": "Begin again without `after`, with the same filter and order on every page.",
        "LAST_ADMINISTRATOR": "Give somebody else the role first.",
        "NOBODY_CAN_DECIDE": "Have its team name another steward of the data.",
        "NO_RATE": "Whoever sets prices publishes a price list for that time; ask for an earlier end until then.",
        "OVERLOADED": _LATER,
        "PAGE_TOO_LARGE": _FEWER,
        "QUERY_TIMEOUT": _FEWER,
        "QUERY_TOO_COSTLY": _FEWER,
        "QUOTE_ALREADY_ACCEPTED": "`guildhall jobs` shows its job; ask for another quote to run it again.",
        "QUOTE_EXPIRED": "Quotes are free: `guildhall run` asks for one and accepts it.",
        "READ_BUDGET_CROSSED": "`guildhall dataset show` names its stewards.",
        "REQUESTER_CANNOT_DECIDE": "Another of its stewards has to decide.",
        "SECOND_PERSON_REQUIRED": "Have its team name a steward besides you.",
        "STATEMENT_TIMEOUT": _FEWER,
        "STEWARD_REQUIRED": "`guildhall dataset show` names its stewards.",
        "TOKEN_REFUSED": _SIGN_IN,
        "TOO_MANY_SUBSCRIPTIONS": "End one that you follow.",
        "UNAUTHENTICATED": _SIGN_IN,
        "UNKNOWN_PURPOSE": "`{ purposes { name } }` lists those that there are.",
        "UPLOADS_INCOMPLETE": "Upload what is missing and complete it; `guildhall model publish` goes on where it was.",
        "WEBHOOK_ADDRESS_REFUSED": "Name a receiver that the world can reach, or ask the operator.",
    }
)


def hint_of(code: str) -> str | None:
    """What to do next; None where the sentence of the refusal says it all."""
    return HINTS.get(code)
