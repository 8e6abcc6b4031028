"""The half of a manager that knows how it stands with Redis."""

from socketio.base_manager import BaseManager

from chat.errors import Unavailable
from chat.realtime.follower import Follower
from chat.realtime.log import Log


class Readiness(BaseManager):
    """Whether Redis answers, and what it has is delivered."""

    log: Log
    follower: Follower

    @property
    def is_ready(self) -> bool:
        """Whether clients are served: Redis answers, and all that it has is delivered."""
        return self.follower.is_ready and not self.follower.position.refusal

    def get_unready_reason(self) -> str | None:
        """Return why clients are not served: ``redis``, or ``deaf`` if it answers, but what is published does not come.

        ``None`` if they are.
        """
        if self.is_ready:
            return None
        return "deaf" if self.follower.position.is_deaf else "redis"

    def get_lag(self) -> float:
        """Return by how many seconds what is delivered may be behind what is stored."""
        return self.follower.position.get_lag()

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Wait until Redis answers and all is delivered, at most ``timeout_s``; return whether that is so."""
        return self.follower.wait_until_ready(timeout_s)

    def wait_until_delivered(self) -> None:
        """Wait until what was emitted here has been delivered here; not longer than Redis is heard of."""
        if self.is_ready:
            try:
                self.follower.position.wait_until_passed(self.log.newest)
            except Unavailable:
                self._get_logger().debug("not waited for what was emitted: Redis does not answer")
