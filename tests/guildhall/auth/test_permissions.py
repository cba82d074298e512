"""The table of permissions and the roles that an installation starts with fit together."""

import re

import pytest

from guildhall.auth.permissions import PERMISSIONS, permission_named
from guildhall.auth.roles import IMPLICIT_ROLES, ROLE_SENTENCES, ROLES

GRAMMAR = re.compile(r"(guildhall|registry|marketplace|scheduler):[a-z]+(-[a-z]+)*:[a-z]+(-[a-z]+)*")


class TestPermissions:
    @pytest.mark.parametrize("name", PERMISSIONS)
    def test_names_follow_the_grammar(self, name: str) -> None:
        assert GRAMMAR.fullmatch(name)

    @pytest.mark.parametrize("permission", PERMISSIONS.values(), ids=str)
    def test_sentences_complete_a_sentence(self, permission: object) -> None:
        sentence = getattr(permission, "sentence", "")
        assert sentence
        assert not sentence.endswith(".")
        assert sentence[0].islower()

    @pytest.mark.parametrize("name", PERMISSIONS)
    def test_verbs_that_look_are_reads_and_others_are_not(self, name: str) -> None:
        looks = name.rpartition(":")[2] in {"read", "discover", "explain"}
        assert permission_named(name).permission_class.name.endswith("_READ") == looks

    def test_an_unknown_name_is_a_mistake_of_the_programmer(self) -> None:
        with pytest.raises(AssertionError, match="guildhall:team:feed"):
            permission_named("guildhall:team:feed")


class TestRoles:
    def test_they_allow_only_what_is_in_the_table(self) -> None:
        assert {name for names in ROLES.values() for name in names} <= set(PERMISSIONS)

    def test_each_has_a_sentence(self) -> None:
        assert ROLES.keys() == ROLE_SENTENCES.keys()

    def test_every_permission_is_allowed_by_some_role_but_the_platforms_own(self) -> None:
        allowed = {name for names in ROLES.values() for name in names}
        assert set(PERMISSIONS) - allowed == {"scheduler:job:settle"}

    def test_no_role_that_governs_reads_data(self) -> None:
        for role in ("administrator", "auditor", "allocator"):
            assert not {"registry:dataset:read", "registry:model:read"} & set(ROLES[role]), role

    def test_who_writes_policy_does_not_read_the_audit_record_by_it(self) -> None:
        assert "guildhall:audit:read" not in ROLES["administrator"]

    def test_a_job_may_only_what_a_job_does(self) -> None:
        assert {"member", "job"} == IMPLICIT_ROLES
        assert not {name for name in ROLES["job"] if name.startswith(("guildhall:", "marketplace:"))}
