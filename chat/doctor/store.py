"""Whether Redis keeps what it is given."""

import time
from collections.abc import Iterator
from typing import Any

import redis
from packaging.version import InvalidVersion, Version

from chat.doctor.finding import Finding, fault, ok, warning
from chat.realtime.redis_client import connect
from chat.settings import Settings, without_password

_OLDEST = {"redis": Version("6.2"), "valkey": Version("7.2")}
_MAX_SKEW_S = 1.0
_NEARLY_FULL = 0.8


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield what there is to say about the farm's Redis."""
    shown = without_password(settings.redis_url)
    client = connect(settings.redis_url)
    try:
        info = client.info()
        skew_s = _measure_skew(client)
        options = _read_options(client)
    except redis.AuthenticationError as error:
        yield fault("Redis", f"{shown} wants a password, or another one: {error}", _PASSWORD)
        return
    except redis.RedisError as error:
        if "NOAUTH" in str(error):
            yield fault("Redis", f"{shown} wants a password.", _PASSWORD)
        else:
            yield fault("Redis", f"{shown} does not answer: {error}", "Start it, or set REDIS_URL to the right one.")
        return
    finally:
        client.close()
    yield ok("Redis", f"{shown} answers.")
    yield _check_version(info)
    yield from _check_persistence(info, options)
    yield from _check_memory(info, options)
    yield from _check_replicas(info, settings)
    if abs(skew_s) > _MAX_SKEW_S:
        text = f"This machine's clock and Redis' differ by {abs(skew_s):.1f} s: tokens expire early or late."
        yield fault("clocks", text, "Let both follow NTP (systemd-timesyncd, chrony).")
    else:
        yield ok("clocks", "This machine's clock is Redis', to a second.")


_PASSWORD = (
    "Put it into REDIS_URL: redis://:PASSWORD@HOST:6379/0, in /etc/chat/chat.env where systemd starts the workers."
)


def _measure_skew(client: redis.Redis) -> float:
    """Return how far Redis' clock is ahead of this machine's, in seconds."""
    before = time.time()
    answer: Any = client.time()
    return float(answer[0] + answer[1] / 1e6 - (before + time.time()) / 2)


def _read_options(client: redis.Redis) -> dict[str, str] | None:
    """Return what Redis is configured to; ``None`` where the provider hides it."""
    try:
        found: dict[Any, Any] = client.config_get("maxmemory-policy") | client.config_get("appendfsync")
    except redis.ResponseError:
        return None
    return found


def _check_version(info: dict[str, Any]) -> Finding:
    name = "valkey" if "valkey_version" in info else "redis"
    text = str(info.get(f"{name}_version", ""))
    try:
        version = Version(text)
    except InvalidVersion:
        return warning("Redis' version", f"It calls itself {text!r}.", f"Use {name} {_OLDEST[name]} or later.")
    if version < _OLDEST[name]:
        return fault("Redis' version", f"It is {name} {text}.", f"Use {name} {_OLDEST[name]} or later.")
    return ok("Redis' version", f"{name} {text}.")


def _check_persistence(info: dict[str, Any], options: dict[str, str] | None) -> Iterator[Finding]:
    subject = "persistence"
    if info.get("aof_last_write_status", "ok") != "ok":
        text = "Redis can't write its append-only file; its disk may be full. It takes no messages meanwhile."
        yield fault(subject, text, "Make room on Redis' disk, and look into its log.")
    elif info.get("rdb_last_bgsave_status", "ok") != "ok":
        text = "Redis could not write its snapshot; its disk may be full. It may take no messages meanwhile."
        yield fault(subject, text, "Make room on Redis' disk, and look into its log.")
    if not info.get("aof_enabled"):
        text = "The append-only file is off: acknowledged messages are lost when Redis ends."
        yield fault(subject, text, "CONFIG SET appendonly yes, and appendonly yes in redis.conf.")
    elif options and options.get("appendfsync") == "no":
        text = "appendfsync is no: a crash of Redis' machine loses half a minute of acknowledged messages."
        yield fault(subject, text, "Set appendfsync to everysec, or to always to lose nothing.")
    elif options and options.get("appendfsync") == "everysec":
        yield ok(subject, "On, each second: a crash of Redis' machine, not of its process, can lose the last second.")
    else:
        yield ok(subject, "On.")


def _check_memory(info: dict[str, Any], options: dict[str, str] | None) -> Iterator[Finding]:
    subject = "memory"
    policy = options.get("maxmemory-policy", "") if options else str(info.get("maxmemory_policy", ""))
    most, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if policy and policy != "noeviction":
        text = f"maxmemory-policy is {policy}: a full Redis throws messages and sessions away."
        yield fault(subject, text, "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf.")
    elif most and used > _NEARLY_FULL * most:
        text = f"{used / most:.0%} of maxmemory is used; a full Redis takes no messages."
        yield warning(subject, text, "Raise maxmemory, or keep less (CHAT_HISTORY_LENGTH, CHAT_HISTORY_TTL_S).")
    else:
        yield ok(subject, "Nothing is evicted.")


def _check_replicas(info: dict[str, Any], settings: Settings) -> Iterator[Finding]:
    there = int(info.get("connected_slaves", 0))
    subject = "replicas"
    if info.get("role") not in (None, "master"):
        yield fault(
            subject, "This Redis is a replica: it takes no writes.", "Set REDIS_URL to the primary, or Sentinel."
        )
    elif there < settings.wait_replicas:
        text = f"{there} are connected, and CHAT_WAIT_REPLICAS wants {settings.wait_replicas} for each message."
        yield fault(subject, text, "Start the missing ones, or lower CHAT_WAIT_REPLICAS.")
    elif there and not settings.wait_replicas:
        text = f"{there} are connected, and no message waits for them: a failover can lose some."
        yield warning(subject, text, "Set CHAT_WAIT_REPLICAS to 1.")
    elif there:
        yield ok(subject, f"{there} are connected; each message waits for {settings.wait_replicas}.")
