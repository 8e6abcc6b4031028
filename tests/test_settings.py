"""Settings are read from the environment, checked, and explained when they are wrong."""

import dataclasses

import pytest

from webfarm import Farm
from webfarm.errors import SettingsError
from webfarm.redis.client import connect
from webfarm.redis.url import get_node_url, split_cluster_url, split_sentinel_path, without_password
from webfarm.settings import Settings, explain_unused, forget_reads, list_unused


def test_defaults_need_no_environment():
    settings = Settings.from_env({})
    assert (settings.host, settings.base_port, settings.workers, settings.port) == (
        "127.0.0.1",
        3001,
        2,
        None,
    )
    assert settings.redis_url == "redis://localhost:6379/0"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("WEBFARM_WORKERS", "two", "a whole number from 1 to 1024"),
        ("WEBFARM_WORKERS", "0", "a whole number from 1 to 1024"),
        ("WEB_CONCURRENCY", "-1", "a whole number from 1 to 1024"),
        ("WEBFARM_BASE_PORT", "70000", "a whole number from 1 to 65535"),
        ("PORT", "0", "a whole number from 1 to 65535"),
        ("PORT", "", "a whole number from 1 to 65535"),
        ("WEBFARM_PING_INTERVAL_S", "0", "a number of seconds above 0"),
        ("WEBFARM_PING_TIMEOUT_S", "nan", "a number of seconds above 0"),
        ("WEBFARM_RECOVERY_WINDOW_S", "-1", "a number of seconds of at least 0"),
        ("WEBFARM_MAX_MESSAGE_BYTES", "1e6", "a whole number of at least 1"),
        ("WEBFARM_LOG_LEVEL", "loud", "one of debug, info, warning, error"),
        ("WEBFARM_LOG_FORMAT", "xml", "one of text, json"),
        ("WEBFARM_ALLOWED_ORIGINS", "example.org", "a comma-separated list of origins"),
        ("WEBFARM_ALLOWED_ORIGINS", "https://example.org/chat", "a comma-separated list of origins"),
        ("WEBFARM_TRUSTED_PROXIES", "10.0.0.0/99", "a comma-separated list of addresses or networks"),
        ("WEBFARM_PREFIX", "a b", "1 to 32 letters"),
        ("WEBFARM_PREFIX", "socketio", "1 to 32 letters"),
        ("WEBFARM_PREFIX", "flask-socketio", "1 to 32 letters"),
        ("WEBFARM_WORKERS", "1_0", "a whole number from 1 to 1024"),
        ("WEBFARM_HOST", "a\0", "an address to bind"),
        ("WEBFARM_HOST", "", "an address to bind"),
        ("REDIS_URL", "localhost:6379", "a URL like redis://localhost:6379/0"),
        ("REDIS_URL", "http://localhost", "a URL like redis://localhost:6379/0"),
        ("REDIS_URL", "redis://localhost:99999/0", "a URL like redis://localhost:6379/0"),
        ("REDIS_URL", "redis://localhost/zero", "a URL like redis://localhost:6379/0"),
        ("REDIS_URL", "redis+sentinel://localhost/farm/0", "a URL like redis://localhost:6379/0"),
        ("REDIS_URL", "redis+sentinel://localhost:26379/", "a URL like redis://localhost:6379/0"),
        ("REDIS_URL", "redis+sentinel://localhost:26379/farm/one", "a URL like redis://localhost:6379/0"),
        ("REDIS_URL", "redis+cluster://localhost", "a URL like redis://localhost:6379/0"),
        ("REDIS_URL", "redis+cluster://localhost:7000/0", "a URL like redis://localhost:6379/0"),
        ("REDIS_URL", "redis+cluster://localhost:7000,localhost", "a URL like redis://localhost:6379/0"),
        ("REDIS_URL", "redis+cluster://localhost:7000,", "a URL like redis://localhost:6379/0"),
        ("REDIS_URL", "redis+cluster://::1:7000", "a URL like redis://localhost:6379/0"),
        ("REDIS_URL", "redis+cluster://localhost:7000?db=1", "a URL like redis://localhost:6379/0"),
        ("REDIS_URL", "cluster://localhost:7000", "a URL like redis://localhost:6379/0"),
        ("WEBFARM_SHARDS", "0", "a whole number from 1 to 1024"),
    ],
)
def test_a_bad_value_is_one_sentence_with_variable_value_and_what_was_expected(name, value, expected):
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({name: value})
    sentence = str(caught.value)
    assert sentence.startswith(f"{name} has value {value!r}: expected {expected}")
    assert "\n" not in sentence


