"""What counts as the same: the spellings of a login, the addresses of one network."""

import unicodedata
from functools import lru_cache
from ipaddress import IPv6Address, ip_address


def folded(name: str) -> str:
    """A login without differences of case and width: NFKC, casefolded, as directories compare."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


@lru_cache(4096)
def find_network(address: str) -> str:
    """The network whose tries are counted: an IPv4 address, or the /64 of an IPv6 address, which is one subscriber's.

    What is no address counts as it is.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
