"""How one setting is declared: the field of a dataclass, with what it takes to read it from its variable."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from guildhall.setting_values import whole


@dataclass(frozen=True, kw_only=True)
class Variable:
    """How one field is read: `parse` raises ValueError, `right` completes the sentence "it must be …"."""

    parse: Callable[[str], Any]
    right: str
    text: str
    default_text: str | None
    secret: bool


def variable(
    default: Any,  # noqa: ANN401 -- the type is the field's, checked there
    parse: Callable[[str], Any],
    *,
    right: str,
    text: str,
    default_text: str | None = None,
    secret: bool = False,
) -> Any:  # noqa: ANN401 -- dataclasses.field is typed the same way
    """A field that is read from a variable; a `secret` one is shown nowhere."""
    about = Variable(parse=parse, right=right, text=text, default_text=default_text, secret=secret)
    return field(default=default, repr=not secret, metadata={"variable": about})


def number(default: int, minimum: int, maximum: int, text: str) -> Any:  # noqa: ANN401 -- as variable
    """A whole number of that range."""
    right = f"a whole number from {minimum} to {maximum}"
    return variable(default, whole(minimum, maximum), right=right, text=text)
