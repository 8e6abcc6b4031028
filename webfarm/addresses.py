"""Hosts, ports and IP addresses as texts: written for a URL, read from one, and asked whether they are free."""

import ipaddress
import socket

_ALL = {"": "127.0.0.1", "*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # to bind to, not to connect to

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def bracket(host: str) -> str:
    """Return ``host`` as it is written in front of a port: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def join_address(host: str, port: int) -> str:
    """Return ``host:port``, or ``[host]:port`` for IPv6."""
    return f"{bracket(host)}:{port}"


def get_host(address: str) -> str:
    """Return the host of ``host:port`` without brackets."""
    return address.rpartition(":")[0].strip("[]")


def get_reachable(host: str) -> str:
    """Return the host at which a process on this machine reaches another one that is bound to ``host``."""
    return _ALL.get(host, host)


def check_free(host: str, port: int) -> None:
    """Raise ``OSError`` if no server could listen at ``host`` and ``port``; ``OverflowError`` if that is no port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("" if host == "*" else host, port))


def parse_ip(text: str) -> IPAddress | None:
    """Return the IP address that ``text`` is, if it is one; an IPv4 address mapped into IPv6 as IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_loopback(text: str) -> bool:
    """Return whether ``text`` is an IP address at which a machine reaches itself."""
    address = parse_ip(text.strip())
    return address is not None and address.is_loopback


def is_this_machine(host: str) -> bool:
    """Return whether ``host`` is this machine for sure: ``localhost``, or a loopback address."""
    return host == "localhost" or is_loopback(host)
