"""Which Redis is the primary, by all sentinels at once."""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import redis
from redis.sentinel import MasterNotFoundError, Sentinel

_ANSWER_S = 0.5  # in which those that live have answered


class Sentinels(Sentinel):
    """All sentinels at once, of which the one is believed that knows of the latest failover.

    Stock believes the first that answers; one that is cut off from the others names a primary that they have replaced.
    """

    def discover_master(self, service_name: str) -> tuple[str, int]:
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
        """Return what a sentinel knows of a primary; ``None`` if it does not answer."""
        try:
            return sentinel.sentinel_masters().get(service_name)
        except redis.RedisError:
            return None


def _collect(asked: Iterable["Future[Any]"]) -> list[dict[str, Any]]:
    return [state for future in asked if (state := future.result()) is not None]
