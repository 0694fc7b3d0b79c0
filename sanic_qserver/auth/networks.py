"""What counts as one address when tries are counted: an IPv4 address, or the /64 of an IPv6 address."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address


@lru_cache(4096)
def network_of(address: str) -> str:
    """The network that is counted. A subscriber of IPv6 has a whole /64; what is no address counts as it is."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
