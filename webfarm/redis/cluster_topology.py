"""Which primary has which slots of a cluster: asked for again and again, and at once where something does not fit.

redis-py's cluster client would ask any node, one after the other, and wait seconds for each that stands still; and it
believes one that is cut off from the others, and says so (``cluster_state:fail``).
"""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
import redis
from gevent.event import Event
from gevent.hub import Waiter

from webfarm.redis.client import NODE_S, Address, SlotRange, connect_node, find_range, parse_slots
from webfarm.redis.url import split_cluster_url

log = logging.getLogger(__name__)

_ASK_S = 1.0
_PAUSE_S = 0.05
_ALL_S = 2.5  # then it is tried again, beginning with those that were not asked


class ClusterTopology:
    """What the cluster at ``url`` says."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._given = split_cluster_url(url)[0]
        self._clients: dict[Address, Any] = {}
        self._nodes: list[Address] = []  # that the cluster has told of
        self._ranges: list[SlotRange] = []
        self._primaries: dict[int, Address] = {}  # by slot, once looked up
        self._first = self._given[0]  # to be asked: it has answered, or is said to know
        self._failed: set[Address] = set()
        self._moves = 0
        self._is_due = Event()
        self._callbacks: list[Callable[[], object]] = []
        self._asking: gevent.Greenlet[..., None] | None = None

    def start(self, on_asked: Callable[[], object]) -> None:
        """Ask from now on; ``on_asked`` is called after each answer."""
        self._asking = gevent.spawn(self._run, on_asked)

    @property
    def primaries(self) -> set[Address]:
        """All that have slots."""
        return {one.primary for one in self._ranges} | {*self._primaries.values()}

    def get_primary(self, slot: int) -> Address | None:
        """Return which primary has ``slot``; ``None`` while nobody has said so."""
        address = self._primaries.get(slot)
        if address is None and (found := find_range(self._ranges, slot)) is not None:
            address = self._primaries[slot] = found.primary
        return address

    def count_replicas(self, slot: int) -> int:
        """Return how many replicas of its primary work, as far as the cluster knows."""
        found = find_range(self._ranges, slot)
        return 0 if found is None else len(found.replicas)

    def find_primary(self, slot: int) -> Address:
        """Ask, and return which primary has ``slot``. Raises ``redis.ConnectionError``."""
        waiter: Any = Waiter()
        self.when_asked(lambda: gevent.get_hub().loop.run_callback(waiter.switch, None))
        waiter.get()
        address = self.get_primary(slot)
        if address is None:
            raise redis.ConnectionError(f"no node of the cluster says who has slot {slot}")
        return address

    def when_asked(self, callback: Callable[[], object]) -> None:
        """Ask at once; then call ``callback``, whether there was an answer or not."""
        self._callbacks.append(callback)
        self._is_due.set()

    def ask_soon(self) -> None:
        """Something is not as it was."""
        self._is_due.set()

    def on_moved(self, slot: int, address: Address) -> None:
        """A node has said that ``slot`` is at ``address``, which therefore knows more than others."""
        self._primaries[slot] = self._first = address
        self._failed.discard(address)
        self._moves += 1
        self._is_due.set()

    def _run(self, on_asked: Callable[[], object]) -> None:
        while True:
            self._is_due.clear()
            callbacks, self._callbacks = self._callbacks, []
            try:
                if self._ask():
                    on_asked()
            except Exception:
                log.exception("where the cluster's slots are could not be found out")
            for callback in callbacks:
                callback()
            gevent.sleep(_PAUSE_S)
            self._is_due.wait(_ASK_S)

    def _ask(self) -> bool:
        """Ask one node after the other, until one answers that isn't cut off from the others."""
        moves, ends = self._moves, monotonic() + _ALL_S
        other: tuple[Address, list[SlotRange], list[Address]] | None = None
        for address in self._list_candidates():
            try:
                is_sound, ranges, nodes = self._ask_node(address)
            except (redis.RedisError, OSError) as error:
                log.debug("%s:%d does not say where the cluster's slots are: %s", *address, error)
                self._failed.add(address)
            else:
                self._failed.discard(address)
                if is_sound or other is None:
                    other = address, ranges, nodes
                if is_sound:
                    break
            if monotonic() > ends:
                break
        if other is None or moves != self._moves:  # else somebody knew better meanwhile, and it is asked again
            return False
        self._first, self._ranges, self._nodes = other
        self._primaries = {}
        for address in self._clients.keys() - {*self._nodes, *self._given}:
            self._clients.pop(address).close()
            self._failed.discard(address)
        return True

    def _list_candidates(self) -> list[Address]:
        known = dict.fromkeys((self._first, *self._nodes, *self._given))
        return sorted(known, key=lambda address: (address in self._failed, address != self._first))

    def _ask_node(self, address: Address) -> tuple[bool, list[SlotRange], list[Address]]:
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = connect_node(self._url, address, NODE_S)
        info: Any = client.execute_command("CLUSTER INFO")
        ranges = parse_slots(client.execute_command("CLUSTER SLOTS"), address[0])
        nodes = [node for one in ranges for node in (one.primary, *one.replicas)]
        return info["cluster_state"] == "ok", ranges, nodes
