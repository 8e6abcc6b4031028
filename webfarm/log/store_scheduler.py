"""StoreScheduler: in which all batches of a worker are stored.

A call of the store script takes the batches of all shards that are in one Redis. What is emitted while it is under way
is stored by the next. Of a cluster's primaries, each is called once in a round, so that the answers come together: each
turn of the loop with something to do costs much more than one message more in it.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import gevent
import redis

from webfarm.log.batch import BYTES, MESSAGES, Batch, join_batches

if TYPE_CHECKING:
    from webfarm.log.writer import Writer
    from webfarm.redis.pipeline import Pipeline

log = logging.getLogger(__name__)

_LATE_S = 0.004  # for replicas to say that they have it
_ROUND_S = 0.02  # that somebody waits for the end of a round: one primary that is slow holds up no other


class StoreScheduler:
    """Stores what all writers of a worker have, in the hub.

    A round ends when all have answered that were called in it, or soon after somebody else has something to store.
    """

    def __init__(self) -> None:
        self._due: dict[Writer, None] = {}
        self._called: set[Pipeline] = set()  # and have not answered
        self._awaited: set[Pipeline] = set()  # those of this round
        self._is_beginning = False
        self._timer: Any = None

    def add(self, writer: "Writer") -> None:
        """Take a batch of ``writer`` along in the next round."""
        self._due[writer] = None
        if not self._awaited:
            self._begin_soon()
        elif self._timer is None and writer.connection not in self._called:
            self._timer = gevent.get_hub().loop.timer(_ROUND_S)
            self._timer.start(self._end)

    def _begin_soon(self) -> None:
        if not self._is_beginning:
            self._is_beginning = True
            run_callback = gevent.get_hub().loop.run_callback
            run_callback(run_callback, self._begin)  # behind what others have put there in this turn of the loop

    def _begin(self) -> None:
        self._is_beginning = False
        due, self._due = self._due, {}
        groups: dict[Pipeline, list[Writer]] = {}
        for writer in due:
            connection = writer.connection  # which may be another one by now
            if connection is None:
                writer.insist()
            elif connection in self._called:
                self._due[writer] = None
            else:
                groups.setdefault(connection, []).append(writer)
        for connection, writers in groups.items():
            self._call(connection, writers)

    def _call(self, connection: "Pipeline", writers: "Sequence[Writer]") -> None:
        batches: list[Batch] = []
        taken: list[Writer] = []
        messages, size = MESSAGES, BYTES
        for index, writer in enumerate(writers):
            if messages <= 0 or size <= 0:
                self._due = dict.fromkeys(writers[index:]) | self._due
                break
            batch = writer.take_batch(messages, size)
            if batch is not None:
                batches.append(batch)
                taken.append(writer)
                messages, size = messages - batch.messages, size - batch.bytes
        if not batches:
            return
        command = connection.describe_script("store", (), join_batches([batch.arguments for batch in batches]))
        replicas = max(batch.replicas for batch in batches)
        on_answer = partial(self._on_answer, connection, batches)
        self._called.add(connection)
        self._awaited.add(connection)
        if replicas:
            loop = gevent.get_hub().loop
            late = loop.timer(_LATE_S)
            late.start(loop.run_callback, self._hurry, connection, taken[0])  # once what has come by then was read
            connection.ask_written(command, replicas, partial(self._on_written, late, on_answer))
        else:
            connection.ask(command, lambda answer: on_answer(answer, 0))

    def _hurry(self, connection: "Pipeline", writer: "Writer") -> None:
        if connection in self._called:
            writer.hurry_replicas()

    def _on_written(self, late: Any, on_answer: Any, answer: Any, reached: Any) -> None:
        late.close()
        on_answer(answer, reached)

    def _on_answer(self, connection: "Pipeline", batches: list[Batch], answer: Any, reached: Any) -> None:
        if isinstance(reached, redis.RedisError):
            answer = reached
        if not isinstance(answer, list) or len(answer) != len(batches):  # an error, or no answer to this
            error = answer if isinstance(answer, redis.RedisError) else redis.InvalidResponse(repr(answer)[:80])
            answer = [error] * len(batches)
        for batch, one in zip(batches, answer, strict=True):
            try:
                batch.on_answer(one, reached)
            except Exception:
                log.exception("a batch's answer could not be handed on")
        self._called.discard(connection)
        self._awaited.discard(connection)
        if not self._awaited:
            self._end()

    def _end(self) -> None:
        """Begin the next round, whoever has not answered."""
        self._awaited.clear()
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        if self._due:
            self._begin_soon()
