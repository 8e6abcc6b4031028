"""The defaults of a ``RedisManager``, which follow its URL as the settings do; nothing is connected."""

import gevent
import pytest
from gevent.event import Event

from webfarm import Emitter, RedisManager, Server
from webfarm.settings import Settings

URLS = [
    "redis://localhost:6379/0",
    "redis://localhost:6379/3",
    "redis+sentinel://localhost:26379/main/0",
    "redis+cluster://localhost:7000",
]


@pytest.mark.parametrize("url", URLS)
def test_a_manager_has_the_settings_defaults(url):
    manager, settings = RedisManager(url), Settings.from_env({"REDIS_URL": url})
    assert len(manager.shards) == settings.shards
    assert manager._log_faults.keywords == {"shards": settings.shards, "wait_replicas": settings.wait_replicas}


def test_with_sentinel_a_message_waits_for_one_replica():
    assert RedisManager(URLS[2]).shards.home.writer._count_replicas() == 1
    assert RedisManager(URLS[2], wait_replicas=0).shards.home.writer._count_replicas() == 0


def test_farms_with_other_prefixes_or_databases_have_other_channels():
    urls = [(URLS[0], "webfarm"), (URLS[1], "webfarm"), (URLS[0], "b"), (URLS[1], "b")]
    managers = [RedisManager(url, prefix=prefix) for url, prefix in urls]
    assert [manager.channel for manager in managers] == ["socketio", "socketio/3", "b", "b/3"]
    assert len({manager.shards.home.keys.requests for manager in managers}) == 4


@pytest.mark.parametrize("make", [RedisManager, Emitter])
@pytest.mark.parametrize(
    ("url", "prefix", "sentence"),
    [
        (URLS[0], "socketio", "choose a prefix other than"),
        (URLS[0], "flask-socketio", "choose a prefix other than"),
        (URLS[0], "webfarm/3", "choose a prefix other than"),
        ("redis://localhost:6379/abc", "webfarm", "names no Redis: expected a URL like"),
    ],
)
def test_a_reserved_prefix_or_a_bad_url_is_refused(make, url, prefix, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(url, prefix=prefix)


def test_a_channel_that_is_given_is_taken_as_it_is():
    assert RedisManager(URLS[1], channel="mine").channel == "mine"


def test_a_manager_starts_only_where_a_wait_for_redis_stops_nobody():
    """Nothing in pytest's own process is patched."""
    with pytest.raises(
        RuntimeError, match=r"run the app by gunicorn -c python:webfarm\.gunicorn, or call gevent\.monkey"
    ):
        RedisManager(URLS[0]).start("node")


def test_stocks_close_room_publishes_before_this_process_has_waited_for_its_clients(monkeypatch):
    manager, done, may_go_on = RedisManager(URLS[0]), [], Event()
    Server(manager)
    manager.clients.add_client("sid", "eio sid", "/")
    manager.clients.enter("sid", "/", "room")
    monkeypatch.setattr(manager, "leave_room", lambda *args: may_go_on.wait() and done.append(args))
    monkeypatch.setattr(manager, "_publish", lambda message: done.append(message["method"]))
    with gevent.Timeout(5):
        manager.close_room("room", "/")
    assert done == ["close_room"]
    may_go_on.set()
    gevent.sleep(0.01)
    assert done == ["close_room", ("sid", "/", "room")]
