"""One connection to Redis for all commands of a worker.

What greenlets ask within a turn of the loop leaves together, and is answered in order; nobody holds a connection for
himself. A command is never repeated: if the connection breaks, whoever waits is told, and what is asked next opens
another one.
"""

import hashlib
from collections import deque
from collections.abc import Sequence
from functools import cache
from time import monotonic
from typing import Any

import gevent
import redis
from gevent.event import AsyncResult

from chat.realtime.scripts import NAMES, get_source

_ANSWER_S = 2.5  # below the socket's own timeout


class Commands:
    """Commands and scripts, each asked by a greenlet that waits for its answer.

    Args:
        client: says which Redis; its pool gives the connection.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool: Any = client.connection_pool
        self._connection: Any = None
        self._unsent: list[tuple[tuple[Any, ...], AsyncResult[Any]]] = []
        # When each was asked, in order; another object whenever the connection is another one.
        self._unanswered: deque[tuple[float, AsyncResult[Any]]] = deque()
        self._is_sending = False

    def run(self, name: str, keys: Sequence[Any], arguments: Sequence[Any], *, at_once: bool = False) -> Any:
        """Run the script ``name`` (``chat.realtime.scripts``); return its answer. Raises ``redis.RedisError``."""
        command = ("EVALSHA", _get_sha(name), len(keys), *keys, *arguments)
        try:
            return self.execute(*command, at_once=at_once)
        except redis.exceptions.NoScriptError:  # somebody has flushed them
            self.execute("SCRIPT", "LOAD", get_source(name))
            return self.execute(*command)

    def execute(self, *command: Any, at_once: bool = False) -> Any:
        """Execute a command; return its answer, texts as bytes. Raises ``redis.RedisError``.

        ``at_once``: it does not wait for what others ask in this turn of the loop.
        """
        result: AsyncResult[Any] = AsyncResult()
        self._unsent.append((command, result))
        if not self._is_sending:
            self._is_sending = True
            if at_once:
                self._send()
            else:
                gevent.spawn(self._send)
        return result.get()

    def _send(self) -> None:
        try:
            while self._unsent:
                if self._connection is None:
                    self._connect()
                packed = self._pack()
                if packed:
                    self._connection.send_packed_command(packed, check_health=False)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            self._fail(error)
        finally:
            self._is_sending = False

    def _pack(self) -> list[Any]:
        """Return what is to be sent; what can't be is its asker's fault alone."""
        unsent, self._unsent = self._unsent, []
        packed: list[Any] = []
        now = monotonic()
        for command, result in unsent:
            try:
                packed += self._connection.pack_command(*command)
            except (ValueError, redis.DataError) as error:
                result.set_exception(error)
            else:
                self._unanswered.append((now, result))
        return packed

    def _connect(self) -> None:
        connection = self._pool.get_connection()
        try:
            for name in NAMES:
                connection.send_command("SCRIPT", "LOAD", get_source(name), check_health=False)
            for _ in NAMES:
                connection.read_response()
        except BaseException:
            connection.disconnect()
            self._pool.release(connection)
            raise
        self._connection, self._unanswered = connection, deque()
        gevent.spawn(self._read, connection, self._unanswered)

    def _read(self, connection: Any, unanswered: "deque[tuple[float, AsyncResult[Any]]]") -> None:
        """Hand out answers as long as the connection lives."""
        try:
            while self._unanswered is unanswered:
                try:
                    answer = connection.read_response(disable_decoding=True, disconnect_on_error=False)
                except redis.ResponseError as error:
                    unanswered.popleft()[1].set_exception(error)
                except redis.TimeoutError:  # of the socket, which is quiet for hours if nothing is asked
                    if unanswered and monotonic() - unanswered[0][0] > _ANSWER_S:
                        raise
                else:
                    unanswered.popleft()[1].set(answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            if self._unanswered is unanswered:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Give the connection up, and tell whoever waits."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)
        if not isinstance(error, redis.RedisError):
            error = redis.ConnectionError(str(error))
        waiting = [result for _, result in (*self._unanswered, *self._unsent)]
        self._unanswered, self._unsent = deque(), []
        for result in waiting:
            result.set_exception(error)


@cache
def _get_sha(name: str) -> str:
    return hashlib.sha1(get_source(name).encode(), usedforsecurity=False).hexdigest()
