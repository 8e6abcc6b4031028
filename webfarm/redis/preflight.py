"""The faults of a Redis or a Redis Cluster that answers, and on which a farm can't work: a sentence for each."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import gevent
import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS as _SLOTS

from webfarm.redis.client import connect
from webfarm.redis.keys import FORMAT, Keys
from webfarm.redis.slot_map import SlotMap
from webfarm.redis.url import get_database, get_node_url, is_cluster_url, split_cluster_url, without_password

log = logging.getLogger(__name__)

_LOOK_S = 5.0
_OLDEST = 7  # of a cluster: the first with channels that belong to a shard

#: The URL of each primary, and the slots that it serves, as ranges with both ends.
Primaries = Mapping[str, Sequence[tuple[int, int]]]


class Fault(NamedTuple):
    """A fault and its remedy; together they are a sentence."""

    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.text}: {self.remedy}."


def find_faults(url: str, prefix: str, *, shards: int | None = None, wait_replicas: int = 0) -> list[Fault]:
    """Return the faults that keep a farm from working on the Redis at ``url``.

    Args:
        url: ``REDIS_URL``.
        prefix: the start of every key of the farm.
        shards: how many shards the farm should have; ``None``: any number.
        wait_replicas: how many replicas each message waits for.

    Raises:
        redis.RedisError: nothing answers there.
    """
    if wrong := find_wrong_kind(url):
        return [wrong]
    primaries = get_primaries(url)
    faults = [*find_other_format(primaries, prefix, shards, get_database(url))]
    if is_cluster_url(url):
        faults += [*find_lost_slots(primaries), *_find_lonely(primaries, wait_replicas)]
    return faults


def log_faults(url: str, prefix: str, *, shards: int | None = None, wait_replicas: int = 0) -> None:
    """Log the faults of ``find_faults`` at a worker's start, each once, until there are none."""
    said: list[Fault] = []
    while True:
        try:
            found = find_faults(url, prefix, shards=shards, wait_replicas=wait_replicas)
        except redis.RedisError as error:
            log.debug("Redis is not looked at: %s", error)
        else:
            if not found:
                return
            for new in [fault for fault in found if fault not in said]:
                log.error("%s", new)
            said = found
        gevent.sleep(_LOOK_S)


def open_node(url: str) -> redis.Redis:
    """Return a client of the Redis at ``url``; of a cluster, of the first address that answers.

    Raises:
        redis.RedisError: none does.
    """
    if not is_cluster_url(url):
        return _open(url)
    *first, last = [get_node_url(url, *address) for address in split_cluster_url(url)[0]]
    for node in first:
        try:
            return _open(node)
        except (redis.ConnectionError, redis.TimeoutError):
            continue
    return _open(last)


def _open(url: str) -> redis.Redis:
    client = connect(url)
    try:
        client.time()  # a PING is refused by one whose disk is full
    except BaseException:
        client.close()
        raise
    return client


def find_wrong_kind(url: str) -> Fault | None:
    """Return the fault that the URL names a single Redis and there is a cluster, or the reverse, or an old cluster."""
    shown = without_password(url)
    with open_node(url) as client:
        info: dict[str, Any] = client.info()
        asked = client.get_connection_kwargs()
    is_cluster = bool(info.get("cluster_enabled"))
    if is_cluster == is_cluster_url(url):
        return find_old_version(info) if is_cluster else None
    scheme = "rediss" if url.startswith("rediss") else "redis"
    node = get_node_url(f"{scheme}+cluster://", asked.get("host", "HOST"), asked.get("port", "PORT"))
    if is_cluster:
        remedy = f"set REDIS_URL to {scheme}+cluster://{name_node(node)}"
        return Fault(f"{shown} is a node of a Redis Cluster, named as a single Redis", remedy)
    return Fault(f"{shown} is a single Redis, named as a cluster", f"set REDIS_URL to {node}")


def find_old_version(info: Mapping[str, Any]) -> Fault | None:
    """Return the fault that a cluster is too old, by its ``INFO``."""
    version = str(info.get("redis_version", ""))  # Valkey too says which Redis it is like
    found = re.match(r"\d+", version)
    if found and int(found[0]) < _OLDEST:
        return Fault(f"the cluster is Redis {version}", f"use {_OLDEST}.0 or later, or Valkey")
    return None


