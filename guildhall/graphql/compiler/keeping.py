"""Fragments that are made again and again are kept, by what the functions that made them asked of the request.

A declared function may look at the request as it likes. What it looked at is noted while it runs: one that looked at
nothing says the same for every request with these arguments, one that looked at the caller says it for this caller as
long as the policy holds.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, cast
from weakref import WeakKeyDictionary

from guildhall.auth.policy import PolicySnapshot
from guildhall.graphql.compiler.fragments import Fragment
from guildhall.graphql.compiler.runs import Run
from guildhall.graphql.context import Context
from guildhall.settings import Settings

KEPT_MAX = 500
"""How many fragments are kept in a process; that unused for longest goes first."""

CALLERS_MAX = 1_000
"""How many callers' fragments are kept for one version of the policy."""

RULES_MAX = 1_000
"""How many fragments are kept for one caller."""

Rules = dict[Hashable, Fragment]

_kept: OrderedDict[Hashable, tuple[Settings | None, Fragment]] = OrderedDict()
_callers: "WeakKeyDictionary[PolicySnapshot, dict[tuple[object, ...], Rules]]" = WeakKeyDictionary()


def kept(key: Hashable, run: Run, make: Callable[[Context], Fragment]) -> Fragment:
    """The fragment for this key, made with a context that notes what of it is looked at."""
    context = run.context
    settings, found = _kept.get(key, (None, None))
    if found is not None and (settings is None or settings is context.settings):
        _kept.move_to_end(key)
        return found
    rules = rules_of(run)
    found = rules.get(key)
    if found is not None:
        return found
    watched = _Watched(context)
    made = make(cast("Context", watched))
    if watched.looked <= {"settings"}:
        _kept[key] = (context.settings if watched.looked else None, made)
        if len(_kept) > KEPT_MAX:
            _kept.popitem(last=False)
    elif watched.looked <= {"settings", "actor"}:
        keep_rule(rules, key, made)
    return made


def ruled(key: Hashable, run: Run, make: Callable[[], Fragment]) -> Fragment:
    """What follows from who asks and from the policy alone."""
    rules = rules_of(run) if run.rules is None else run.rules
    found = rules.get(key)
    if found is None:
        found = make()
        keep_rule(rules, key, found)
    return found


def rules_of(run: Run) -> Rules:
    """What is kept for the caller of a request; looked up once for it."""
    if run.rules is None:
        policy, caller = run.context.actor.policy, run.caller
        callers = _callers.get(policy)
        if callers is None:
            callers = _callers[policy] = {}
        found = callers.get(caller)
        if found is None:
            if len(callers) >= CALLERS_MAX:
                callers.clear()
            found = callers[caller] = {}
        run.rules = found
    return run.rules


def keep_rule(rules: Rules, key: Hashable, made: Fragment) -> None:
    """Keep one more; beyond the maximum all are made again."""
    if len(rules) >= RULES_MAX:
        rules.clear()
    rules[key] = made


class _Watched:
    """A request that notes what is looked at of it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.looked: set[str] = set()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- what the request has
        self.looked.add(name)
        return getattr(self._context, name)
