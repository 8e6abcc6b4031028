"""Which Redis is the primary, by the sentinels: all are asked at once, again and again."""

import logging
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Protocol

import gevent
import redis
from redis.sentinel import MasterNotFoundError, Sentinel

from webfarm.loop.repeating import Repeating
from webfarm.redis.url import Address

log = logging.getLogger(__name__)

_ANSWER_S = 0.5  # in which the living ones have answered
_ASK_S = 1.0


class Sentinels(Sentinel):
    """All sentinels at once; the one that knows of the latest failover is believed.

    Stock believes the first that answers. A sentinel that is cut off from the others names a primary that they have
    replaced.
    """

    def discover_master(self, service_name: str) -> Address:
        pool = ThreadPoolExecutor(len(self.sentinels))
        asked = [pool.submit(self._ask, sentinel, service_name) for sentinel in self.sentinels]
        pool.shutdown(wait=False)
        states = _collect(wait(asked, _ANSWER_S).done) or _collect(asked)
        is_alive: Any = partial(self.check_master_state, service_name=service_name)
        newest = max(states, key=lambda state: (state["config-epoch"], is_alive(state)), default=None)
        if newest is None or not is_alive(newest):
            raise MasterNotFoundError(f"no sentinel that answers knows of a primary {service_name!r} that lives")
        return newest["ip"], newest["port"]

    @staticmethod
    def _ask(sentinel: Any, service_name: str) -> Any:
        """Return the state of a primary by a sentinel; ``None`` if it does not answer."""
        try:
            return sentinel.sentinel_masters().get(service_name)
        except redis.RedisError:
            return None


def _collect(asked: Iterable["Future[Any]"]) -> list[dict[str, Any]]:
    return [state for future in asked if (state := future.result()) is not None]


class Movable(Protocol):
    """What has a connection to the primary."""

    def move_to(self, address: Address) -> None:
        """Give the connection up, unless it is to ``address``. Called in the hub."""


class PrimaryWatch:
    """Keeps connections at the primary that the sentinels name; without sentinels it does nothing.

    A primary that is replaced while it lives takes writes for ten more seconds, until the sentinels make it a replica.
    A client that stays with it gets no acknowledgement in that time, or loses what was acknowledged.

    Args:
        client: knows which sentinels to ask.
        movables: whose connections.
    """

    def __init__(self, client: redis.Redis, movables: Iterable[Movable]) -> None:
        self._pool: Any = client.connection_pool
        self._movables = tuple(movables)
        errors = (redis.RedisError, OSError)
        self._asking = Repeating(self._ask, _ASK_S, log=log, failed="the primary is not known", expected=errors)

    def start(self) -> None:
        """Ask from now on."""
        if hasattr(self._pool, "sentinel_manager"):
            self._asking.start()

    def _ask(self) -> None:
        address = self._pool.sentinel_manager.discover_master(self._pool.service_name)
        for movable in self._movables:
            gevent.get_hub().loop.run_callback(movable.move_to, address)