@pytest.mark.parametrize("url", ["redis://:hun/ter2@host:6379/0", "redis://a:hunter2#@host", "redis:/:hunter2@host"])
def test_no_password_of_redis_is_in_an_error(url):
    """Not even one for whose sake the URL is none: / and # must be escaped there."""
    with pytest.raises(SettingsError, match=r"REDIS_URL has value '.*host") as caught:
        Settings.from_env({"REDIS_URL": url})
    assert "ter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("rediss://user:word@[::1]:6379/5", "rediss://[::1]:6379/5"),
        ("redis+sentinel://:w@rd@a:26379,b:26379/farm/0", "redis+sentinel://a:26379,b:26379/farm/0"),
        ("unix://:word@/run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("redis://localhost?password=word&db=1", "redis://localhost?password=...&db=1"),
    ],
)
def test_a_url_is_shown_without_its_password(url, shown):
    assert without_password(url) == shown


def test_a_key_that_can_be_guessed_is_a_warning():
    [warning] = Settings.from_env({"WEBFARM_SECRET": "s" * 32, "WEBFARM_API_KEY": "hunter2"}).warnings
    assert warning.startswith("WEBFARM_API_KEY has 7 characters") and "hunter2" not in warning
    assert not Settings.from_env({"WEBFARM_SECRET": "s" * 32, "WEBFARM_API_KEY": "k" * 16}).warnings


def test_a_secret_is_named_neither_in_its_error_nor_in_the_settings_repr():
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"WEBFARM_SECRET": "hunter2"})
    assert str(caught.value) == "WEBFARM_SECRET has 7 characters: expected a secret of at least 32 bytes."
    assert "s" * 32 not in repr(Settings.from_env({"WEBFARM_SECRET": "s" * 32}))


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://user:password@[::1]:6379/5",
        "rediss://redis.example.org:6380/0",
        "unix:///run/redis.sock",
        "redis+sentinel://a:26379,b:26379/farm/0",
        "redis+cluster://a:7000,[::1]:7000",
        "rediss+cluster://user:password@a:7000/",
    ],
)
def test_redis_urls(url):
    assert Settings.from_env({"REDIS_URL": url}).redis_url == url


@pytest.mark.parametrize("path", ["/farm/3", "/3/farm"], ids=["ours", "python-socketio's"])
def test_a_sentinel_url_names_the_primary_and_the_database(path):
    client = connect(f"redis+sentinel://:secret@a:26379{path}")
    pool = client.connection_pool
    assert (pool.service_name, pool.connection_kwargs["db"], pool.connection_kwargs["password"]) == (
        "farm",
        3,
        "secret",
    )


def test_a_sentinel_url_may_leave_the_database_out():
    assert split_sentinel_path("/farm") == ("farm", 0)


def test_origins_are_compared_as_browsers_write_them():
    settings = Settings.from_env({"WEBFARM_ALLOWED_ORIGINS": "https://A.example:443/, http://b.example:8080"})
    assert settings.allowed_origins == ("https://a.example", "http://b.example:8080")


def test_an_unknown_variable_is_a_warning_that_names_the_nearest():
    warnings = Settings.from_env({"WEBFARM_WORKER": "3", "WEBFARM_SECRET": "s" * 32}).warnings
    assert warnings == ("WEBFARM_WORKER is not a setting of this version; did you mean WEBFARM_WORKERS?",)


def test_open_mode_is_said():
    assert Settings.from_env({}).warnings == (
        "WEBFARM_SECRET is not set: every client is believed to be the userId that it names (open mode).",
    )


def test_a_cluster_url_is_split_into_addresses_and_what_redis_py_is_told():
    assert split_cluster_url("redis+cluster://a:7000,[::1]:7001") == ([("a", 7000), ("::1", 7001)], {})
    expected = {"username": "anna", "password": "p@ss:,", "ssl": True}
    assert split_cluster_url("rediss+cluster://anna:p%40ss:%2C@a:7000") == ([("a", 7000)], expected)


def test_a_node_of_a_cluster_has_the_clusters_credentials():
    assert get_node_url("redis+cluster://a:1,b:2", "::1", 3) == "redis://[::1]:3/0"
    url = get_node_url("rediss+cluster://anna:p%40ss@a:1", "b", 3)
    assert url == "rediss://anna:p%40ss@b:3/0"
    assert without_password(url) == "rediss://b:3/0"


@pytest.mark.parametrize(
    ("url", "shards", "wait_replicas"),
    [
        ("redis://localhost", 1, 0),
        ("redis+sentinel://a:26379/farm/0", 1, 1),
        ("redis+cluster://a:7000", 8, 1),
        ("rediss+cluster://a:7000", 8, 1),
    ],
)
def test_shards_and_replicas_follow_the_kind_of_redis_unless_they_are_set(url, shards, wait_replicas):
    settings = Settings.from_env({"REDIS_URL": url})
    assert (settings.shards, settings.wait_replicas) == (shards, wait_replicas)
    settings = Settings.from_env({"REDIS_URL": url, "WEBFARM_SHARDS": "3", "WEBFARM_WAIT_REPLICAS": "0"})
    assert (settings.shards, settings.wait_replicas) == (3, 0)


