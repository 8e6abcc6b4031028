"""The connection that is subscribed to channels, with a real Redis behind it."""

import gevent
import pytest
import redis

from webfarm.redis.client import connect
from webfarm.redis.keys import Keys
from webfarm.redis.pubsub_connection import PubSubConnections
from webfarm.redis.subscription import Subscription

MEGABYTE = 1_000_000


@pytest.fixture
def subscription(redis_server):
    subscription = Subscription(Keys("webfarm"), PubSubConnections(connect(redis_server.url)).attach)
    subscription.add("channel")
    subscription.open()
    yield subscription
    subscription.close()


def test_what_waits_to_be_read_is_bounded_by_bytes(subscription, redis_server):
    with redis.Redis.from_url(redis_server.url) as server:
        with gevent.Timeout(5):
            while server.pubsub_numsub("channel")[0][1] == 0:
                gevent.sleep(0.01)
        for number in range(24):
            server.publish("channel", str(number % 10) * MEGABYTE)
            gevent.sleep(0.001)
    with gevent.Timeout(5):
        while subscription._subscriber._wire._readable.active:
            gevent.sleep(0.01)
    waiting = sum(len(data) for kind, _, data in subscription._replies if kind == b"message")
    assert 16 * MEGABYTE <= waiting <= 18 * MEGABYTE
    messages = subscription.read()
    with gevent.Timeout(10):
        read = [next(messages) for _ in range(24)]
    assert [(channel, data[:1], len(data)) for channel, data in read] == [
        ("channel", b"%d" % (number % 10), MEGABYTE) for number in range(24)
    ]