def get_primaries(url: str) -> Primaries:
    """Return the primaries, by one node's word; a single Redis has all slots."""
    if not is_cluster_url(url):
        return {url: [(0, _SLOTS - 1)]}
    with open_node(url) as client:
        asked = client.get_connection_kwargs()
        slots = SlotMap(client.execute_command("CLUSTER SLOTS"), asked["host"])
    primaries: dict[str, list[tuple[int, int]]] = {}
    for one in slots:
        primaries.setdefault(get_node_url(url, *one.primary), []).append((one.first, one.last))
    return primaries or {get_node_url(url, asked["host"], asked["port"]): []}


def name_node(url: str) -> str:
    """Return a node's address as it may be shown."""
    return without_password(url).partition("://")[2].removesuffix("/0")


def count_replicas(client: redis.Redis) -> int:
    """Return how many replicas of a primary work: they are in step, and the primary does not take them for dead."""
    info: dict[str, Any] = client.info()
    in_step: int = sum(info[f"slave{i}"]["state"] == "online" for i in range(int(info.get("connected_slaves", 0))))
    if not info.get("cluster_enabled"):
        return in_step
    nodes: list[dict[str, Any]] = list(client.cluster("nodes").values())
    [own] = [one["node_id"] for one in nodes if "myself" in one["flags"]]
    living: int = sum(one["master_id"] == own and "fail" not in one["flags"] for one in nodes)
    return min(in_step, living)


def find_lost_slots(primaries: Primaries) -> Iterator[Fault]:
    """Yield the first fault of a cluster: a primary does not answer, or slots are not served."""
    for url in primaries:
        name = name_node(url)
        try:
            with connect(url) as client:
                info: dict[str, str] = client.cluster("info")
        except redis.RedisError as error:
            reason = str(error).rstrip(".")
            yield Fault(f"the cluster's primary {name} does not answer ({reason})", "start it, or one of its replicas")
            return
        assigned, served = int(info["cluster_slots_assigned"]), int(info["cluster_slots_ok"])
        if assigned < _SLOTS:
            text = f"{_SLOTS - assigned} of the cluster's {_SLOTS} slots belong to no primary, by the word of {name}"
            yield Fault(text, "give them to one (redis-cli --cluster fix)")
        elif served < _SLOTS:
            text = f"{_SLOTS - served} of the cluster's {_SLOTS} slots are not served, by the word of {name}"
            yield Fault(text, "start the primary that has failed, or one of its replicas")
        elif info["cluster_state"] != "ok":
            yield Fault(f"the cluster is down, by the word of {name}", "its log says why")
        else:
            continue
        return


def _find_lonely(primaries: Primaries, wait_replicas: int) -> Iterator[Fault]:
    for url in primaries:
        try:
            with connect(url) as client:
                there = count_replicas(client)
        except redis.RedisError:
            continue  # another fault
        if there < wait_replicas:
            text = f"the cluster's primary {name_node(url)} has {there or 'no'} working replica{'s' * (there > 1)}"
            text = f"{text}, and WEBFARM_WAIT_REPLICAS wants {wait_replicas} for each message"
            yield Fault(text, "start the missing ones, or lower WEBFARM_WAIT_REPLICAS")


def find_other_format(primaries: Primaries, prefix: str, shards: int | None, database: int = 0) -> Iterator[Fault]:
    """Yield the fault that another version has made the farm, or with other shards, by the clock of its first shard."""
    home = Keys(prefix, database=database)
    key, slot = home.clock, home.slot
    urls = [url for url, slots in primaries.items() if any(first <= slot <= last for first, last in slots)]
    if not urls:
        return
    try:
        with connect(urls[0]) as client:
            stored: Any = client.hget(key, "format")
    except redis.RedisError:
        return  # another fault, or the follower will name it
    if stored is None:
        return
    version, _, others = stored.decode(errors="replace").partition("/")
    if version != FORMAT:
        text = f"Redis holds what a farm of format {version} has stored, and this version has format {FORMAT}"
        yield Fault(text, "use the version that stored it, or another WEBFARM_PREFIX for a new farm")
    elif shards not in (None, kept := int(others or 1)):
        text = f"WEBFARM_SHARDS is {shards}, and this farm has had {kept} from its beginning"
        yield Fault(text, f"set WEBFARM_SHARDS to {kept}, or another WEBFARM_PREFIX for a new farm")
