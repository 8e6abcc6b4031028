"""Hosts and ports as texts."""

import socket

import pytest

from webfarm.addresses import (
    bracket,
    check_free,
    get_host,
    get_reachable,
    is_loopback,
    is_this_machine,
    join_address,
    parse_ip,
)


def test_ipv6_is_in_brackets_where_a_port_follows():
    assert [bracket("::1"), bracket("[::1]"), bracket("127.0.0.1"), bracket("host")] == [
        "[::1]",
        "[::1]",
        "127.0.0.1",
        "host",
    ]
    assert (join_address("::1", 80), join_address("host", 80)) == ("[::1]:80", "host:80")


@pytest.mark.parametrize("host", ["::1", "127.0.0.1", "example.org"])
def test_a_host_is_read_as_it_was_written(host):
    assert get_host(join_address(host, 3000)) == host


@pytest.mark.parametrize(
    ("bound", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("*", "127.0.0.1"), ("", "127.0.0.1"), ("::", "::1"), ("10.0.0.7", "10.0.0.7")],
)
def test_a_server_that_listens_everywhere_is_reached_at_the_loopback_address(bound, reached):
    assert get_reachable(bound) == reached


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.7", False),
        ("example.org", False),
        ("", False),
    ],
)
def test_this_machine_is_known_by_its_address_or_as_localhost(host, expected):
    assert is_this_machine(host) is expected
    assert is_loopback(host) is (expected and host != "localhost")


def test_an_ipv4_address_is_one_also_inside_ipv6():
    assert str(parse_ip("::ffff:10.0.0.7")) == "10.0.0.7"
    assert parse_ip("somebody") is None


def test_a_port_that_is_taken_is_not_free():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            check_free("127.0.0.1", port)
        with pytest.raises(OSError, match="in use"):
            check_free("*", port)
    check_free("127.0.0.1", port)
    with pytest.raises(OverflowError):
        check_free("127.0.0.1", 70_000)
