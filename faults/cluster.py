"""What happens to a farm on a Redis Cluster: a function each, whose first line the table shows."""

import re
import signal
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise

from benchmarks.harness import wait_until
from faults.cluster_site import SHARDS, ClusterSite, move_at_once, move_by_keys
from faults.crowd import Crowd
from faults.faults import ROUNDS
from faults.oracle import Event, Verdict
from webfarm.redis.keys import find_shard
from webfarm.run.redis_cluster import Node

#: One room in each shard.
ROOMS = tuple(
    next(name for number in range(1000) if find_shard(name := f"room{number}", SHARDS) == shard)
    for shard in range(SHARDS)
)
_AWAY_S = 8.0  # of a primary that nobody replaces
_MAX_PAUSE_S = 2.0  # in rooms of other shards
_LAG = re.compile(r'^webfarm_log_position_lag_seconds\{shard="(\d+)"\} (\S+)$', re.MULTILINE)
_LAGS_S = 4.0


def primary_killed(site: ClusterSite, crowd: Crowd) -> None:
    """`kill -9` of a primary; its replica takes over."""
    _kill(site, site.get_primary(site.get_shard("common")))
    site.wait_until_ready()


def each_primary_killed(site: ClusterSite, crowd: Crowd) -> None:
    """`kill -9` of each primary in turn; each comes back as a replica."""
    for node in site.get_primaries():
        _kill(site, node)
        site.start_redis()
        site.wait_until_ready()


def primary_stopped(site: ClusterSite, crowd: Crowd) -> None:
    """SIGSTOP of a primary for 10 s."""
    node = site.get_primary(site.get_shard("common"))
    site.signal_node(node, signal.SIGSTOP)
    time.sleep(10)
    site.signal_node(node, signal.SIGCONT)
    site.wait_until_ready()


def primary_hands_over(site: ClusterSite, crowd: Crowd) -> None:
    """CLUSTER FAILOVER of each primary in turn."""
    for node in site.get_primaries():
        site.hand_over(node)
        site.wait_until_ready()


def slot_moved_by_keys(site: ClusterSite, crowd: Crowd) -> None:
    """A shard's slot moved to another primary, key by key, three times."""
    _move_around(site, move_by_keys)


def slot_moved_at_once(site: ClusterSite, crowd: Crowd) -> None:
    """A shard's slot moved to another primary by CLUSTER MIGRATESLOTS, three times."""
    _move_around(site, move_at_once)


def node_added(site: ClusterSite, crowd: Crowd) -> None:
    """A primary added, given a shard, and then a replica."""
    site.add_pair(site.get_shard("common"), move_by_keys)
    site.wait_until_ready()


def cluster_shut_down(site: ClusterSite, crowd: Crowd) -> None:
    """Every node shut down (SIGTERM), and started again with its append-only file."""
    site.shut_redis_down()
    site.start_redis()
    site.wait_until_ready()


def primary_unreachable(site: ClusterSite, crowd: Crowd) -> None:
    """A primary stopped for 8 s whose replica may not take over."""
    node = site.get_primary(site.get_shard("common"))
    shards = {str(shard) for shard in site.get_shards_of(node)}
    with site.without_takeover():
        site.signal_node(node, signal.SIGSTOP)
        until = time.monotonic() + _AWAY_S
        try:
            for port in site.ports:
                wait_until(lambda port=port: _get_unready(port) == shards, f"/readyz to name the shards {shards}")
                wait_until(lambda port=port: _get_late(port) == shards, f"/metrics to name the shards {shards}")
            time.sleep(max(until - time.monotonic(), 0.0))
        finally:
            site.signal_node(node, signal.SIGCONT)
        site.wait_until_ready()


def worker_killed_while_unreachable(site: ClusterSite, crowd: Crowd) -> None:
    """The first shard's primary stopped, whose replica may not take over, and `kill -9` of a worker."""
    node = site.get_primary(0)
    shards = {str(shard) for shard in site.get_shards_of(node)}
    with site.without_takeover():
        site.signal_node(node, signal.SIGSTOP)
        try:
            site.signal_worker(0, signal.SIGKILL)
            wait_until(lambda: _get_unready(site.ports[0]) == shards, f"another worker to lack the shards {shards}")
            time.sleep(1)
        finally:
            site.signal_node(node, signal.SIGCONT)
        site.wait_until_ready()
    crowd.wait_until_connected()


