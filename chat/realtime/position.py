"""A node's position, and how it is moved on where nothing happens."""

import logging
from collections import deque
from time import monotonic

import gevent
import redis
from gevent.event import AsyncResult

from chat.errors import Unavailable
from chat.realtime.commands import Commands
from chat.realtime.log import Log

log = logging.getLogger(__name__)

_PASS_S = 3.0


class Position:
    """The id up to which a node has delivered everything of the rooms that it follows.

    A *marker* is the shard's clock, published on a channel of the node's own: when it comes over the subscription, all
    that was stored before has come.
    """

    def __init__(self, commands: Commands, shard: Log) -> None:
        self.id = 0
        self.refusal = ""  # why Redis takes no writes
        self.channel = ""  # of the markers
        self._log = shard
        self._commands = commands
        self._is_marking = False
        self._waiting: deque[tuple[int, AsyncResult[None]]] = deque()

    def start(self, node: str) -> None:
        """Have markers on the channel of ``node``."""
        self.channel = self._log.keys.marks + node

    def advance(self, id: int) -> None:
        """Everything up to ``id`` has been delivered."""
        if id <= self.id:
            return
        self.id = id
        for _ in range(len(self._waiting)):
            wanted, result = self._waiting.popleft()
            if wanted <= id:
                result.set(None)
            else:
                self._waiting.append((wanted, result))

    def wait_until_passed(self, id: int) -> None:
        """Wait until everything up to ``id`` has been delivered. Raises ``Unavailable``."""
        if self.id >= id:
            return
        result: AsyncResult[None] = AsyncResult()
        self._waiting.append((id, result))
        self.request_marker()
        try:
            result.get(timeout=_PASS_S)
        except gevent.Timeout:
            raise Unavailable("Redis does not answer") from None

    def request_marker(self) -> None:
        """Have a marker published soon, at most one at a time."""
        if not self._is_marking:
            self._is_marking = True
            gevent.spawn(self._publish_marker)

    def show(self) -> None:
        """Have a marker published, which shows Redis what this node has seen. Raises ``redis.RedisError``."""
        arguments = [*self._log.clock_arguments, self.channel, monotonic()]
        epoch, newest, refusal = self._commands.run("mark", [self._log.keys.clock], arguments)
        self._log.see(epoch, newest)
        self.refusal = refusal.decode()

    def _publish_marker(self) -> None:
        try:
            self.show()
        except redis.RedisError as error:
            log.debug("no marker: %s", error)
        finally:
            self._is_marking = False
