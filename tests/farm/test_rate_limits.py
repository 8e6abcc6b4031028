"""How much a user may send: by the numbers, and on the wire."""

import json
import re

import pytest
import requests

from tests.kit.clients import Client, opening
from webfarm.errors import Flooding, RateLimited
from webfarm.rate_limits import Buckets, RateLimits
from webfarm.testing import starting_workers, wait_until


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def admit(limits, count, user="anna", size=10):
    """Return what becomes of ``count`` events: ``.`` let through, ``r`` refused, ``x`` closed."""
    fates = ""
    for _ in range(count):
        try:
            limits.admit(user, size)
            fates += "."
        except RateLimited:
            fates += "r"
        except Flooding:
            fates += "x"
    return fates


def test_a_burst_is_twice_the_rate_and_comes_back_at_the_rate(clock):
    limits = RateLimits(5, 0, clock)
    assert admit(limits, 12) == "." * 10 + "rr"
    clock.now += 1
    assert admit(limits, 6) == "." * 5 + "r"
    clock.now += 100
    assert admit(limits, 12) == "." * 10 + "rr"


def test_who_goes_on_as_long_again_is_closed(clock):
    limits = RateLimits(5, 0, clock)
    assert admit(limits, 22) == "." * 10 + "r" * 10 + "xx"
    assert admit(limits, 2, user="bob") == ".."


def test_who_sends_a_little_too_much_is_refused_and_never_closed(clock):
    limits = RateLimits(5, 0, clock)
    fates = ""
    for _ in range(800):
        clock.now += 0.125  # eight a second
        fates += admit(limits, 1)
    assert "x" not in fates
    assert fates[-80:].count(".") == 50


def test_bytes_count_and_what_is_larger_than_the_burst_gets_through_once_nothing_is_owed(clock):
    limits = RateLimits(0, 1000, clock)
    assert admit(limits, 6, size=1000) == "....rr"
    clock.now += 4
    assert admit(limits, 1, size=9000) == "."
    clock.now += 5
    assert admit(limits, 1, size=1) == "r"
    clock.now += 0.1
    assert admit(limits, 1, size=1) == "."


def test_buckets_that_are_full_again_are_dropped(clock):
    buckets = Buckets(5, 1000, clock)
    for number in range(10_000):
        clock.now += 0.01
        assert buckets.take(str(number), 10)
    assert len(buckets) < 100


@pytest.fixture(scope="module")
def limited(redis_server):
    with starting_workers(redis_server.url) as start_workers:
        yield start_workers(1, WEBFARM_PREFIX="limits", WEBFARM_RATE_LIMIT="5", WEBFARM_RATE_LIMIT_BYTES="20000")


@pytest.fixture
def client(limited):
    with opening(Client) as open_any:
        yield lambda user=None: open_any(limited.urls[0], user)


def send(client, count):
    """Send events that want an acknowledgement, all at once; return the code of each answer, in order."""
    first = client.number + 1
    client.number += count
    numbers = range(first, first + count)
    for number in numbers:
        client.socket.send(f"42{number}" + json.dumps(["leave", {"room": "none"}]))
    client.wait(lambda: all(number in client.acks for number in numbers))
    assert [number for number in client.acks if number >= first] == list(numbers)
    return [client.acks[number][0].get("error", {}).get("code", "ok") for number in numbers]


def test_events_beyond_the_burst_are_refused_in_their_turn(client):
    codes = send(client("burst"), 13)
    assert codes[:10] == ["ok"] * 10
    assert codes[-1] == "rate_limited"


def test_all_connections_of_a_user_share_the_limit_and_others_do_not_feel_it(client):
    one, two, other, guest = client("shared"), client("shared"), client("other"), client()
    assert send(one, 10) == ["ok"] * 10
    assert "rate_limited" in send(two, 3)
    assert send(other, 10) == send(guest, 10) == ["ok"] * 10


def test_attachments_count(client):
    one = client("binary")
    for number in range(1, 7):
        one.socket.send(f'451-{number}["privateMessage",{{"toUser":"nobody","file":{{"_placeholder":true,"num":0}}}}]')
        one.socket.send(b"x" * 20_000)
    one.wait(lambda: len(one.acks) == 6)
    assert one.acks[1][0]["ok"]
    assert one.acks[6][0]["error"]["code"] == "rate_limited"


@pytest.mark.parametrize("text", ['42["broadcast","x"]', "430[]"], ids=["events", "acknowledgements nobody waits for"])
def test_who_goes_on_flooding_is_closed_and_counted(limited, raw_client, text):
    flooder = raw_client(limited.urls[0], query="&userId=flooder" + text[1])
    for _ in range(1000):
        flooder.send(text)
    assert flooder.receive_until_closed()
    limited.wait_for_line(f"user 'flooder{text[1]}' goes on sending more than is allowed")
    wait_until(
        lambda: any(f"user=flooder{text[1]} " in line and "reason='rate limited'" in line for line in limited.lines),
        "its disconnect handler",
    )
    closed = re.search(r'webfarm_connections_closed_total{reason="rate limited"} (\S+)', get_metrics(limited))
    assert float(closed[1]) >= 1


def test_who_joins_and_leaves_without_end_is_closed(limited, raw_client):
    flooder = raw_client(limited.urls[0], join=False)
    for _ in range(100):
        flooder.send("40")
        flooder.send("41")
    assert flooder.receive_until_closed()


def get_metrics(workers):
    return requests.get(f"{workers.urls[0]}/metrics", timeout=5).text
