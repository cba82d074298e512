"""What an issuer's token must be to count: each way to forge one is refused, and says why."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from guildhall.auth.claims import (
    GROUPS_MAX,
    TOKEN_CHARACTERS_MAX,
    Claims,
    NotOfIssuer,
    Rules,
    access_claims,
    identity_claims,
    public_keys,
    signing_key,
    take_apart,
)
from tests.fake_issuer import AUDIENCE, BROWSER_CLIENT, FIRST, ISSUER, SECOND, FakeIssuer, signed, unsigned, with_secret

AT = datetime(2026, 3, 2, 8, tzinfo=UTC)
RULES = Rules(
    issuer=ISSUER, audience=AUDIENCE, client_id=BROWSER_CLIENT, groups_claim="groups", emails_verified=False,
    skew=timedelta(seconds=60),
)  # fmt: skip
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
SMALL = {"kty": "RSA", "kid": "small", "e": "AQAB", "n": "w" * 171}


@pytest.fixture
def issuer() -> FakeIssuer:
    return FakeIssuer(AT)


def read(text: str, rules: Rules = RULES, at: datetime = AT) -> Claims:
    return access_claims(take_apart(text), rules, at=at)


class TestTakeApart:
    def test_a_good_token(self, issuer: FakeIssuer) -> None:
        parts = take_apart(issuer.token())
        assert (parts.algorithm, parts.key_id) == ("RS256", "first")

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("a.b", "three parts"),
            ("a.b.c", "three parts"),
            ("é.b.c", "three parts"),
            (".".join(["e" * 3_000] * 3), "three parts"),
            ("x" * (TOKEN_CHARACTERS_MAX + 1), "16384 characters at most; this one has 16385"),
            (unsigned({}, ["alg"]), "no JSON object"),
            (unsigned({}, {"typ": "JWT"}), "three parts"),
        ],
    )
    def test_what_is_none(self, text: str, why: str) -> None:
        with pytest.raises(NotOfIssuer, match=why):
            take_apart(text)

    @pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "HS512", "RSA1_5", "dir", "", 1, None])
    def test_an_algorithm_that_is_not_taken(self, issuer: FakeIssuer, algorithm: Any) -> None:
        with pytest.raises(NotOfIssuer, match="of a kind that is not taken"):
            take_apart(unsigned(issuer.claims(), {"alg": algorithm, "kid": "first"}))

    @pytest.mark.parametrize(
        "header",
        [
            {"typ": "logout+jwt"}, {"typ": "dpop+jwt"}, {"typ": "secevent+jwt"}, {"typ": 1},
            {"crit": ["exp"], "exp": 1}, {"crit": []}, {"b64": True},
        ],
    )  # fmt: skip
    def test_a_token_for_something_else(self, issuer: FakeIssuer, header: dict[str, Any]) -> None:
        with pytest.raises(NotOfIssuer, match="something else than signing in"):
            take_apart(unsigned(issuer.claims(), {"alg": "RS256", **header}))

    def test_a_key_named_by_no_text(self, issuer: FakeIssuer) -> None:
        with pytest.raises(NotOfIssuer, match="not a text"):
            take_apart(unsigned(issuer.claims(), {"alg": "RS256", "kid": 7}))


class TestPublicKeys:
    def test_those_that_can_verify_by_name(self) -> None:
        listed = [key.as_dict(private=False) for key in (FIRST, SECOND, EC, ED)]
        found = public_keys({"keys": listed}, keys_max=9)
        assert sorted(str(name) for name in found) == ["ec", "ed", "first", "second"]

    def test_no_more_than_the_maximum(self) -> None:
        listed = [key.as_dict(private=False) for key in (FIRST, SECOND)]
        assert list(public_keys({"keys": listed}, keys_max=1)) == ["first"]

    def test_a_private_part_is_dropped(self) -> None:
        (key,) = public_keys({"keys": [FIRST.as_dict(private=True)]}, keys_max=1)["first"]
        assert key.is_private is False

    @pytest.mark.parametrize(
        "entry",
        [
            "text", {}, {"kty": "oct", "k": "c2VjcmV0"}, {"kty": "RSA", "n": 5, "e": "AQAB"}, {"kty": "RSA"},
            {"kty": "EC", "crv": "P-999", "x": "", "y": ""}, {**FIRST.as_dict(private=False), "use": "enc"},
            {**SECOND.as_dict(private=False), "key_ops": ["encrypt"]}, SMALL,
        ],
    )  # fmt: skip
    def test_what_cannot_is_left_out(self, entry: Any) -> None:
        assert public_keys({"keys": [entry, SECOND.as_dict(private=False)]}, keys_max=9).keys() == {"second"}

    @pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}])
    def test_no_list_of_keys(self, document: Any) -> None:
        assert public_keys(document, keys_max=9) == {}


class TestSignedBy:
    @pytest.mark.parametrize(
        ("key", "algorithm"), [(SECOND, "RS256"), (SECOND, "PS384"), (EC, "ES256"), (ED, "Ed25519")]
    )
    def test_its_own_key(self, issuer: FakeIssuer, key: Any, algorithm: str) -> None:
        text = issuer.token(key=key, header={"alg": algorithm})
        (public,) = public_keys({"keys": [key.as_dict(private=False)]}, keys_max=9)[key.kid]
        assert signing_key(take_apart(text), [public])
        (other,) = public_keys({"keys": [FIRST.as_dict(private=False)]}, keys_max=9)["first"]
        assert not signing_key(take_apart(text), [other])

    def test_a_key_for_another_algorithm(self, issuer: FakeIssuer) -> None:
        (public,) = public_keys({"keys": [FIRST.as_dict(private=False)]}, keys_max=9)["first"]
        text = issuer.token(
            key=RSAKey.import_key(FIRST.as_pem(private=True), {"kid": "first"}), header={"alg": "PS256"}
        )
        assert not signing_key(take_apart(text), [public])

    def test_a_key_of_another_kind(self, issuer: FakeIssuer) -> None:
        (public,) = public_keys({"keys": [SECOND.as_dict(private=False)]}, keys_max=9)["second"]
        assert not signing_key(take_apart(issuer.token(key=EC, header={"alg": "ES256"})), [public])

    def test_what_was_changed_afterwards(self, issuer: FakeIssuer) -> None:
        (public,) = public_keys({"keys": [FIRST.as_dict(private=False)]}, keys_max=9)["first"]
        head, _, signature = issuer.token().split(".")
        body = unsigned(issuer.claims(sub="sub-root"), {}).split(".")[1]
        assert not signing_key(take_apart(f"{head}.{body}.{signature}"), [public])
        assert not signing_key(take_apart(f"{head}.{body}."), [public])
        assert not signing_key(take_apart(f"{head}.{body}.!!!!"), [public])

    def test_a_public_key_is_no_shared_secret(self, issuer: FakeIssuer) -> None:
        confused = with_secret(issuer.claims(), FIRST.as_pem(private=False))
        with pytest.raises(NotOfIssuer, match="of a kind that is not taken"):
            take_apart(confused)

    def test_a_key_that_the_token_brings_along_is_not_looked_at(self, issuer: FakeIssuer) -> None:
        text = issuer.token(key=EC, header={"alg": "ES256", "kid": "first", "jwk": EC.as_dict(private=False)})
        (public,) = public_keys({"keys": [FIRST.as_dict(private=False)]}, keys_max=9)["first"]
        assert not signing_key(take_apart(text), [public])


class TestAccessClaims:
    def test_a_good_token(self, issuer: FakeIssuer) -> None:
        found = read(issuer.token(aud=["others", AUDIENCE], groups=["b", "a"], email="Ada@Example.org"))
        assert found == Claims(
            issuer=ISSUER, subject="sub-ada", email="ada@example.org", name="Ada", groups=frozenset({"a", "b"}),
            issued_at=AT, expires_at=AT + timedelta(minutes=5),
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("changed", "why"),
        [
            ({"aud": "others"}, "not for Guildhall"),
            ({"aud": None}, "not for Guildhall"),
            ({"aud": [[AUDIENCE]]}, "not for Guildhall"),
            ({"iss": "https://issuer.test/"}, "not of the issuer"),
            ({"iss": [ISSUER]}, "not of the issuer"),
            ({"iss": None}, "not of the issuer"),
            ({"sub": None}, "`sub` must be a text"),
            ({"sub": ""}, "`sub` must be a text"),
            ({"sub": "x" * 256}, "`sub` must be a text"),
            ({"sub": "a\0b"}, "`sub` must be a text"),
            ({"sub": ["sub-ada"]}, "`sub` must be a text"),
            ({"exp": None}, "`exp` must be there"),
            ({"exp": "tomorrow"}, "`exp` must be there"),
            ({"exp": True}, "`exp` must be there"),
            ({"exp": 10**15}, "`exp` must be there"),
            ({"exp": -1}, "`exp` must be there"),
            ({"iat": None}, "`iat` must be there"),
            ({"nbf": "now"}, "`nbf` must be there"),
            ({"nonce": "n"}, "identity token"),
            ({"at_hash": "h"}, "identity token"),
            ({"typ": "ID"}, "identity token"),
            ({"typ": "Refresh"}, "identity token"),
            ({"cnf": {"jkt": "x"}}, "bound to a key"),
            ({"email": 5}, "`email` must be a text"),
            ({"email": "\u212aate@example.org"}, "reads as another one in lower case"),
            ({"name": 5}, "`name` must be a text"),
            ({"groups": {"a": 1}}, "must be a list"),
            ({"groups": ["a"] * (GROUPS_MAX + 1)}, "must be a list"),
            ({"groups": [1]}, "`groups` must be a text"),
            ({"_claim_names": {"groups": "src1"}}, "too many groups"),
        ],
    )
    def test_what_does_not_count(self, issuer: FakeIssuer, changed: dict[str, Any], why: str) -> None:
        with pytest.raises(NotOfIssuer, match=why):
            read(issuer.token(**changed))

    @pytest.mark.parametrize("payload", [b"[]", b"nothing", b'"text"', b"\xff"])
    def test_claims_are_an_object(self, payload: bytes) -> None:
        with pytest.raises(NotOfIssuer, match="not a JSON object"):
            read(signed(payload, FIRST, {"alg": "RS256"}))

    @pytest.mark.parametrize(
        ("seconds", "counts"), [(-61, False), (-60, True), (0, True), (359, True), (360, False), (361, False)]
    )
    def test_clocks_may_differ_by_a_minute(self, issuer: FakeIssuer, seconds: int, counts: bool) -> None:
        text = issuer.token()
        if counts:
            assert read(text, at=AT + timedelta(seconds=seconds)).subject == "sub-ada"
        else:
            with pytest.raises(NotOfIssuer, match=r"has expired|does not count yet"):
                read(text, at=AT + timedelta(seconds=seconds))

    def test_not_before_counts_for_itself(self, issuer: FakeIssuer) -> None:
        later = int(AT.timestamp()) + 120
        with pytest.raises(NotOfIssuer, match="does not count yet"):
            read(issuer.token(nbf=later))
        assert read(issuer.token(nbf=later), at=AT + timedelta(seconds=60)).issued_at == AT

    @pytest.mark.parametrize(
        ("changed", "trusted", "email"),
        [
            ({"email_verified": None}, False, None),
            ({"email_verified": None}, True, "ada@example.org"),
            ({"email_verified": False}, True, None),
            ({"email_verified": "true"}, False, None),
            ({"email": None}, True, None),
        ],
    )
    def test_an_address_counts_where_the_issuer_vouches(
        self, issuer: FakeIssuer, changed: dict[str, Any], trusted: bool, email: str | None
    ) -> None:
        assert read(issuer.token(**changed), replace(RULES, emails_verified=trusted)).email == email

    @pytest.mark.parametrize(
        ("changed", "claim", "groups"),
        [
            ({"groups": None}, "groups", set()),
            ({"groups": "one"}, "groups", {"one"}),
            ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", {"a"}),
            ({"https://x.test/groups": ["b"]}, "https://x.test/groups", {"b"}),
            ({"realm_access": ["a"]}, "realm_access.roles", set()),
            ({"_claim_names": {"others": "s"}, "groups": ["c"]}, "groups", {"c"}),
        ],
    )
    def test_groups_by_name_or_path(
        self, issuer: FakeIssuer, changed: dict[str, Any], claim: str, groups: set[str]
    ) -> None:
        assert read(issuer.token(**changed), replace(RULES, groups_claim=claim)).groups == groups

    def test_no_name_is_none(self, issuer: FakeIssuer) -> None:
        assert read(issuer.token(name=None)).name is None
        assert read(issuer.token(name="  ")).name is None


class TestIdentityClaims:
    def read(self, issuer: FakeIssuer, rules: Rules = RULES) -> Claims:
        return identity_claims(take_apart(issuer.identity_token()), rules, nonce=None, at=AT)

    def test_a_good_one(self, issuer: FakeIssuer) -> None:
        text = issuer.identity_token(nonce="n", azp=BROWSER_CLIENT)
        assert identity_claims(take_apart(text), RULES, nonce="n", at=AT).subject == "sub-ada"

    @pytest.mark.parametrize(
        ("changed", "why"),
        [
            ({"aud": "others"}, "another client"),
            ({"azp": "others"}, "another client"),
            ({"nonce": "m"}, "another sign-in"),
            ({"nonce": None}, "another sign-in"),
            ({"exp": 5}, "has expired"),
        ],
    )
    def test_what_does_not_count(self, issuer: FakeIssuer, changed: dict[str, Any], why: str) -> None:
        with pytest.raises(NotOfIssuer, match=why):
            identity_claims(take_apart(issuer.identity_token(**{"nonce": "n", **changed})), RULES, nonce="n", at=AT)

    def test_a_renewed_one_needs_no_nonce(self, issuer: FakeIssuer) -> None:
        assert self.read(issuer).subject == "sub-ada"

    def test_without_a_client_there_is_none_for_us(self, issuer: FakeIssuer) -> None:
        with pytest.raises(NotOfIssuer, match="another client"):
            self.read(issuer, rules=replace(RULES, client_id=None))
