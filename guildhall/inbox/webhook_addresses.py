"""Where webhooks may lead: into the world, and into the networks that the operator allows; never into the house itself.

Asked twice: when a webhook is registered, so that people hear of it, and of each address in the moment before it is
connected to, because a name may lead elsewhere by then.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from guildhall.errors import Invalid

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
Resolve: TypeAlias = Callable[[str, int], Any]
"""As the event loop's `getaddrinfo`: the addresses of a host, to be awaited."""

URL_CHARACTERS_MAX = 2_000
RESOLVE_SECONDS_MAX = 5
GLOBAL_UNICAST = ip_network("2000::/3")
NAT64 = ip_network("64:ff9b::/96")
NEVER = tuple(
    ip_network(text)
    for text in (
        "168.63.129.16/32",  # Azure's own services, which know the machine's secrets, among the addresses of the world
        "192.0.0.0/24",  # Oracle's; which of these `is_global` knows depends on Python's patch release
        "2001::/23",
        "3fff::/20",
    )
)
ALLOWED_BY = "An operator allows internal receivers with GUILDHALL_WEBHOOK_NETWORKS."


class InvalidWebhookUrl(Invalid):
    """Not an address that a webhook can have."""

    code = "INVALID_WEBHOOK_URL"


class WebhookAddressRefused(Invalid):
    """An address of this machine, of the internal network, or of a cloud's metadata."""

    code = "WEBHOOK_ADDRESS_REFUSED"


class ConnectionNotAllowed(OSError):
    """Raised in place of connecting. All of a host's addresses give one text, so that none of them is told."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "the address is not one that webhooks may lead to")


def may_connect(address: Address, networks: Sequence[Network]) -> bool:
    """Whether webhooks may lead to this address; one that carries an IPv4 address in it is judged by that."""
    carried = _carried(address)
    if carried is not None:
        return may_connect(carried, networks)
    if any(address in network for network in networks):
        return True
    if address.is_multicast or not address.is_global or any(address in network for network in NEVER):
        return False
    return isinstance(address, IPv4Address) or address in GLOBAL_UNICAST


def check_url(url: str, *, field: str = "url") -> tuple[str, int]:
    """The host and port of a webhook's URL. Raises InvalidWebhookUrl for what is none."""
    if len(url) > URL_CHARACTERS_MAX or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise InvalidWebhookUrl(
            f"A URL has at most {URL_CHARACTERS_MAX} characters, all of them ASCII and none a space.", field=field
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidWebhookUrl("This is no URL; one is https://example.org/hooks.", field=field) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise InvalidWebhookUrl("A webhook's URL begins with https:// or http:// and names a host.", field=field)
    if parts.username is not None or parts.password is not None or "#" in url:
        raise InvalidWebhookUrl(
            "A webhook's URL holds no user, no password and no fragment; receivers know us by the signature.",
            field=field,
        )
    return parts.hostname, port or {"http": 80, "https": 443}[parts.scheme]


async def require_allowed(
    url: str, networks: Sequence[Network], *, resolve: Resolve | None = None, field: str = "url"
) -> None:
    """Look the host up, and refuse it where one of its addresses may not be connected to. Uses the network."""
    host, port = check_url(url, field=field)
    look_up = asyncio.get_running_loop().getaddrinfo if resolve is None else resolve
    try:
        async with asyncio.timeout(RESOLVE_SECONDS_MAX):
            found = await look_up(host, port)
    except (OSError, UnicodeError):  # a time-out is an OSError as well
        raise InvalidWebhookUrl(f"The host {host} is not known here.", field=field) from None
    if not all(may_connect(ip_address(each[4][0]), networks) for each in found):
        raise WebhookAddressRefused(
            f"{host} leads to this machine or into an internal network, where webhooks may not go. {ALLOWED_BY}",
            field=field,
        )


def guarded_sockets(networks: Sequence[Network]) -> Callable[[tuple[Any, ...]], socket.socket]:
    """Makes the sockets of a client that connects to allowed addresses only, after names have become addresses."""

    def open_socket(address_info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = address_info
        if not may_connect(ip_address(address[0]), networks):
            raise ConnectionNotAllowed
        return socket.socket(family=family, type=kind, proto=protocol)

    return open_socket


def _carried(address: Address) -> IPv4Address | None:
    """The IPv4 address that a translator or tunnel would connect to in the place of this one."""
    if isinstance(address, IPv4Address):
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
