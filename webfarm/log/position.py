"""A node's position, and the markers that move it on where nothing happens."""

import logging
import math
from heapq import heappop, heappush
from itertools import count
from time import monotonic
from typing import Any

import gevent
import redis
from gevent.event import AsyncResult

from webfarm.errors import Unavailable
from webfarm.log.offset import Vector
from webfarm.log.shard_log import ShardLog
from webfarm.redis.commands import Commands

log = logging.getLogger(__name__)

_PASS_S = 3.0
_FRESH_S = 2.0  # since Redis' last answer
_COMING_S = 1.0  # for a marker
_SHOW_S = 1.0  # for all nodes to come back and show their positions


class Position:
    """The id up to which a node has delivered everything of the rooms that it follows.

    A *marker* is the shard's clock, published on a channel of the node's own. When it comes over the subscription, all
    messages that were stored before have come.
    """

    def __init__(self, commands: Commands, shard: ShardLog, delivered: Vector) -> None:
        self.id = 0
        self._delivered = delivered  # all shards' positions
        self.refusal = ""  # why Redis takes no writes
        self.heard_at = -math.inf  # when the newest marker that has come was requested
        self._shown_at = -math.inf  # when Redis last took one
        self._unheard_since = math.inf  # since then none of those has come
        self.channel = ""  # of the markers
        self.log = shard
        self._commands = commands
        self._run = b""  # names the life of Redis' process
        self._is_marking = self._is_asked_again = False
        self._waiting: list[tuple[int, int, AsyncResult[None]]] = []  # a heap
        self._count = count()

    def start(self, node: str) -> None:
        """Have markers on the channel of ``node``."""
        self.channel = self.log.keys.marks + node

    @property
    def is_deaf(self) -> bool:
        """Whether Redis takes markers that do not come back."""
        now = monotonic()
        return now - self._shown_at < _FRESH_S and now - self._unheard_since > _COMING_S

    def get_lag(self) -> float:
        """Return how many seconds delivering may be behind storing; infinity before the first marker."""
        return max(self.log.newest - self.id, 0) / 1_000_000 + monotonic() - self.heard_at

    def on_heard(self, asked_at: float) -> None:
        """A marker came that was requested at ``asked_at``."""
        self.heard_at = asked_at
        self._unheard_since = math.inf

    def advance(self, id: int) -> None:
        """Everything up to ``id`` has been delivered."""
        if id <= self.id:
            return
        self.id = id
        self._delivered.show(self.log.keys.shard, self.log.epoch, id)
        while self._waiting and self._waiting[0][0] <= id:
            heappop(self._waiting)[2].set(None)

    def reset(self) -> None:
        """Begin again: the delivered messages belong to no log any more."""
        self.id = 0
        self._delivered.show(self.log.keys.shard, self.log.epoch, 0)

    def wait_until_passed(self, id: int) -> None:
        """Wait until everything up to ``id`` has been delivered. Raises ``Unavailable``."""
        if self.id >= id:
            return
        result: AsyncResult[None] = AsyncResult()
        heappush(self._waiting, (id, next(self._count), result))
        self.request_marker()
        try:
            result.get(timeout=_PASS_S)
        except gevent.Timeout:
            raise Unavailable("Redis does not answer") from None

    def request_marker(self) -> None:
        """Have a marker published soon, at most one at a time."""
        if self._is_marking:
            self._is_asked_again = True  # the clock in the marker under way may be too low
        else:
            self._is_marking = True
            self._commands.ask_script("log/mark", *self._describe_marker(), self._on_marked)

    def show(self) -> None:
        """Have a marker published, which shows Redis what this node has seen. Raises ``redis.RedisError``."""
        self._take_note(self._commands.run("log/mark", *self._describe_marker()))

    def wait_after_restart(self) -> None:
        """After a restart of Redis, let all nodes show what they have seen before anything is stored.

        Redis may have lost its last messages, and perhaps only one node knows. Raises ``redis.RedisError``.
        """
        info: bytes = self._commands.execute("INFO", "server")
        run = info.partition(b"run_id:")[2].partition(b"\r")[0]
        if self._run not in (b"", run):
            gevent.sleep(_SHOW_S)
            self.show()
        self._run = run

    def _describe_marker(self) -> tuple[list[str], list[Any]]:
        """Return the keys and the arguments of the script."""
        return [self.log.keys.clock], [*self.log.clock_arguments, self.channel, monotonic()]

    def _take_note(self, answer: Any) -> None:
        epoch, newest, refusal = answer
        self.log.see(epoch, newest)
        if refusal and not self.refusal:
            log.error("Redis takes no writes: %s", refusal.decode())
        self.refusal = refusal.decode()
        self._shown_at = monotonic()
        self._unheard_since = min(self._unheard_since, self._shown_at)

    def _on_marked(self, answer: Any) -> None:
        is_asked_again = self._is_asked_again
        self._is_marking = self._is_asked_again = False
        if isinstance(answer, redis.RedisError):
            log.debug("no marker: %s", answer)
            return
        try:
            self._take_note(answer)
        except Exception:
            log.exception("a marker could not be taken note of")
        if is_asked_again:
            self.request_marker()
