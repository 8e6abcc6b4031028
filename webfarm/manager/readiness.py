"""The half of a manager that knows how it stands with Redis."""

import gevent
from socketio.base_manager import BaseManager

from webfarm.errors import Unavailable
from webfarm.manager.shards import Shards


class Readiness(BaseManager):
    """Whether Redis answers, and what it has is delivered."""

    shards: Shards

    @property
    def is_ready(self) -> bool:
        """Whether events can be handled: of any shard, Redis answers and all is delivered."""
        return any(shard.is_ready for shard in self.shards)

    def get_unready_reason(self) -> str | None:
        """Return why clients are not served: ``redis``, or ``deaf`` if it answers, but what is published does not come.

        Behind it stand the shards it is so of, if it is not of all: ``redis (shards 1, 4)``; ``None`` if all are.
        """
        unready = [shard for shard in self.shards if not shard.is_ready]
        if not unready:
            return None
        reason = "deaf" if all(shard.follower.position.is_deaf for shard in unready) else "redis"
        if len(unready) == len(self.shards):
            return reason
        numbers = ", ".join(str(shard.number) for shard in unready)
        return f"{reason} ({'shard' if len(unready) == 1 else 'shards'} {numbers})"

    def get_lag(self) -> dict[str, float]:
        """Return by how many seconds what is delivered may be behind what is stored, by shard."""
        return {str(shard.number): shard.follower.position.get_lag() for shard in self.shards}

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Wait until of any shard Redis answers and all is delivered, at most ``timeout_s``; return whether it is so.

        It may still take no writes.
        """
        with gevent.Timeout(timeout_s, False):  # type: ignore[arg-type]
            waiting = [gevent.spawn(shard.follower.wait_until_ready, timeout_s) for shard in self.shards]
            gevent.wait(waiting, count=1)
        gevent.killall(waiting, block=False)
        return any(shard.follower.is_ready for shard in self.shards)

    def wait_until_joinable(self, namespace: str, timeout_s: float) -> bool:
        """Wait until a client could join ``namespace``, at most ``timeout_s``; return whether it could.

        What else it needs, for its session and its rooms, may still be in shards that are away.
        """
        return self.shards.get_of_room(namespace, None).follower.wait_until_ready(timeout_s)

    def wait_until_delivered(self) -> None:
        """Wait until what was emitted here has been delivered here; not longer than Redis is heard of."""
        for shard in self.shards:
            if shard.is_ready:
                try:
                    shard.follower.position.wait_until_passed(shard.log.newest)
                except Unavailable:
                    self._get_logger().debug("not waited for what was emitted: Redis does not answer")