def replicas_killed(site: ClusterSite, crowd: Crowd) -> None:
    """`kill -9` of every replica; back 8 s later."""
    site.kill_replicas()
    time.sleep(8)
    site.start_redis()
    site.wait_until_ready()


def _begin_failover(site: ClusterSite) -> None:
    """`kill -9` of a primary; its replica has not taken over yet when this returns."""
    site.kill_node(site.get_primary(site.get_shard("common")))
    time.sleep(0.5)


def primary_and_worker_killed(site: ClusterSite, crowd: Crowd) -> None:
    """`kill -9` of a primary, and of a worker before the replica has taken over."""
    _begin_failover(site)
    site.replace_worker(0, signal.SIGKILL)
    crowd.wait_until_connected()


def workers_replaced_in_failover(site: ClusterSite, crowd: Crowd) -> None:
    """`kill -9` of a primary, and every worker killed before the replica has taken over."""
    _begin_failover(site)
    site.kill_all_workers()
    crowd.wait_until_connected()


def workers_reloaded_in_failover(site: ClusterSite, crowd: Crowd) -> None:
    """`kill -9` of a primary, and HUP of gunicorn's master before the replica has taken over."""
    _begin_failover(site)
    site.reload_workers()
    crowd.wait_until_connected()


def _kill(site: ClusterSite, node: Node) -> None:
    site.kill_node(node)
    site.wait_for_takeover(node)


def _move_around(site: ClusterSite, move: Callable[[ClusterSite, int, Node], None]) -> None:
    """Move the busiest shard to every other primary and back."""
    shard, nodes = site.get_shard("common"), site.get_primaries()
    home = nodes.index(site.get_primary(shard))
    for number in range(1, ROUNDS + 1):
        move(site, shard, nodes[(home + number) % len(nodes)])
        site.wait_until_ready()
        time.sleep(1)


# What the workers say


def _ask(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=3) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError:  # nobody is there yet
        return ""


def _get_unready(port: int) -> set[str]:
    """Return the shards that a worker's ``/readyz`` names."""
    return set(re.findall(r"\d+", _ask(port, "/readyz")))


def _get_late(port: int) -> set[str]:
    """Return the shards that are late, by a worker's ``/metrics``."""
    return {shard for shard, lag in _LAG.findall(_ask(port, "/metrics")) if float(lag) > _LAGS_S}


# What was measured


def get_pauses(events: list[Event]) -> dict[str, float]:
    """Return for how many seconds nothing was received in each room, at most, while there was talk."""
    end = max(event["at"] for event in events if event["event"] == "sent" and not event["last"])
    times = defaultdict(list)
    for event in events:
        if event["event"] == "got" and event["at"] <= end and not event["room"].startswith("user "):
            times[event["room"]].append(event["at"])
    return {
        room: max((later - one for one, later in pairwise([*sorted(when), end])), default=0.0)
        for room, when in times.items()
    }


def _get_other_pause(site: ClusterSite, events: list[Event]) -> tuple[float, float]:
    """Return the longest pause in rooms of the stopped primary's shards, and that in rooms of the others."""
    away = site.get_shards_of(site.get_primary(site.get_shard("common")))
    pauses: tuple[list[float], list[float]] = [0.0], [0.0]
    for room, pause in get_pauses(events).items():
        pauses[site.get_shard(room) not in away].append(pause)
    return max(pauses[0]), max(pauses[1])


def only_its_rooms_wait(site: ClusterSite, events: list[Event], verdict: Verdict) -> str:
    """The rooms of the other shards go on."""
    own, others = _get_other_pause(site, events)
    return "" if others < _MAX_PAUSE_S < own else f"its rooms waited for {own:.1f} s, others for {others:.1f} s"


def show_pause(site: ClusterSite, events: list[Event]) -> str:
    return f"no room waited longer than {max(get_pauses(events).values(), default=0.0):.1f} s"


def show_both_pauses(site: ClusterSite, events: list[Event]) -> str:
    own, others = _get_other_pause(site, events)
    return f"its rooms waited for {own:.1f} s, those of the other shards for {others:.1f} s at most"
