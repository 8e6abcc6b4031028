"""Heads of requests: how they are read, and which are refused."""

import pytest

from webfarm.http.server import Headers, Reader


class Pieces:
    """A connection that brings its bytes in pieces."""

    def __init__(self, *pieces):
        self._pieces = list(pieces)

    def recv(self, size):
        return self._pieces.pop(0) if self._pieces else b""


def read(*pieces, line="GET / HTTP/1.1"):
    return Headers(line, Reader(Pieces(*pieces)))


def test_a_head_is_read_however_it_is_cut():
    headers = read(b"Host: a\r\nX-B", b": c\r", b"\n\r\nbody")
    assert headers.items == [("host", "a"), ("x-b", "c")]
    assert headers.get("Host") == "a"
    assert headers.get("missing", "nothing") == "nothing"


def test_the_body_stays_with_the_reader():
    reader = Reader(Pieces(b"Host: a\r\n\r\nbo", b"dy"))
    Headers("POST / HTTP/1.1", reader)
    assert (reader.take(), reader.read(10)) == (b"bo", b"dy")


@pytest.mark.parametrize(
    "head",
    [
        b"Host: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"Host: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"Host: a\r\nBad Name: 1\r\n\r\n",
        b"Host: a\r\n",
        b"X: " + b"x" * 70_000,
    ],
    ids=lambda head: repr(head[:50]),
)
def test_a_head_that_two_parsers_may_read_differently_is_refused(head):
    with pytest.raises(ValueError, match=r"."):
        read(head)


def test_a_line_has_a_limit():
    reader = Reader(Pieces(b"a" * 10, b"b\nrest"))
    assert reader.readline(5) == b"a" * 5
    assert reader.readline(50) == b"a" * 5 + b"b\n"
