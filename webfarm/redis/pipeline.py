"""One connection to Redis for all commands of a worker.

All commands of one turn of the loop leave together, and are answered in order; no greenlet holds a connection for
itself. A command is never repeated: if the connection breaks, all who wait get an error, and the next command opens
another connection.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

import gevent
import hiredis
import redis

from webfarm.redis.commands import REPLICAS_MS, Answer, Command, Connection
from webfarm.redis.scripts import NAMES, get_source
from webfarm.redis.wire import Wire

_ANSWER_S = 2.5  # without an answer the connection is given up
_CHECK_S = 0.5


class Pipeline(Connection):
    """Commands and scripts over one connection.

    Args:
        client: knows which Redis; its pool gives the connection.
        is_cluster: whether it is a cluster's.
    """

    def __init__(self, client: redis.Redis, *, is_cluster: bool = False) -> None:
        self.is_cluster = is_cluster
        self._pool: Any = client.connection_pool
        self._wire: Wire | None = None
        self._unsent: list[tuple[Command, Answer]] = []
        self._waiting: list[tuple[list[Any], Callable[[Any, Any], object]]] = []  # for replicas to have what is next
        self._replicas = 0  # how many of them
        self._unanswered: deque[tuple[float, Answer]] = deque()  # when each was asked, in order
        self._is_sending = False  # or about to, or connecting
        self._connecting: gevent.Greenlet[[], None] | None = None
        self._timer: Any = None

    @property
    def life(self) -> object:
        return self._wire

    @property
    def connection(self) -> "Pipeline":
        return self

    def ask(self, command: Command, on_answer: Answer) -> None:
        self._unsent.append((command, on_answer))
        if not self._is_sending:
            self._is_sending = True
            gevent.get_hub().loop.run_callback(self._send)

    def ask_written(self, command: Command, replicas: int, on_answer: Callable[[Any, Any], object]) -> None:
        answers: list[Any] = []
        self.ask(command, answers.append)
        self._waiting.append((answers, on_answer))
        self._replicas = max(self._replicas, replicas)

    def move_to(self, address: tuple[str, int]) -> None:
        """Give the connection up, unless it is to ``address``."""
        if self._wire is not None:
            self._wire.move_to(address)

    def close(self, reason: str) -> None:
        """Give the connection up, also one that is being made; all who wait get an error."""
        gevent.get_hub().loop.run_callback(self._close, redis.ConnectionError(reason))

    def _close(self, error: redis.ConnectionError) -> None:
        if self._wire is not None:
            self._wire.lose(error)
        elif self._connecting is not None:
            gevent.spawn(self._connecting.kill, error, block=False)  # once it has begun: else nobody would be told

    def _send(self) -> None:
        if self._wire is None:
            if self._unsent and self._connecting is None:  # else it was due before the last connection broke
                self._connecting = gevent.spawn(self._connect)
            return
        self._is_sending = False
        unsent, self._unsent = self._unsent + self._take_wait(), []
        now, packed = monotonic(), []
        for command, on_answer in unsent:
            try:
                packed.append(hiredis.pack_command(command))
            except (TypeError, ValueError) as error:  # the fault of its sender alone
                gevent.get_hub().loop.run_callback(on_answer, redis.DataError(str(error)))
            else:
                self._unanswered.append((now, on_answer))
        if packed:
            self._wire.send(b"".join(packed))

    def _take_wait(self) -> list[tuple[Command, Answer]]:
        """Return the ``WAIT`` to be sent behind the commands, if anybody wants it."""
        waiting, self._waiting = self._waiting, []
        replicas, self._replicas = self._replicas, 0
        if not waiting:
            return []

        def on_waited(reached: Any) -> None:
            for answers, on_answer in waiting:
                on_answer(answers[0] if answers else reached, reached)  # none: it could not be sent, nor could this

        return [(("WAIT", replicas, REPLICAS_MS), on_waited)]

    def _connect(self) -> None:
        connection = None
        try:
            connection = self._pool.get_connection()
            for name in NAMES:
                source = get_source(name, is_cluster=self.is_cluster)
                connection.send_command("SCRIPT", "LOAD", source, check_health=False)
            for _ in NAMES:
                connection.read_response()
            self._wire = Wire(connection, self._on_reply, partial(self._fail, connection))
        except BaseException as error:  # whatever it is, those who wait are told
            gevent.get_hub().loop.run_callback(self._fail, connection, error)
            if not isinstance(error, Exception):
                raise
        else:
            self._connecting = None
            self._timer = gevent.get_hub().loop.timer(_CHECK_S, _CHECK_S)
            self._timer.start(self._check)
            gevent.get_hub().loop.run_callback(self._send)

    def _on_reply(self, reply: Any) -> None:
        is_demoted = isinstance(reply, redis.ReadOnlyError) and getattr(self._pool, "is_master", False)
        if is_demoted and self._wire is not None:
            self._wire.lose(redis.ConnectionError("it is no primary any more"))  # Sentinel knows which one is
            return
        self._unanswered.popleft()[1](reply)

    def _check(self) -> None:
        """Give the connection up if an answer is overdue; what came while this process was stalled is read first."""
        if self._wire is not None and self._is_overdue():
            self._wire.read()
        if self._wire is not None and self._is_overdue():
            self._wire.lose(redis.TimeoutError(f"no answer for {_ANSWER_S} s"))

    def _is_overdue(self) -> bool:
        if self._wire is None or not self._unanswered:
            return False
        return monotonic() - max(self._unanswered[0][0], self._wire.heard_at) > _ANSWER_S  # a long one may be coming

    def _fail(self, connection: Any, error: BaseException) -> None:
        """Give the connection up, and tell all who wait."""
        if self._timer is not None:
            self._timer.close()
        self._wire = self._timer = self._connecting = None
        self._is_sending = False
        waiting = [on_answer for _, on_answer in (*self._unanswered, *self._unsent, *self._take_wait())]
        self._unanswered, self._unsent = deque(), []
        if connection is not None:
            connection.disconnect()
            gevent.spawn(self._pool.release, connection)
        reason = error if isinstance(error, redis.RedisError) else redis.ConnectionError(str(error))
        for on_answer in waiting:
            on_answer(reason)
