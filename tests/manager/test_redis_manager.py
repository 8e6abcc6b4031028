"""The defaults of a ``RedisManager``, which follow its URL as the settings do; nothing is connected."""

import pytest

from webfarm import RedisManager
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
