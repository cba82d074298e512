"""What the ledger refuses: each a class with its code, and the sentence for what the database answered."""

from typing import Any

from guildhall.credits import format_credits
from guildhall.errors import Conflict, Invalid, NotFound
from marketplace.tables import CREDITS_MAX


class IdempotencyKeyReused(Conflict):
    """The key has served another input before."""

    code = "IDEMPOTENCY_KEY_REUSED"


class InsufficientCredits(Invalid):
    """The allocations that are valid now do not hold enough; `missing` and `available` are micro-credits."""

    code = "INSUFFICIENT_CREDITS"

    def __init__(self, *, missing: int, available: int, wallet: str, field: str | None = None) -> None:
        super().__init__(
            f"{format_credits(missing)} credits are missing: {wallet} has {format_credits(available)} available.",
            field=field,
            details={"missing": format_credits(missing), "available": format_credits(available)},
        )
        self.missing = missing
        self.available = available


class CreditsOutOfRange(Invalid):
    """An amount that is not positive, or more than the ledger can keep."""

    code = "CREDITS_OUT_OF_RANGE"


class UnknownHold(NotFound):
    """No hold has this id."""


class UnknownAllocation(NotFound):
    """No allocation has this id."""


class HoldAlreadyResolved(Conflict):
    """The hold was settled, voided or has expired before; a hold resolves once."""

    code = "HOLD_ALREADY_RESOLVED"


class HoldNotExpired(Conflict):
    """The hold still has time."""

    code = "HOLD_NOT_EXPIRED"


class MoreThanHeld(Conflict):
    """More was to be charged than was held; a charge never exceeds its hold."""

    code = "MORE_THAN_HELD"


class MoreThanCaptured(Invalid):
    """More was to be refunded than was charged and not yet refunded."""

    code = "MORE_THAN_CAPTURED"


class AllocationEnded(Conflict):
    """The allocation's time is over; what was left in it has expired or is about to."""

    code = "ALLOCATION_ENDED"


class SameTeam(Invalid):
    """Credits were to be sent to the team that has them."""

    code = "SAME_TEAM"


def require_credits(credits: int, field: str | None = None) -> int:
    """The amount itself, or CreditsOutOfRange: a transfer moves more than nothing, and no more than CREDITS_MAX."""
    if not 0 < credits <= CREDITS_MAX:
        raise CreditsOutOfRange(
            f"{format_credits(credits)} credits cannot be moved: it takes more than 0 and at most "
            f"{format_credits(CREDITS_MAX)}.",
            field=field,
        )
    return credits


def refusal_of(answer: dict[str, Any], wallet: str) -> Conflict | Invalid | NotFound:
    """The refusal for an answer whose outcome is not DONE; `wallet` is how its sentence names where credits lack."""
    match answer["outcome"]:
        case "INSUFFICIENT":
            return InsufficientCredits(missing=answer["missing"], available=answer["available"], wallet=wallet)
        case "ALREADY_RESOLVED":
            return HoldAlreadyResolved(f"The hold is {answer['phase'].lower()} already; it resolves once.")
        case "MORE_THAN_HELD":
            return MoreThanHeld(f"Only {format_credits(answer['held'])} credits are held.")
        case "MORE_THAN_CAPTURED" if answer["refundable"] == 0:
            return MoreThanCaptured("Nothing is left to refund: all that was charged was refunded already.")
        case "MORE_THAN_CAPTURED":
            return MoreThanCaptured(f"Only {format_credits(answer['refundable'])} credits can be refunded.")
    plain: dict[str, Conflict | Invalid | NotFound] = {
        "KEY_REUSED": IdempotencyKeyReused("This idempotency key was used before, with another input: use a new key."),
        "UNKNOWN_HOLD": UnknownHold("There is no such hold."),
        "UNKNOWN_ALLOCATION": UnknownAllocation("There is no such allocation."),
        "NOT_EXPIRED": HoldNotExpired("The hold still has time."),
        "ALLOCATION_ENDED": AllocationEnded("The allocation has ended; what was left in it expires."),
        "SAME_TEAM": SameTeam("The credits belong to this team already."),
    }
    return plain[answer["outcome"]]
