"""Where webhooks may lead: out into the world; and into the house only where the operator says so."""

import asyncio
import socket
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from guildhall.inbox.webhook_addresses import (
    ConnectionNotAllowed,
    InvalidWebhookUrl,
    WebhookAddressRefused,
    check_url,
    guarded_sockets,
    may_connect,
    require_allowed,
)

OUTSIDE = ("8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::")
INSIDE = (
    "127.0.0.1", "127.8.9.10", "0.0.0.0",  # noqa: S104 -- refused, not bound
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "100.100.100.200", "168.63.129.16", "192.0.2.1", "192.0.0.192", "198.18.0.1", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "64:ff9b::7f00:1", "2002:a00:1::", "::127.0.0.1",
)  # fmt: skip


class TestMayConnect:
    @pytest.mark.parametrize("text", OUTSIDE)
    def test_into_the_world(self, text: str) -> None:
        assert may_connect(ip_address(text), [])

    @pytest.mark.parametrize("text", INSIDE)
    def test_not_into_the_house(self, text: str) -> None:
        assert not may_connect(ip_address(text), [])

    def test_where_the_operator_allows_it(self) -> None:
        networks = [ip_network("10.1.0.0/16"), ip_network("fd00::/8")]
        allowed = ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "fd00::1")
        assert [may_connect(ip_address(each), networks) for each in allowed] == [True] * 4
        assert not may_connect(ip_address("10.2.0.1"), networks)


class TestCheckUrl:
    @pytest.mark.parametrize(
        ("url", "place"),
        [
            ("https://example.org/hooks?key=1", ("example.org", 443)),
            ("http://example.org", ("example.org", 80)),
            ("https://[2001:4860::1]:8443/", ("2001:4860::1", 8443)),
        ],
    )
    def test_names_host_and_port(self, url: str, place: tuple[str, int]) -> None:
        assert check_url(url) == place

    @pytest.mark.parametrize(
        "url",
        [
            "", "example.org", "ftp://example.org", "file:///etc/passwd", "https://", "https:///x", "https://a b/",
            "https://user@example.org/", "https://:secret@example.org/", "https://example.org/#x",
            "https://example.org:0/", "https://example.org:99999/", "https://exämple.org/", "https://example.org\\@x/",
            "https://example.org/\r\nhost: x", f"https://example.org/{'x' * 2_000}",
        ],
    )  # fmt: skip
    def test_refuses_what_is_none(self, url: str) -> None:
        with pytest.raises(InvalidWebhookUrl) as refused:
            check_url(url)
        assert refused.value.field == "url"


def leading_to(*addresses: str) -> Any:
    async def resolve(_host: str, port: int) -> list[Any]:
        return [(0, 0, 0, "", (address, port)) for address in addresses]

    return resolve


class TestRequireAllowed:
    async def test_a_name_that_leads_into_the_world(self) -> None:
        await require_allowed("https://example.org/", [], resolve=leading_to("8.8.8.8"))

    async def test_not_where_one_address_is_inside(self) -> None:
        with pytest.raises(WebhookAddressRefused, match=r"example\.org leads to this machine or into an internal"):
            await require_allowed("https://example.org/", [], resolve=leading_to("8.8.8.8", "10.0.0.1"))

    @pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "0x7f000001", "2130706433", "127.1"])
    async def test_however_loopback_is_written(self, host: str) -> None:
        with pytest.raises((WebhookAddressRefused, InvalidWebhookUrl)):
            await require_allowed(f"http://{host}/", [])

    async def test_a_name_that_nobody_knows(self) -> None:
        async def resolve(_host: str, _port: int) -> Any:
            raise socket.gaierror(-2, "unknown")

        with pytest.raises(InvalidWebhookUrl, match=r"The host nowhere\.example is not known here"):
            await require_allowed("http://nowhere.example/", [], resolve=resolve)

    async def test_a_name_server_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def resolve(_host: str, _port: int) -> Any:
            await asyncio.Event().wait()

        monkeypatch.setattr("guildhall.inbox.webhook_addresses.RESOLVE_SECONDS_MAX", 0.01)
        with pytest.raises(InvalidWebhookUrl, match="is not known here"):
            await require_allowed("http://slow.example/", [], resolve=resolve)


class TestGuardedSockets:
    def test_opens_for_an_allowed_address_alone(self) -> None:
        open_socket = guarded_sockets([ip_network("127.0.0.0/8")])
        info = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        with open_socket((*info, ("127.0.0.1", 80))) as opened:
            assert opened.family is socket.AF_INET
        with pytest.raises(ConnectionNotAllowed):
            open_socket((*info, ("10.0.0.1", 80)))
