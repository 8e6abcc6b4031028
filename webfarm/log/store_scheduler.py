"""StoreScheduler: when the batches of a worker are stored.

One call of the store script takes the batches of all shards in one Redis. The next call takes what is emitted
meanwhile. A round calls each primary of a cluster once, so that the answers come together. A turn of the loop costs
much more than one message more in it.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import gevent
import redis

from webfarm.log.batch import BYTES, MESSAGES, Batch, join_batches
from webfarm.redis.commands import Connection

log = logging.getLogger(__name__)

_LATE_S = 0.004  # for replicas to confirm a batch; then they are late
_ROUND_S = 0.02  # the longest wait for the end of a round. A slow primary holds up no other.


class BatchSource(Protocol):
    """A queue of messages of one shard, from which the scheduler pulls batches: one at a time."""

    @property
    def connection(self) -> Connection | None:
        """Where the shard is stored at this moment; ``None``: nobody knows."""

    def take_batch(self, most: int, most_bytes: int) -> Batch | None:
        """Take the next batch out of the queue; ``None`` if the source stores its next batch by itself.

        Then it calls ``StoreScheduler.add`` again, when that is done and more waits.

        Args:
            most: messages.
            most_bytes: of all messages but the first.
        """

    def on_answer(self, batch: Batch, answer: Any, reached: Any) -> bool:
        """Take the store script's answer to a batch, or a ``redis.RedisError``; return whether to pull the next one.

        Args:
            batch: of ``take_batch``; no other one was taken since.
            answer: of the script to this batch.
            reached: how many replicas have it.
        """

    def hurry_replicas(self) -> None:
        """Have something written, as replicas are late to confirm a batch."""


class StoreScheduler:
    """Stores what all queues of a worker have, in the hub.

    A round ends when all connections that it called have answered, or soon after something else is to be stored.
    """

    def __init__(self) -> None:
        self._due: dict[BatchSource, None] = {}
        self._called: set[Connection] = set()  # and have not answered
        self._awaited: set[Connection] = set()  # those of this round
        self._is_beginning = False
        self._timer: Any = None

    def add(self, source: BatchSource) -> None:
        """Pull batches from ``source``, from the next round on, until nothing waits there."""
        self._due[source] = None
        if not self._awaited:
            self._begin_soon()
        elif self._timer is None and source.connection not in self._called:
            self._limit_round()

    def _begin_soon(self) -> None:
        if not self._is_beginning:
            self._is_beginning = True
            run_callback = gevent.get_hub().loop.run_callback
            run_callback(run_callback, self._begin)  # behind what others have put there in this turn of the loop

    def _begin(self) -> None:
        self._is_beginning = False
        due, self._due = self._due, {}
        groups: dict[Connection | None, list[BatchSource]] = {}
        for source in due:
            connection = source.connection  # which may be another one by now
            if connection in self._called:
                self._due[source] = None
            else:
                groups.setdefault(connection, []).append(source)
        for connection, sources in groups.items():
            self._call(connection, sources)

    def _call(self, connection: Connection | None, sources: Sequence[BatchSource]) -> None:
        pulled: list[tuple[BatchSource, Batch]] = []
        messages, size = MESSAGES, BYTES
        for index, source in enumerate(sources):
            if messages <= 0 or size <= 0:
                self._due = dict.fromkeys(sources[index:]) | self._due
                break
            batch = source.take_batch(messages, size)
            if batch is not None:
                pulled.append((source, batch))
                messages, size = messages - len(batch.waiting), size - batch.bytes
        if connection is None or not pulled:
            return
        command = connection.describe_script("log/store", (), join_batches([batch.arguments for _, batch in pulled]))
        replicas = max(batch.replicas for _, batch in pulled)
        on_answer = partial(self._on_answer, connection, pulled)
        self._called.add(connection)
        self._awaited.add(connection)
        if replicas:
            loop = gevent.get_hub().loop
            late = loop.timer(_LATE_S)
            late.start(loop.run_callback, self._hurry, connection, pulled[0][0])  # after what has come by then
            connection.ask_written(command, replicas, partial(self._on_written, late, on_answer))
        else:
            connection.ask(command, lambda answer: on_answer(answer, 0))

    def _hurry(self, connection: Connection, source: BatchSource) -> None:
        if connection in self._called:
            source.hurry_replicas()

    def _on_written(self, late: Any, on_answer: Any, answer: Any, reached: Any) -> None:
        late.close()
        on_answer(answer, reached)

    def _on_answer(
        self, connection: Connection, pulled: Sequence[tuple[BatchSource, Batch]], answer: Any, reached: Any
    ) -> None:
        if isinstance(reached, redis.RedisError):
            answer = reached
        if not isinstance(answer, list) or len(answer) != len(pulled):  # an error, or no answer to this
            error = answer if isinstance(answer, redis.RedisError) else redis.InvalidResponse(repr(answer)[:80])
            answer = [error] * len(pulled)
        for (source, batch), one in zip(pulled, answer, strict=True):
            try:
                if source.on_answer(batch, one, reached):
                    self._due[source] = None
            except Exception:
                log.exception("the answer to a batch could not be handed on")
        self._called.discard(connection)
        self._awaited.discard(connection)
        if not self._awaited:
            self._end()
        elif self._due and self._timer is None:
            self._limit_round()

    def _limit_round(self) -> None:
        self._timer = gevent.get_hub().loop.timer(_ROUND_S)
        self._timer.start(self._end)

    def _end(self) -> None:
        """Begin the next round, although some connections may not have answered."""
        self._awaited.clear()
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        if self._due:
            self._begin_soon()
