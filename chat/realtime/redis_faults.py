"""What is wrong with a Redis, or with a cluster, for a farm: one sentence, with what to do."""

from typing import Any
from urllib.parse import urlsplit

import redis
from redis.cluster import parse_cluster_slots

from chat.realtime.redis_client import connect, connect_node, is_cluster, list_addresses

_SLOTS = 16_384
_OLDEST = (7, 0)  # which can publish on one primary alone


def find_fault(url: str) -> str | None:
    """Return why no farm can work with the Redis at ``url``; ``None`` if one can. Raises ``redis.RedisError``.

    The error is that of the last node where a cluster's ``url`` names several, and none of them answers.
    """
    name, client = _connect(url)
    try:
        return _find_fault_of_cluster(name, client) if is_cluster(url) else _find_fault_of_single(name, client)
    finally:
        client.close()


def find_lonely_primary(url: str) -> str | None:
    """Return which primary of the cluster at ``url`` has no replica that works. Raises ``redis.RedisError``."""
    name, client = _connect(url)
    try:
        ranges = parse_cluster_slots(client.execute_command("CLUSTER SLOTS"), current_host=name.rpartition(":")[0])
    finally:
        client.close()
    lonely = sorted({f"{one['primary'][0]}:{one['primary'][1]}" for one in ranges.values() if not one["replicas"]})
    if not lonely:
        return None
    names = f"{lonely[0]} has" if len(lonely) == 1 else f"{', '.join(lonely)} have"
    return f"{names} no replica that works: nothing takes over if it ends. Add one (CLUSTER REPLICATE), or start it."


def _connect(url: str) -> tuple[str, Any]:
    """Return a node that answers, and a client for it."""
    if not is_cluster(url):
        return urlsplit(url).netloc.rpartition("@")[2] or urlsplit(url).path, connect(url)
    error: redis.RedisError = redis.ConnectionError("no node is named")
    for address in list_addresses(url):
        client = connect_node(url, address)
        try:
            client.ping()
        except redis.RedisError as fault:
            client.close()
            error = fault
        else:
            return f"{address[0]}:{address[1]}", client
    raise error


def _find_fault_of_single(name: str, client: Any) -> str | None:
    if client.info("cluster").get("cluster_enabled"):
        return f"The Redis at {name} is a node of a cluster: write redis+cluster://{name}."
    return None


def _find_fault_of_cluster(name: str, client: Any) -> str | None:
    if not client.info("cluster").get("cluster_enabled"):
        return f"The Redis at {name} is a single one, no node of a cluster: write redis://{name}/0."
    version = str(client.info("server").get("redis_version", ""))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < _OLDEST:
        return f"The cluster's Redis is {version}: a farm on a cluster needs Redis 7.0, or Valkey."
    state = client.execute_command("CLUSTER INFO")
    assigned, failed = int(state["cluster_slots_assigned"]), int(state["cluster_slots_fail"])
    if assigned < _SLOTS:
        return f"The cluster is not complete: {_SLOTS - assigned} of {_SLOTS} slots have no primary (CLUSTER ADDSLOTS)."
    if failed:
        return f"The primary of {failed} of the cluster's slots is away, and no replica has taken over: start one."
    if state["cluster_state"] != "ok":
        return f"The node {name} is cut off from the cluster's other nodes: see that they reach each other."
    return None
