"""Which primary has which slots of a cluster: asked for again and again, and at once where something does not fit.

redis-py's cluster client would ask any node, one after the other, and wait seconds for each stalled one. It also
believes a node that is cut off from the others and says so (``cluster_state:fail``).
"""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
import redis
from gevent.hub import Waiter

from webfarm.loop.repeating import Repeating
from webfarm.redis.client import NODE_S, connect_node
from webfarm.redis.slot_map import SlotMap
from webfarm.redis.url import Address, split_cluster_url

log = logging.getLogger(__name__)

_ASK_S = 1.0
_PAUSE_S = 0.05
_ALL_S = 2.5  # then it is tried again, beginning with those that were not asked


class ClusterTopology:
    """The slots of the cluster at ``url``, as its nodes say."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._given = split_cluster_url(url)[0]
        self._clients: dict[Address, Any] = {}
        self._nodes: list[Address] = []  # that the cluster has told of
        self.slots = SlotMap()  #: another one after each answer; it is read for each command, without a call more
        self._first = self._given[0]  # to be asked: it has answered, or is said to know
        self._failed: set[Address] = set()
        self._moves = 0
        self._callbacks: list[Callable[[], object]] = []
        self._on_asked: Callable[[], object] = lambda: None
        self._asking = Repeating(self._run, _ASK_S, log=log, failed="the slots of the cluster could not be found out")

    def start(self, on_asked: Callable[[], object]) -> None:
        """Ask from now on; ``on_asked`` is called after each answer."""
        self._on_asked = on_asked
        self._asking.start()

    def stop(self) -> None:
        """Ask no more."""
        self._asking.stop()
        for client in self._clients.values():
            client.close()

    def find_primary(self, slot: int) -> Address:
        """Ask, and return the primary that has ``slot``. Raises ``redis.ConnectionError``."""
        waiter: Any = Waiter()
        self.when_asked(lambda: gevent.get_hub().loop.run_callback(waiter.switch, None))
        waiter.get()
        return self.slots.require_primary(slot)

    def when_asked(self, callback: Callable[[], object]) -> None:
        """Ask at once; then call ``callback``, whether there was an answer or not."""
        self._callbacks.append(callback)
        self._asking.run_soon()

    def ask_soon(self) -> None:
        """Ask at once: something is not as it was."""
        self._asking.run_soon()

    def on_moved(self, slot: int, address: Address) -> None:
        """A node has said that ``slot`` is at ``address``, which therefore knows more than others."""
        self.slots.move(slot, address)
        self._first = address
        self._failed.discard(address)
        self._moves += 1
        self._asking.run_soon()

    def _run(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        try:
            if self._ask():
                self._on_asked()
        finally:
            for callback in callbacks:
                callback()
            gevent.sleep(_PAUSE_S)

    def _ask(self) -> bool:
        """Ask one node after the other, until one answers that isn't cut off from the others."""
        moves, ends = self._moves, monotonic() + _ALL_S
        found: tuple[Address, SlotMap] | None = None
        for address in self._list_candidates():
            try:
                is_sound, slots = self._ask_node(address)
            except (redis.RedisError, OSError) as error:
                log.debug("%s:%d does not say where the cluster's slots are: %s", *address, error)
                self._failed.add(address)
            else:
                self._failed.discard(address)
                if is_sound or found is None:
                    found = address, slots
                if is_sound:
                    break
            if monotonic() > ends:
                break
        if found is None or moves != self._moves:  # else somebody knew better meanwhile, and it is asked again
            return False
        self._first, self.slots = found
        self._nodes = self.slots.nodes
        for address in self._clients.keys() - {*self._nodes, *self._given}:
            self._clients.pop(address).close()
            self._failed.discard(address)
        return True

    def _list_candidates(self) -> list[Address]:
        known = dict.fromkeys((self._first, *self._nodes, *self._given))
        return sorted(known, key=lambda address: (address in self._failed, address != self._first))

    def _ask_node(self, address: Address) -> tuple[bool, SlotMap]:
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = connect_node(self._url, address, NODE_S)
        info: Any = client.execute_command("CLUSTER INFO")
        slots = SlotMap(client.execute_command("CLUSTER SLOTS"), address[0])
        return info["cluster_state"] == "ok", slots
