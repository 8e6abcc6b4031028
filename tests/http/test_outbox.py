"""What is queued for a client leaves in order, in few calls, and never beyond its bound."""

import contextlib
import socket
from itertools import pairwise

import gevent
import pytest

from webfarm.http.outbox import Outbox, Pacer
from webfarm.monitoring.close_reasons import CloseReason

PACE_S = 0.2


class Sink(Outbox):
    """An outbox at one end of a pair of sockets, which notes what becomes of it."""

    def __init__(self, pacer, max_bytes=1_000_000):
        here, self.there = socket.socketpair()
        here.setblocking(False)
        self.there.setblocking(False)
        super().__init__(here._sock if hasattr(here, "_sock") else here, pacer, max_bytes)
        self.lost = []

    def on_lost(self, reason):
        self.lost.append(reason)

    def read(self):
        data = b""
        with contextlib.suppress(BlockingIOError):
            while part := self.there.recv(1 << 20):
                data += part
        return data

    def close(self):
        self.abort()
        self.there.close()


@pytest.fixture
def make_sink():
    with contextlib.ExitStack() as stack:
        pacer = Pacer(PACE_S)
        yield lambda **options: stack.enter_context(contextlib.closing(Sink(pacer, **options)))


def wait_for(sink, size):
    """Return what the sink's other end receives until it has ``size`` bytes."""
    data = b""
    with gevent.Timeout(10):
        while len(data) < size:
            gevent.sleep(0.001)
            data += sink.read()
    return data


def test_what_is_queued_leaves_at_the_end_of_the_turn(make_sink):
    sink = make_sink()
    for part in (b"a", b"b", b"c"):
        sink.queue(part)
    assert sink.read() == b""
    gevent.sleep(0)
    assert wait_for(sink, 3) == b"abc"


def test_what_is_paced_does_not_wait_in_a_connection_that_was_quiet(make_sink):
    sink = make_sink()
    sink.queue(b"first", is_paced=True)
    assert not sink.is_paced
    assert wait_for(sink, 5) == b"first"


def test_what_is_paced_waits_for_the_pace_and_leaves_together(make_sink):
    sink = make_sink()
    sink.queue(b"first")
    wait_for(sink, 5)
    sink.queue(b"a", is_paced=True)
    assert sink.is_paced
    gevent.sleep(0)
    sink.queue(b"b", is_paced=True)
    assert sink.read() == b""
    assert wait_for(sink, 2) == b"ab"


def test_what_is_not_paced_takes_along_what_waits(make_sink):
    sink = make_sink()
    sink.queue(b"first")
    wait_for(sink, 5)
    sink.queue(b"a", is_paced=True)
    sink.queue(b"b")
    assert not sink.is_paced
    assert wait_for(sink, 2) == b"ab"


@pytest.mark.parametrize("size", [1, 100, 5_000, 200_000])
def test_what_the_kernel_does_not_take_follows_in_order(make_sink, size):
    sink = make_sink(max_bytes=10**9)
    parts = [bytes([number % 256]) * size for number in range(3_000_000 // size if size > 1 else 5_000)]
    for part in parts:
        sink.queue(part)
    assert wait_for(sink, len(parts) * size) == b"".join(parts)
    assert sink.lost == []


def test_who_reads_nothing_is_lost_at_the_bound(make_sink):
    sink = make_sink(max_bytes=100_000)
    queued = 0
    while sink.has_room():
        sink.queue(b"x" * 10_000)
        queued += 10_000
        assert queued < 10_000_000
    assert sink.lost == [CloseReason.SLOW_CLIENT]


def test_one_message_beyond_the_bound_is_still_sent(make_sink):
    sink = make_sink(max_bytes=1_000)
    assert sink.has_room()
    sink.queue(b"x" * 1_000_000)
    assert wait_for(sink, 1_000_000) == b"x" * 1_000_000


def test_a_burst_beyond_the_bound_goes_to_the_kernel_before_anybody_is_blamed(make_sink):
    sink = make_sink(max_bytes=10_000)
    for _ in range(20):
        assert sink.has_room()
        sink.queue(b"x" * 1_000)
    assert len(wait_for(sink, 20_000)) == 20_000
    assert sink.lost == []


def test_a_burst_goes_to_a_kernel_that_has_room_again_though_the_loop_has_not_turned(make_sink):
    sink = make_sink(max_bytes=400_000)
    sent = 0
    while sink._writer is None:  # the kernel takes no more
        sink.queue(b"x" * 50_000)
        sent += 50_000
        gevent.sleep(0)
    received = len(sink.read())
    for _ in range(100):
        assert sink.has_room()
        sink.queue(b"x" * 50_000)
        sent += 50_000
        received += len(sink.read())
    assert received + len(wait_for(sink, sent - received)) == sent
    assert sink.lost == []


def test_who_is_gone_is_lost(make_sink):
    sink = make_sink()
    sink.there.close()
    sink.queue(b"x")
    gevent.sleep(0.01)
    assert sink.lost == [CloseReason.TRANSPORT_CLOSE]


def test_thousands_are_flushed_in_slices_each_in_order(make_sink):
    sinks = [make_sink() for _ in range(200)]
    for number in range(20):
        for sink in sinks:
            sink.queue(b"%03d" % number)
    received = [wait_for(sink, 60) for sink in sinks]
    assert all(a == b for a, b in pairwise(received))
    assert received[0] == b"".join(b"%03d" % number for number in range(20))
