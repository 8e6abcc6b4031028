"""Which Redis is the primary, by the sentinels: asked for again and again.

A primary that is replaced while it lives goes on taking writes for ten seconds, until the sentinels make it a replica.
Whoever stays with it has nothing acknowledged in that time, or loses what is.
"""

import logging
from collections.abc import Iterable
from typing import Any, Protocol

import gevent
import redis

from webfarm.redis.client import Address

log = logging.getLogger(__name__)

_ASK_S = 1.0


class Movable(Protocol):
    """What has a connection to the primary."""

    def move_to(self, address: Address) -> None:
        """Give the connection up, unless it is to ``address``. Called in the hub."""


class Primary:
    """What sees to it that connections are to the primary; without sentinels it does nothing.

    Args:
        client: says which sentinels to ask.
        movables: whose connections.
    """

    def __init__(self, client: redis.Redis, movables: Iterable[Movable]) -> None:
        self._pool: Any = client.connection_pool
        self._movables = tuple(movables)

    def start(self) -> None:
        """Ask from now on."""
        if hasattr(self._pool, "sentinel_manager"):
            gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            try:
                address = self._pool.sentinel_manager.discover_master(self._pool.service_name)
            except (redis.RedisError, OSError) as error:
                log.debug("no sentinel knows the primary: %s", error)
            else:
                for movable in self._movables:
                    gevent.get_hub().loop.run_callback(movable.move_to, address)
            gevent.sleep(_ASK_S)
