"""Where callers are: networks that tokens are limited to, and proxies whose word is taken."""

from ipaddress import ip_network

import pytest

from guildhall.auth.networks import (
    NETWORKS_MAX,
    InvalidNetwork,
    caller_address,
    is_inside,
    neighbourhood,
    networks_of,
)

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


class TestNetworksOf:
    def test_they_are_kept_in_one_form(self) -> None:
        given = ["10.1.2.3/16", " 192.0.2.7", "2001:DB8::/32", "10.1.0.0/16"]
        assert networks_of(given, field="networks") == ["10.1.0.0/16", "192.0.2.7/32", "2001:db8::/32"]

    @pytest.mark.parametrize("texts", [[], ["0.0.0.0/0"] * (NETWORKS_MAX + 1), ["here"], ["10.0.0.0/33"], [""]])
    def test_what_is_none(self, texts: list[str]) -> None:
        with pytest.raises(InvalidNetwork) as refusal:
            networks_of(texts, field="networks")
        assert refusal.value.field == "networks"


class TestIsInside:
    @pytest.mark.parametrize(
        ("address", "inside"),
        [
            ("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("11.0.0.1", False), ("2001:db8::1", True),
            (None, False), ("", False), ("nonsense", False),
        ],
    )  # fmt: skip
    def test_it(self, address: str | None, inside: bool) -> None:
        assert is_inside(address, ["10.0.0.0/8", ip_network("2001:db8::/32")]) is inside


class TestCallerAddress:
    @pytest.mark.parametrize(
        ("peer", "forwarded", "address"),
        [
            ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
            ("10.0.0.1", [], "10.0.0.1"),
            ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", ["1.1.1.1, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
            ("10.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
            ("10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
            ("fd00::1", ["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", ["unknown, 10.2.2.2"], "10.2.2.2"),
            ("10.0.0.1", ["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
            ("10.0.0.1", ["1.1.1.1," * 600 + "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", ["x" * 9_000, "198.51.100.1, 10.9.9.9"], "198.51.100.1"),
            ("10.0.0.1", ["1" * 9_000], "10.0.0.1"),
            (None, ["198.51.100.1"], None),
        ],
    )
    def test_the_last_that_is_no_proxy_of_ours(
        self, peer: str | None, forwarded: list[str], address: str | None
    ) -> None:
        assert caller_address(peer, forwarded, PROXIES) == address

    def test_without_proxies_nobody_is_believed(self) -> None:
        assert caller_address("10.0.0.1", ["198.51.100.1"], []) == "10.0.0.1"


class TestNeighbourhood:
    @pytest.mark.parametrize(
        ("address", "shared"),
        [("192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"), (None, ""), ("x", "")],
    )
    def test_it(self, address: str | None, shared: str) -> None:
        assert neighbourhood(address) == shared
