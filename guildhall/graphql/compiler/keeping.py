"""Fragments that are made again and again from the same arguments are kept, where a function asked nothing else.

A declared function may look at the request as it likes. What it looked at is noted while it runs: one that looked at
nothing says the same for every request with these arguments.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, cast

from guildhall.graphql.compiler.fragments import Fragment
from guildhall.graphql.context import Context

KEPT_MAX = 500
"""How many fragments are kept in a process; that unused for longest goes first."""

_kept: OrderedDict[Hashable, Fragment] = OrderedDict()


def kept(key: Hashable, context: Context, make: Callable[[Context], Fragment]) -> Fragment:
    """The fragment for this key, made with a context that notes whether it is looked at."""
    found = _kept.get(key)
    if found is not None:
        _kept.move_to_end(key)
        return found
    watched = _Watched(context)
    made = make(cast("Context", watched))
    if not watched.looked:
        _kept[key] = made
        if len(_kept) > KEPT_MAX:
            _kept.popitem(last=False)
    return made


class _Watched:
    """A request that notes whether anybody looks at it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.looked = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- what the request has
        self.looked = True
        return getattr(self._context, name)
