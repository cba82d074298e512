"""Where callers are: networks that a token is limited to, and whose word about a caller's address is taken."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from guildhall.errors import Invalid

NETWORKS_MAX = 50
FORWARDED_CHARACTERS_MAX = 4_096
"""Of a longer X-Forwarded-For the right end counts, which proxies write: the rest is a caller's."""

Network = IPv4Network | IPv6Network


class InvalidNetwork(Invalid):
    """What is no network of addresses."""

    code = "INVALID_NETWORK"


def network(text: str) -> Network:
    """The network in CIDR notation, or of one address; raises ValueError."""
    return ip_network(text.strip(), strict=False)


def networks_of(texts: Sequence[str], *, field: str) -> list[str]:
    """The networks as they are stored; raises InvalidNetwork."""
    if not 1 <= len(texts) <= NETWORKS_MAX:
        raise InvalidNetwork(
            f"A token is limited to 1 to {NETWORKS_MAX} networks, or left without a limit.", field=field
        )
    found = set()
    for text in texts:
        try:
            found.add(str(network(text)))
        except ValueError as error:
            right = "10.20.0.0/16 or 2001:db8::/32"
            raise InvalidNetwork(
                f"{text[:60]!r} is not a network; it must be one like {right}.", field=field
            ) from error
    return sorted(found)


def is_inside(address: str | None, networks: Iterable[str | Network]) -> bool:
    """Whether the caller's address is in one of them; a caller without a known address is in none."""
    known = _address(address or "")
    return known is not None and any(
        known in (network(entry) if isinstance(entry, str) else entry) for entry in networks
    )


def caller_address(peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> str | None:
    """Whose call it is: the peer's, unless it is a trusted proxy; then the last one named that is no such proxy.

    Each proxy adds at the right whom it heard; what stands further left may be made up by the caller.
    """
    if not trusted or not is_inside(peer, trusted):
        return peer
    said = ",".join(forwarded)
    if len(said) > FORWARDED_CHARACTERS_MAX:  # never the peer instead: callers would make themselves its neighbours
        said = said[-FORWARDED_CHARACTERS_MAX:].partition(",")[2]
    nearest = peer
    for entry in reversed([part.strip() for part in said.split(",") if part.strip()]):
        known = _address(_without_port(entry))
        if known is None:
            return nearest
        nearest = str(known)
        if not is_inside(nearest, trusted):
            return nearest
    return nearest


def neighbourhood(address: str | None) -> str:
    """Who shares a count of failures: one IPv4 address, or the /64 that one IPv6 customer has."""
    known = _address(address or "")
    if isinstance(known, IPv6Address):
        return str(ip_network((known, 64), strict=False))
    return "" if known is None else str(known)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        known = ip_address(text)
    except ValueError:
        return None
    mapped = known.ipv4_mapped if isinstance(known, IPv6Address) else None
    return mapped or known


def _without_port(entry: str) -> str:
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    host, colon, _ = entry.rpartition(":")
    return host if colon and entry.count(":") == 1 else entry
