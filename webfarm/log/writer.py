"""Writing to the log: messages that are emitted while a batch is being stored are the next batch.

A batch whose answer was lost is repeated under its number: it is stored once. All of it happens in the hub, unless
something else than the answer is to be waited for.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import gevent
import redis
from gevent.hub import Waiter

from webfarm.errors import Unavailable
from webfarm.log.batch import BYTES, MESSAGES, Batch, Outgoing, Waiting, decode_answer, describe_batch, join_batches
from webfarm.log.follower import Follower
from webfarm.log.shard_log import ShardLog, Stored
from webfarm.log.store_scheduler import StoreScheduler
from webfarm.monitoring.counters import counters
from webfarm.redis.commands import REPLICAS_MS, Commands, Connection

log = logging.getLogger(__name__)

_STORE_S = 4.0  # to store a message; then its sender gets an error
_RETRY_S = 0.05


class Writer:
    """The queue of messages for one shard of the log: a ``BatchSource`` of the scheduler.

    Args:
        commands: a connection to the shard's Redis.
        scheduler: pulls the batches of all shards.
        shard: the log.
        follower: knows whether messages may be stored at the moment.
        count_replicas: says how many replicas must have a message before ``store`` returns.
    """

    def __init__(
        self,
        commands: Commands,
        scheduler: StoreScheduler,
        shard: ShardLog,
        follower: Follower,
        count_replicas: Callable[[], int] = lambda: 0,
    ) -> None:
        self._commands = commands
        self._scheduler = scheduler
        self._log = shard
        self._follower = follower
        self._count_replicas = count_replicas
        self._batch_key = ""
        self._batch_number = 0
        self._pending: deque[Waiting] = deque()
        self._is_writing = False

    def start(self, node: str) -> None:
        """Store in the name of ``node``."""
        self._batch_key = self._log.keys.batch(node)

    def store(self, messages: Sequence[Outgoing]) -> list[Stored]:
        """Store and publish ``messages``, in order; wait until that is done.

        Raises:
            Unavailable: Redis is unreachable, full or read-only. It may have stored them; a message with ``once``
                can be stored again.
            NoRecipient: there is no such session.
        """
        deadline = monotonic() + _STORE_S
        waiting = [Waiting(message, Waiter(), deadline) for message in messages]
        self._pending += waiting
        if not self._is_writing:
            self._is_writing = True
            self._scheduler.add(self)
        answers: list[Stored | Exception] = [waiter.get() for _, waiter, _ in waiting]
        stored = []
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            stored.append(answer)
        return stored

    # For the scheduler

    @property
    def connection(self) -> Connection | None:
        """Where batches are stored at the moment; ``None``: nobody knows."""
        return self._commands.connection

    def take_batch(self, most: int, most_bytes: int) -> Batch | None:
        """Take the next batch out of the queue; ``None`` if it has to wait, and is stored by a call of its own."""
        if self._commands.connection is None or not self._follower.is_ready:
            waiting, _ = self._take(MESSAGES, BYTES)
            gevent.spawn(self._insist, self._batch_number, waiting)
            return None
        waiting, size = self._take(most, most_bytes)
        try:
            arguments = self._describe(self._batch_number, waiting)
            return Batch(self._batch_number, waiting, size, arguments, self._count_replicas())
        except Exception as error:  # noqa: BLE001 - whatever it is, the next batch is to be written
            self._fail(waiting, error)
            self._go_on()
            return None

    def on_answer(self, batch: Batch, answer: Any, reached: Any) -> bool:
        """Tell the senders of a batch; return whether more waits."""
        if isinstance(answer, redis.RedisError):  # nobody knows whether it is stored
            gevent.spawn(self._insist, batch.number, batch.waiting)
            return False
        if reached < batch.replicas:
            self._fail(batch.waiting, _describe_missing(reached, batch.replicas))
        else:
            self._finish(batch.waiting, answer)
        self._is_writing = bool(self._pending)
        return self._is_writing

    def hurry_replicas(self) -> None:
        """Have something written, as replicas are late to confirm a batch.

        The kernel may hold back what they say until the primary sends something: Nagle's algorithm, up to 40 ms.
        Valkey 9.1 does not set ``TCP_NODELAY`` on a replica's connection to its primary.
        """
        self._follower.position.request_marker()

    def _take(self, most: int, most_bytes: int) -> tuple[list[Waiting], int]:
        """Take a batch out of the queue, with a number of its own; return its size, too."""
        pending = self._pending
        waiting = [pending.popleft()]
        size = waiting[0].message.size
        while pending and len(waiting) < most and (more := size + pending[0].message.size) <= most_bytes:
            waiting.append(pending.popleft())
            size = more
        self._batch_number += 1
        return waiting, size

    def _describe(self, number: int, waiting: Sequence[Waiting]) -> list[Any]:
        messages = [message for message, _, _ in waiting]
        return describe_batch(
            self._log.keys, self._log.retention, self._log.clock_arguments, self._batch_key, number, messages
        )

    def _finish(self, waiting: Sequence[Waiting], answer: Any) -> None:
        """Hand each message's answer to its sender."""
        try:
            answers = self._take_note(answer, len(waiting))
        except Exception as error:  # noqa: BLE001
            self._fail(waiting, error)
        else:
            _tell(waiting, answers)

    def _fail(self, waiting: Sequence[Waiting], error: Exception) -> None:
        if not isinstance(error, Unavailable | redis.RedisError):
            log.error("storing failed", exc_info=error)
        _tell(waiting, [Unavailable(f"Redis could not store it: {error}")] * len(waiting))

    def _take_note(self, answer: list[Any], count: int) -> list[Stored | Exception]:
        """Return the store script's answer to each of ``count`` messages. Raises ``Unavailable``: it is to others."""
        epoch, *answers = answer
        if len(answers) != count:
            raise Unavailable(f"the store script answered for {len(answers)} messages, not {count}")
        counters.stored += len(answers)
        decoded = [decode_answer(id, nodes) for id, nodes in answers]
        self._log.see(epoch, max([one.id for one in decoded if isinstance(one, Stored)], default=0))
        return decoded

    # By a call of its own

    def _insist(self, number: int, waiting: Sequence[Waiting]) -> None:
        """Run the script for this batch alone, again and again while its answer is lost."""
        counters.insisted += 1
        try:
            self._finish(waiting, self._execute(number, waiting))
        except Exception as error:  # noqa: BLE001
            self._fail(waiting, error)
        self._go_on()

    def _go_on(self) -> None:
        self._is_writing = bool(self._pending)
        if self._pending:
            self._scheduler.add(self)

    def _execute(self, number: int, waiting: Sequence[Waiting]) -> Any:
        deadline = waiting[0].deadline
        while True:
            if not self._follower.wait_until_ready(max(deadline - monotonic(), 0.0)):
                raise Unavailable("Redis does not answer")
            life = self._commands.life
            try:
                [answer] = self._commands.run("log/store", (), join_batches([self._describe(number, waiting)]))
                if replicas := self._count_replicas():
                    self._wait_for_replicas(life, replicas)
            except (redis.ConnectionError, redis.TimeoutError) as error:
                if monotonic() > deadline:
                    raise Unavailable(f"Redis does not answer: {error}") from error
                gevent.sleep(_RETRY_S)
            else:
                return answer

    def _wait_for_replicas(self, life: object, replicas: int) -> None:
        """Wait until so many replicas have what was written by the connection ``life``.

        Raises ``Unavailable``. Raises ``redis.ConnectionError`` if there is another connection: that has written
        nothing.
        """
        if life is None or self._commands.life is not life:
            raise redis.ConnectionError("another connection has written it")
        wait_for_replicas(self._commands.execute, replicas)


def _tell(waiting: Sequence[Waiting], answers: Sequence[Stored | Exception]) -> None:
    run_callback = gevent.get_hub().loop.run_callback
    now = monotonic()
    for (_, waiter, deadline), answer in zip(waiting, answers, strict=True):
        counters.storing.observe(now - (deadline - _STORE_S))
        run_callback(waiter.switch, answer)


def wait_for_replicas(execute: Callable[..., Any], replicas: int) -> None:
    """Wait until so many replicas have what the connection of ``execute`` has written. Raises ``Unavailable``."""
    reached: int = execute("WAIT", replicas, REPLICAS_MS)
    if reached < replicas:
        raise _describe_missing(reached, replicas)


def _describe_missing(reached: int, replicas: int) -> Unavailable:
    return Unavailable(f"{reached} replicas have it, not {replicas}")
