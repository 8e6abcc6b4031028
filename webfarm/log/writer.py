"""Writing to the log: what is emitted while a batch is being stored is the next one.

A batch whose answer was lost is repeated under its number: it is stored once. All of it happens in the hub, as long as
there is nothing to be waited for but the answer.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any

import gevent
import redis
from gevent.hub import Waiter

from webfarm.errors import Unavailable
from webfarm.log.batch import BYTES, MESSAGES, Batch, Outgoing, decode_answer, describe_batch, join_batches
from webfarm.log.follower import Follower
from webfarm.log.shard_log import ShardLog, Stored
from webfarm.log.store_scheduler import StoreScheduler
from webfarm.monitoring.counters import counters
from webfarm.redis.commands import Commands
from webfarm.redis.pipeline import REPLICAS_MS, Pipeline

log = logging.getLogger(__name__)

_STORE_S = 4.0  # to store a message; then its sender is told that it could not be done
_RETRY_S = 0.05

_Waiting = tuple[Outgoing, Any, float]  # a message, a ``Waiter`` for its answer, and until when it is tried


class Writer:
    """What stores messages in one shard of the log.

    Args:
        commands: a connection to the Redis that it is in.
        rounds: in which it is written, with all other shards.
        shard: the log.
        follower: which knows whether messages may be stored just now.
        count_replicas: says how many replicas must have a message before ``store`` returns.
    """

    def __init__(
        self,
        commands: Commands,
        rounds: StoreScheduler,
        shard: ShardLog,
        follower: Follower,
        count_replicas: Callable[[], int] = lambda: 0,
    ) -> None:
        self._commands = commands
        self._rounds = rounds
        self._log = shard
        self._follower = follower
        self._count_replicas = count_replicas
        self._batch_key = ""
        self._batch_number = 0
        self._pending: deque[_Waiting] = deque()
        self._is_writing = False

    def start(self, node: str) -> None:
        """Store in the name of ``node``."""
        self._batch_key = self._log.keys.batch(node)

    def store(self, messages: Sequence[Outgoing]) -> list[Stored]:
        """Store and publish ``messages``, in order; wait until that is done.

        Raises:
            Unavailable: Redis is away, full or read-only. Whether it has them is not known, but a message with
                ``once`` can be stored again.
            NoRecipient: there is no such session.
        """
        deadline = monotonic() + _STORE_S
        waiting: list[_Waiting] = [(message, Waiter(), deadline) for message in messages]
        self._pending += waiting
        if not self._is_writing:
            self._is_writing = True
            self._rounds.add(self)
        answers: list[Stored | Exception] = [waiter.get() for _, waiter, _ in waiting]
        stored = []
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            stored.append(answer)
        return stored

    @property
    def connection(self) -> Pipeline | None:
        """Where its batches are stored just now; ``None``: nobody knows."""
        return self._commands.connection

    def take_batch(self, most: int, most_bytes: int) -> Batch | None:
        """Take out what is stored next; ``None`` if that can't be done just now, and is insisted on.

        Args:
            most: messages.
            most_bytes: of all but the first.
        """
        if not self._follower.is_ready:
            self.insist()
            return None
        waiting, size = self._take(most, most_bytes)
        number = self._batch_number
        try:
            replicas = self._count_replicas()
            on_answer = partial(self._on_answer, number, waiting, replicas)
            return Batch(len(waiting), size, self._describe(number, waiting), replicas, on_answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next batch is to be written
            self._fail(waiting, error)
            return None

    def insist(self) -> None:
        """Store what is next by a call of its own, as soon as that can be done."""
        waiting, _ = self._take(MESSAGES, BYTES)
        gevent.spawn(self._insist, self._batch_number, waiting)

    def hurry_replicas(self) -> None:
        """Have something written, as replicas are late in saying what they have.

        The kernel may hold back what they say until something comes from the primary (Nagle's algorithm, up to 40 ms):
        Valkey 9.1 does not set ``TCP_NODELAY`` on a replica's connection to its primary.
        """
        self._follower.position.request_marker()

    def _on_answer(self, number: int, batch: "list[_Waiting]", replicas: int, answer: Any, reached: Any) -> None:
        if isinstance(answer, redis.RedisError):  # whether it is stored is not known
            gevent.spawn(self._insist, number, batch)
        elif reached < replicas:
            self._fail(batch, _describe_missing(reached, replicas))
        else:
            try:
                answers = self._take_note(answer, len(batch))
            except Exception as error:  # noqa: BLE001
                self._fail(batch, error)
            else:
                self._finish(batch, answers)

    def _insist(self, number: int, batch: "list[_Waiting]") -> None:
        """Run the script for this batch alone, again and again while its answer is lost."""
        counters.insisted += 1
        try:
            answers = self._execute(number, batch)
        except Exception as error:  # noqa: BLE001
            self._fail(batch, error)
        else:
            self._finish(batch, answers)

    def _fail(self, batch: "list[_Waiting]", error: Exception) -> None:
        """Tell whoever waits, and go on with the next batch."""
        if not isinstance(error, Unavailable | redis.RedisError):
            log.error("storing failed", exc_info=error)
        self._finish(batch, [Unavailable(f"Redis could not store it: {error}")] * len(batch))

    def _finish(self, batch: "list[_Waiting]", answers: "Sequence[Stored | Exception]") -> None:
        """Hand each message's answer to who waits for it; go on with the next batch."""
        run_callback = gevent.get_hub().loop.run_callback
        now = monotonic()
        for (_, waiter, deadline), answer in zip(batch, answers, strict=True):
            counters.storing.observe(now - (deadline - _STORE_S))
            run_callback(waiter.switch, answer)
        self._is_writing = bool(self._pending)
        if self._pending:
            self._rounds.add(self)

    def _take(self, most: int, most_bytes: int) -> "tuple[list[_Waiting], int]":
        """Take out what is pending, as a batch with a number of its own; return its size, too."""
        pending = self._pending
        batch = [pending.popleft()]
        size = batch[0][0].size
        while pending and len(batch) < most and (more := size + pending[0][0].size) <= most_bytes:
            batch.append(pending.popleft())
            size = more
        self._batch_number += 1
        return batch, size

    def _describe(self, number: int, batch: "list[_Waiting]") -> list[Any]:
        messages = [message for message, _, _ in batch]
        return describe_batch(
            self._log.keys, self._log.limits, self._log.clock_arguments, self._batch_key, number, messages
        )

    def _execute(self, number: int, batch: "list[_Waiting]") -> "list[Stored | Exception]":
        deadline = batch[0][2]
        while True:
            if not self._follower.wait_until_ready(max(deadline - monotonic(), 0.0)):
                raise Unavailable("Redis does not answer")
            life = self._commands.life
            try:
                [answer] = self._commands.run("store", (), join_batches([self._describe(number, batch)]))
                if replicas := self._count_replicas():
                    self._wait_for_replicas(life, replicas)
            except (redis.ConnectionError, redis.TimeoutError) as error:
                if monotonic() > deadline:
                    raise Unavailable(f"Redis does not answer: {error}") from error
                gevent.sleep(_RETRY_S)
            else:
                return self._take_note(answer, len(batch))

    def _take_note(self, answer: list[Any], count: int) -> "list[Stored | Exception]":
        """Return what the store script says of each of ``count`` messages. Raises ``Unavailable``: of others."""
        epoch, *answers = answer
        if len(answers) != count:
            raise Unavailable(f"the store script answered for {len(answers)} messages, not {count}")
        counters.stored += len(answers)
        decoded = [decode_answer(id, nodes) for id, nodes in answers]
        self._log.see(epoch, max([one.id for one in decoded if isinstance(one, Stored)], default=0))
        return decoded

    def _wait_for_replicas(self, life: object, replicas: int) -> None:
        """Wait until so many replicas have what was written by the connection ``life``.

        Raises ``Unavailable``, and ``redis.ConnectionError`` if it is another one by now: that has written nothing.
        """
        if life is None or self._commands.life is not life:
            raise redis.ConnectionError("another connection has written it")
        wait_for_replicas(self._commands.execute, replicas)


def wait_for_replicas(execute: Callable[..., Any], replicas: int) -> None:
    """Wait until so many replicas have what the connection of ``execute`` has written. Raises ``Unavailable``."""
    reached: int = execute("WAIT", replicas, REPLICAS_MS)
    if reached < replicas:
        raise _describe_missing(reached, replicas)


def _describe_missing(reached: int, replicas: int) -> Unavailable:
    return Unavailable(f"{reached} replicas have it, not {replicas}")
