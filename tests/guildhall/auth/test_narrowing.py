"""A token that is limited to some roles: the same policy with fewer bindings."""

from dataclasses import replace
from uuid import UUID

import pytest

from guildhall.auth import narrowing as module
from guildhall.auth.bindings import Binding
from guildhall.auth.narrowing import narrowed
from guildhall.auth.policy import PolicyRules, PolicySnapshot, RoleRules
from guildhall.auth.subjects import ActorKind, Subject

PRESS = UUID(int=1)
ROBOT = Subject(ActorKind.SERVICE_ACCOUNT, UUID(int=2))
OTHER = Subject(ActorKind.USER, UUID(int=3))


@pytest.fixture
def policy() -> PolicySnapshot:
    roles = {
        "reader": RoleRules(frozenset({"read"}), frozenset()),
        "writer": RoleRules(frozenset({"read", "write"}), frozenset()),
    }
    bindings = {ROBOT: (Binding("reader", PRESS), Binding("writer", PRESS)), OTHER: (Binding("writer", PRESS),)}
    return PolicySnapshot(PolicyRules(version=1, roles=roles, bindings=bindings, teams={PRESS: "press"}))


class TestNarrowed:
    def test_only_these_roles_of_only_this_holder_count(self, policy: PolicySnapshot) -> None:
        small = narrowed(policy, ROBOT, ["reader"])
        assert (small.may(ROBOT, "read", PRESS), small.may(ROBOT, "write", PRESS)) == (True, False)
        assert small.permissions(OTHER, PRESS) == frozenset()
        assert policy.may(ROBOT, "write", PRESS)

    def test_what_another_role_denies_stays_denied(self, policy: PolicySnapshot) -> None:
        barred = RoleRules(frozenset({"print"}), frozenset({"read"}))
        held = (*policy.rules.bindings[ROBOT], Binding("barred", PRESS))
        rules = replace(policy.rules, roles={**policy.rules.roles, "barred": barred}, bindings={ROBOT: held})
        small = narrowed(PolicySnapshot(rules), ROBOT, ["writer"])
        assert small.permissions(ROBOT, PRESS) == {"write"}, "and what that role allows is not allowed either"

    def test_a_role_that_they_do_not_hold_gives_nothing(self, policy: PolicySnapshot) -> None:
        assert narrowed(policy, ROBOT, ["administrator"]).permissions(ROBOT, PRESS) == frozenset()

    def test_who_is_unknown_stays_unknown(self, policy: PolicySnapshot) -> None:
        stranger = Subject(ActorKind.SERVICE_ACCOUNT, UUID(int=9))
        assert narrowed(policy, stranger, ["reader"]).permissions(stranger, PRESS) == frozenset()

    def test_it_is_the_same_object_as_long_as_the_policy_is(self, policy: PolicySnapshot) -> None:
        assert narrowed(policy, ROBOT, ["reader", "writer"]) is narrowed(policy, ROBOT, ["writer", "reader"])

    def test_memory_has_an_end(self, policy: PolicySnapshot, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "NARROWED_MAX", 1)
        first = narrowed(policy, ROBOT, ["reader"])
        narrowed(policy, ROBOT, ["writer"])
        assert narrowed(policy, ROBOT, ["reader"]) is not first
