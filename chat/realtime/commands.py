"""One connection to Redis for all commands of a worker.

What greenlets ask within a turn of the loop leaves together, and is answered in order; nobody holds a connection for
himself. A command is never repeated: if the connection breaks, whoever waits is told, and what is asked next opens
another one.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Sequence
from functools import cache
from typing import Any

import gevent
import redis
from gevent.event import AsyncResult

from chat.realtime.scripts import NAMES, get_source

log = logging.getLogger(__name__)

_ANSWER_S = 3.0


class Commands:
    """Commands and scripts, each asked by a greenlet that waits for its answer.

    Args:
        client: says which Redis; its pool gives the connection.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool: Any = client.connection_pool
        self._connection: Any = None
        self._unsent: list[tuple[tuple[Any, ...], AsyncResult[Any]]] = []
        self._unanswered: deque[AsyncResult[Any]] = deque()
        self._is_sending = False
        self._is_reading = False

    def run(self, name: str, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        """Run the script ``name`` (``chat.realtime.scripts``); return its answer. Raises ``redis.RedisError``."""
        try:
            return self.execute("EVALSHA", _get_sha(name), len(keys), *keys, *arguments)
        except redis.exceptions.NoScriptError:  # somebody has flushed them
            self.execute("SCRIPT", "LOAD", get_source(name))
            return self.execute("EVALSHA", _get_sha(name), len(keys), *keys, *arguments)

    def execute(self, *command: Any) -> Any:
        """Execute a command; return its answer, texts as bytes. Raises ``redis.RedisError``."""
        result: AsyncResult[Any] = AsyncResult()
        self._unsent.append((command, result))
        if not self._is_sending:
            self._is_sending = True
            gevent.spawn(self._send)
        return result.get()

    def _send(self) -> None:
        try:
            while self._unsent:
                if self._connection is None:
                    self._connect()
                connection, packed = self._connection, self._pack()
                if not packed:
                    continue
                connection.send_packed_command(packed, check_health=False)
                if not self._is_reading:
                    self._is_reading = True
                    gevent.spawn(self._read, connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            self._fail(error)
        finally:
            self._is_sending = False

    def _pack(self) -> list[Any]:
        """Return what is to be sent; what can't be is its asker's fault alone."""
        unsent, self._unsent = self._unsent, []
        packed: list[Any] = []
        for command, result in unsent:
            try:
                packed += self._connection.pack_command(*command)
            except (ValueError, redis.DataError) as error:
                result.set_exception(error)
            else:
                self._unanswered.append(result)
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
        self._connection = connection

    def _read(self, connection: Any) -> None:
        """Read answers until all have come."""
        unanswered = self._unanswered  # of this connection's life; the object may be another life's by now
        try:
            while unanswered and self._unanswered is unanswered:
                try:
                    answer = connection.read_response(disable_decoding=True, timeout=_ANSWER_S)
                except redis.ResponseError as error:
                    unanswered.popleft().set_exception(error)
                else:
                    unanswered.popleft().set(answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            if self._unanswered is unanswered:
                self._fail(error)
        finally:
            if self._unanswered is unanswered:
                self._is_reading = False

    def _fail(self, error: Exception) -> None:
        """Give the connection up, and tell whoever waits."""
        connection, self._connection = self._connection, None
        self._is_reading = False
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)
        if not isinstance(error, redis.RedisError):
            error = redis.ConnectionError(str(error))
        waiting = [*self._unanswered, *(result for _, result in self._unsent)]
        self._unanswered, self._unsent = deque(), []
        for result in waiting:
            result.set_exception(error)


@cache
def _get_sha(name: str) -> str:
    return hashlib.sha1(get_source(name).encode(), usedforsecurity=False).hexdigest()
