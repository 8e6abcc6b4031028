"""Names in Redis: two farms share none, and a shard's are all on one primary."""

import pytest
from redis.crc import key_slot

from webfarm.redis.keys import Keys, check_prefix, get_stock_channel
from webfarm.redis.url import get_database, get_default_shards, get_default_wait_replicas


def list_names(keys):
    stream = keys.stream("/", "room")
    names = {name for name in vars(keys).values() if isinstance(name, str) and name.startswith("{")}
    names |= {stream, keys.room_of(stream), keys.once(stream, "key"), keys.pointer(stream), keys.batch("node")}
    names |= {keys.session("sid"), keys.user_sessions("/", "user"), keys.user_sids("/", "user"), keys.note("name")}
    return names | {keys.notes("user"), keys.members_of("node"), *keys.of_node("node")}


@pytest.mark.parametrize("shards", [1, 8])
def test_farms_of_two_databases_or_two_prefixes_share_no_name(shards):
    farms = [("webfarm", 0), ("webfarm", 1), ("webfarm", 11), ("webfarm-1", 0), ("other", 0), ("other", 1)]
    names = [
        name
        for prefix, database in farms
        for number in range(shards)
        for name in list_names(Keys(prefix, number, shards, database))
    ]
    assert len(names) == len({*names}) > len(farms) * shards * 20
    channels = [get_stock_channel(*farm) for farm in farms]
    assert len({*channels}) == len(farms)
    assert channels[:2] == ["socketio", "socketio/1"]
    assert channels[4:] == ["other", "other/1"]


def test_in_the_first_database_names_are_as_they_were():
    assert Keys("webfarm").clock == Keys("webfarm", database=0).clock == "{webfarm:0}:clock"
    assert Keys("webfarm", database=3).clock == "{webfarm/3:0}:clock"


@pytest.mark.parametrize("database", [0, 5])
def test_all_names_of_a_shard_are_in_one_slot(database):
    for number in range(8):
        keys = Keys("webfarm", number, 8, database)
        assert {key_slot(name.encode()) for name in list_names(keys)} == {keys.slot}


@pytest.mark.parametrize(
    ("url", "database", "shards", "replicas"),
    [
        ("redis://localhost:6379", 0, 1, 0),
        ("redis://localhost:6379/", 0, 1, 0),
        ("rediss://user:p%40ss@localhost:6379/12", 12, 1, 0),
        ("redis://localhost:6379/1?db=2", 2, 1, 0),  # as redis-py reads it
        ("unix:///run/redis.sock", 0, 1, 0),
        ("unix:///run/redis.sock?db=3", 3, 1, 0),
        ("redis+sentinel://a:1,b:2/farm", 0, 1, 1),
        ("redis+sentinel://a:1,b:2/farm/4", 4, 1, 1),
        ("redis+sentinel://a:1/5/farm", 5, 1, 1),
        ("redis+cluster://a:1,b:2", 0, 8, 1),
        ("rediss+cluster://a:1/", 0, 8, 1),
    ],
)
def test_what_follows_from_the_url(url, database, shards, replicas):
    assert (get_database(url), get_default_shards(url), get_default_wait_replicas(url)) == (database, shards, replicas)


@pytest.mark.parametrize(
    "prefix", ["socketio", "flask-socketio", "socketio/1", "flask-socketio/x", "webfarm/1", "b/c/2"]
)
def test_a_prefix_that_is_another_farms_channel_or_name_is_refused(prefix):
    with pytest.raises(ValueError, match=f"prefix='{prefix}' may be another farm's channel or name: choose"):
        check_prefix(prefix)


@pytest.mark.parametrize("prefix", ["webfarm", "flask", "socketio-2", "my/app", "b1", "b:1"])
def test_other_prefixes_are_allowed(prefix):
    check_prefix(prefix)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:6379/abc",
        "redis://user:secret@h:6379/abc",
        "redis://h:6379/1?db=abc",
        "unix:///run/redis.sock?db=abc",
        "redis+sentinel://a:1/farm/abc",
        "redis+cluster://a:1/2",
        "http://h",
        "h:6379",
    ],
)
def test_a_url_that_names_no_redis_is_refused_by_one_sentence(url):
    with pytest.raises(ValueError, match="names no Redis: expected a URL like redis://") as refused:
        get_database(url)
    assert "secret" not in str(refused.value)