def test_chat_workers_wins_over_web_concurrency():
    assert Settings.from_env({"WEB_CONCURRENCY": "3"}).workers == 3
    assert Settings.from_env({"WEB_CONCURRENCY": "3", "WEBFARM_WORKERS": "4"}).workers == 4


def test_the_last_workers_port_must_exist():
    with pytest.raises(SettingsError, match="WEBFARM_BASE_PORT has value '65535': 2 workers need ports up to 65536"):
        Settings.from_env({"WEBFARM_BASE_PORT": "65535"})


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().workers = 3


def test_a_setting_counts_as_unused_until_it_is_read():
    forget_reads()
    settings = Settings.from_env({"WEBFARM_DRAIN_S": "3", "WEBFARM_SECRET": "s" * 32, "WEBFARM_WORKERS": "3"})
    assert list_unused(settings) == ["WEBFARM_SECRET", "WEBFARM_DRAIN_S"]  # not what the commands and gunicorn use
    assert settings.drain_s == 3
    assert list_unused(settings) == ["WEBFARM_SECRET"]
    assert list_unused(Settings(drain_s=3)) == []  # nothing was given


def test_settings_made_by_hand_use_no_variable():
    forget_reads()
    settings = Settings.from_env({"WEBFARM_DRAIN_S": "3", "WEBFARM_SECRET": "s" * 32})
    own = Settings(drain_s=5, secret="x" * 32)
    assert (own.drain_s, own.secret) == (5, "x" * 32)
    assert list_unused(settings) == ["WEBFARM_SECRET", "WEBFARM_DRAIN_S"]


def test_a_farm_uses_every_setting_for_apps_but_those_that_are_said_to_be_the_chats():
    forget_reads()
    values = {"secret": "s" * 32, "allowed_origins": ("*",), "admin_password": "p" * 16, "api_key": "k" * 16}
    names = {one.name for one in dataclasses.fields(Settings) if one.metadata and one.metadata["is_for_app"]}
    settings = Settings(**values, given=frozenset(names))
    Farm(settings=settings)
    assert list_unused(settings) == ["WEBFARM_MAX_ROOMS_PER_CLIENT"]
    assert explain_unused("WEBFARM_MAX_ROOMS_PER_CLIENT") == (
        "WEBFARM_MAX_ROOMS_PER_CLIENT is set, but this app does not use it:"
        " only this repository's chat does; else read farm.settings.max_rooms_per_client."
    )
    assert explain_unused("WEBFARM_SECRET") == (
        "WEBFARM_SECRET is set, but this app does not use it: webfarm.Farm would, or read farm.settings.secret."
    )


def test_reading_all_fields_at_once_uses_none():
    forget_reads()
    settings = Settings.from_env({"WEBFARM_DRAIN_S": "3", "WEBFARM_SECRET": "s" * 32})
    assert repr(settings)
    assert settings != Settings.from_env({"WEBFARM_DRAIN_S": "4", "WEBFARM_SECRET": "s" * 32})
    assert dataclasses.asdict(settings)["drain_s"] == 3
    changed = dataclasses.replace(settings, prefix="other")
    assert list_unused(settings) == ["WEBFARM_SECRET", "WEBFARM_DRAIN_S"]
    assert changed.drain_s == 3  # which is the environment's
    assert list_unused(settings) == ["WEBFARM_SECRET"]


def test_the_options_of_an_engine_are_uses():
    forget_reads()
    settings = Settings.from_env({"WEBFARM_DRAIN_S": "3", "WEBFARM_SECRET": "s" * 32})
    assert settings.engine_options["drain_s"] == 3
    assert list_unused(settings) == ["WEBFARM_SECRET"]


def test_the_run_key_and_the_app_are_no_unknown_variables():
    settings = Settings.from_env({"WEBFARM_RUN_KEY": "key", "WEBFARM_APP": "poll:app", "WEBFARM_SECRET": "s" * 32})
    assert settings.warnings == ()
    assert settings.app == "poll:app"
    assert Settings().app == "wsgi:app"


@pytest.mark.parametrize("value", ["", "poll", "poll:", ":app", "my poll:app"])
def test_an_app_is_a_module_and_a_name(value):
    with pytest.raises(SettingsError, match=r"WEBFARM_APP has value .*: expected a module and its WSGI application"):
        Settings.from_env({"WEBFARM_APP": value})


def test_shards_and_replicas_follow_the_url_of_settings_made_by_hand():
    settings = Settings(redis_url="redis+cluster://a:7000")
    assert (settings.shards, settings.wait_replicas) == (8, 1)
