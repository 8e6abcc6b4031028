"""Whether Redis keeps what it is given; of a cluster, each primary."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import redis
from packaging.version import InvalidVersion, Version

from webfarm.doctor.finding import Finding, fault, ok, warning
from webfarm.redis.client import connect
from webfarm.redis.preflight import (
    Fault,
    Primaries,
    count_replicas,
    find_lost_slots,
    find_other_format,
    find_wrong_kind,
    get_primaries,
    name_node,
)
from webfarm.redis.url import get_database, is_cluster_url, without_password
from webfarm.settings import Settings

_OLDEST = {"redis": Version("6.2"), "valkey": Version("7.2")}
_MAX_SKEW_S = 1.0
_NEARLY_FULL = 0.8


class _Look(NamedTuple):
    """What one Redis says of itself."""

    info: dict[str, Any]
    options: dict[str, str] | None
    skew_s: float
    replicas: int


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield what there is to say about the farm's Redis, or about each primary of its cluster."""
    url, shown = settings.redis_url, without_password(settings.redis_url)
    try:
        if wrong := find_wrong_kind(url):
            yield _show("Redis", wrong)
            return
        primaries = get_primaries(url)
    except redis.RedisError as error:
        yield _show_silence(shown, error)
        return
    yield ok("Redis", f"{shown} answers.")
    for other in find_other_format(primaries, settings.prefix, settings.shards, get_database(url)):
        yield _show("shards" if "SHARDS" in other.remedy else "format", other)
    if is_cluster_url(url):
        yield from _check_slots(primaries)
    for primary in primaries:
        yield from _examine_one(primary, f" of {name_node(primary)}" if is_cluster_url(url) else "", settings)


def _examine_one(url: str, place: str, settings: Settings) -> Iterator[Finding]:
    """Yield what there is to say about one Redis; ``place`` is added to each subject."""
    try:
        with connect(url) as client:
            look = _Look(client.info(), _read_options(client), _measure_skew(client), count_replicas(client))
    except redis.RedisError as error:
        yield _show_silence(without_password(url), error)
        return
    yield _check_version(look, f"Redis' version{place}")
    yield from _check_persistence(look, f"persistence{place}")
    yield _check_memory(look, f"memory{place}")
    yield from _check_replicas(look, f"replicas{place}", bool(place), settings.wait_replicas)
    yield _check_clock(look, f"clocks{place}")


def _check_slots(primaries: Primaries) -> Iterator[Finding]:
    lost = [_show("slots", one) for one in find_lost_slots(primaries)]
    yield from lost or [ok("slots", f"All are served, by {len(primaries)} primaries.")]


def _show(subject: str, found: Fault) -> Finding:
    return fault(subject, f"{found.text}.", f"{found.remedy[0].upper()}{found.remedy[1:]}.")


def _show_silence(shown: str, error: redis.RedisError) -> Finding:
    if isinstance(error, redis.AuthenticationError):
        return fault("Redis", f"{shown} wants a password, or another one: {error}", _PASSWORD)
    if "NOAUTH" in str(error):
        return fault("Redis", f"{shown} wants a password.", _PASSWORD)
    return fault("Redis", f"{shown} does not answer: {error}", "Start it, or set REDIS_URL to the right one.")


_PASSWORD = (
    "Put it into REDIS_URL: redis://:PASSWORD@HOST:6379/0 (/etc/webfarm/webfarm.env, where systemd starts workers)."
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


def _check_version(look: _Look, subject: str) -> Finding:
    info = look.info
    name = "valkey" if "valkey_version" in info else "redis"
    text = str(info.get(f"{name}_version", ""))
    try:
        version = Version(text)
    except InvalidVersion:
        return warning(subject, f"It calls itself {text!r}.", f"Use {name} {_OLDEST[name]} or later.")
    if version < _OLDEST[name]:
        return fault(subject, f"It is {name} {text}.", f"Use {name} {_OLDEST[name]} or later.")
    return ok(subject, f"{name} {text}.")


def _check_persistence(look: _Look, subject: str) -> Iterator[Finding]:
    info, options = look.info, look.options
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


def _check_memory(look: _Look, subject: str) -> Finding:
    info, options = look.info, look.options
    policy = options.get("maxmemory-policy", "") if options else str(info.get("maxmemory_policy", ""))
    most, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if policy and policy != "noeviction":
        text = f"maxmemory-policy is {policy}: a full Redis throws messages and sessions away."
        return fault(subject, text, "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf.")
    if most and used >= most:
        text = f"It is full, with all of maxmemory used ({used / most:.0%}): it takes no messages."
        return fault(subject, text, "CONFIG SET maxmemory to more, and in redis.conf; or webfarm erase, and keep less.")
    if most and used > _NEARLY_FULL * most:
        text = f"{used / most:.0%} of maxmemory is used; a full Redis takes no messages."
        return warning(subject, text, "Raise maxmemory, or keep less (WEBFARM_HISTORY_LENGTH, WEBFARM_HISTORY_TTL_S).")
    return ok(subject, "Nothing is evicted.")


def _check_replicas(look: _Look, subject: str, is_cluster: bool, wanted: int) -> Iterator[Finding]:
    there = look.replicas
    if look.info.get("role") not in (None, "master"):
        yield fault(
            subject, "This Redis is a replica: it takes no writes.", "Set REDIS_URL to the primary, or Sentinel."
        )
    elif there < wanted:
        text = f"{there} are connected, and WEBFARM_WAIT_REPLICAS wants {wanted} for each message."
        yield fault(subject, text, "Start the missing ones, or lower WEBFARM_WAIT_REPLICAS.")
    elif is_cluster and not there:
        yield warning(subject, "None works: if this primary crashes, its data is unreachable.", "Start one.")
    elif there and not wanted:
        text = f"{there} are connected, and no message waits for them: a failover can lose some."
        yield warning(subject, text, "Set WEBFARM_WAIT_REPLICAS to 1.")
    elif there:
        yield ok(subject, f"{there} are connected; each message waits for {wanted}.")


def _check_clock(look: _Look, subject: str) -> Finding:
    if abs(look.skew_s) > _MAX_SKEW_S:
        text = f"This machine's clock and Redis' differ by {abs(look.skew_s):.1f} s: tokens expire early or late."
        return fault(subject, text, "Let both follow NTP (systemd-timesyncd, chrony).")
    return ok(subject, "This machine's clock is Redis', to a second.")
