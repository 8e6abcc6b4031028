"""The log: every message is stored and published in one atomic step, under an id that rises over all rooms.

A *shard* is a part of the log with one clock; an *epoch* names one unbroken life of it. What is emitted within a turn
of the loop is stored in one batch. A batch whose answer was lost is repeated under its number: it is stored once.
"""

import logging
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from time import monotonic
from typing import Any, NamedTuple

import gevent
import redis
from gevent.hub import Waiter

from chat.errors import NoRecipient, Unavailable
from chat.realtime.commands import Commands, describe_script
from chat.realtime.entry import Entry
from chat.realtime.keys import Keys
from chat.realtime.metrics import counts

log = logging.getLogger(__name__)

_FORMAT = "1"  # of what is in Redis; a farm of another one can't share it
_STORE_S = 4.0  # to store a message; then its sender is told that it could not be done
_RETRY_S = 0.05
_REPLICAS_MS = 1_000
_BATCH_MESSAGES, _BATCH_BYTES = 200, 1_000_000
_ROOMS_AT_ONCE = 250
_MAX_READ_BYTES = 16_777_216


class Limits(NamedTuple):
    """What is kept of each room."""

    length: int = 10_000
    bytes: int = 16_777_216
    ttl_s: float = 86_400.0  # of a room in which nothing happens


class Outgoing(NamedTuple):
    """A message to be stored."""

    namespace: str
    room: str | None
    body: tuple[bytes, bytes]  # of encode_body
    once: str = ""  # under this name it is stored once within known_s
    known_s: float = 0.0
    recipient: str = ""  # a sid whose session must exist


class Stored(NamedTuple):
    """Where a message is in the log, and how many nodes it reached."""

    id: int
    nodes: int


class Reading(NamedTuple):
    """What was stored in some rooms, ordered by id."""

    oldest: int  # the clock when the first of it was read
    newest: int  # the clock when the last of it was read
    entries: list[Entry]
    incomplete: list[str]  # keys of the streams of which something is missing


class _Waiting(NamedTuple):
    """A message, and who waits until it is stored."""

    message: Outgoing
    waiter: Any
    deadline: float


class Log:
    """One shard of the log.

    Args:
        commands: the connection to the Redis that it is in.
        keys: the shard's keys.
        limits: what is kept of each room.
        is_ready: whether messages may be stored just now.
        wait_until_ready: waits until messages may be stored, for some seconds; returns whether they may.
        wait_replicas: how many replicas must have a message before ``store`` returns.
        on_new_epoch: called when the log's life was found to be broken.
    """

    def __init__(
        self,
        commands: Commands,
        keys: Keys,
        limits: Limits,
        is_ready: Callable[[], bool],
        wait_until_ready: Callable[[float], bool],
        on_new_epoch: Callable[[], None],
        wait_replicas: int = 0,
    ) -> None:
        self.epoch = ""
        self.newest = 0
        self.keys = keys
        self._commands = commands
        self.limits = limits
        self._is_ready = is_ready
        self._wait_until_ready = wait_until_ready
        self._on_new_epoch = on_new_epoch
        self._wait_replicas = wait_replicas
        self._past_epochs: set[str] = set()
        self._batch_key = ""
        self._batch_number = 0
        self._pending: deque[_Waiting] = deque()
        self._is_writing = False
        self._names = (secrets.token_urlsafe(6), count())  # for epochs to come

    def start(self, node: str) -> None:
        """Store in the name of ``node``."""
        self._batch_key = self.keys.batch(node)

    @property
    def clock_arguments(self) -> tuple[str, str, str, str]:
        """What each script that opens the clock is told."""
        prefix, numbers = self._names
        return _FORMAT, f"{prefix}{next(numbers)}", self.epoch, str(self.newest)

    def see(self, epoch: bytes, newest: int | bytes) -> int:
        """Take note of the clock that a script returned; return its id."""
        name, id = epoch.decode(), int(newest)
        if name == self.epoch:
            self.newest = max(self.newest, id)
        elif name not in self._past_epochs:  # else it is a late answer
            had_begun = bool(self.epoch)
            self._past_epochs.add(self.epoch)
            self.epoch, self.newest = name, id
            if had_begun:
                self._on_new_epoch()
        return id

    def store(self, messages: Sequence[Outgoing]) -> list[Stored]:
        """Store and publish ``messages``, in order; wait until that is done.

        Raises:
            Unavailable: Redis is away, full or read-only. Whether it has them is not known, but a message with
                ``once`` can be stored again.
            NoRecipient: there is no such session.
        """
        deadline = monotonic() + _STORE_S
        waiting = [_Waiting(message, Waiter(), deadline) for message in messages]
        self._pending += waiting
        if not self._is_writing:
            self._is_writing = True
            gevent.get_hub().loop.run_callback(self._write)
        answers: list[Stored | Exception] = [one.waiter.get() for one in waiting]
        stored = []
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            stored.append(answer)
        return stored

    def find(self, namespace: str, room: str | None, once: str) -> Stored | None:
        """Return where the message is that was stored under ``once``. Raises ``redis.RedisError``."""
        known: Any = self._commands.execute("GET", self.keys.once(self.keys.stream(namespace, room), once))
        return Stored(*map(int, known.split())) if known else None

    def read(self, starts: dict[str, int], *, most: int) -> Reading | None:
        """Read what is stored in rooms after an id each; ``None`` if it is too much to be sent.

        Args:
            starts: the ids by stream.
            most: entries.

        Raises:
            redis.RedisError: it could not be read.
        """
        entries: list[Entry] = []
        incomplete: list[str] = []
        names = list(starts)
        oldest = newest = 0
        for first in range(0, max(len(names), 1), _ROOMS_AT_ONCE):
            some = names[first : first + _ROOMS_AT_ONCE]
            keys = [self.keys.clock, *(key for name in some for key in (name, self.keys.room_of(name)))]
            arguments: list[Any] = [*self.clock_arguments, most, _MAX_READ_BYTES, *(starts[name] for name in some)]
            epoch, id, is_all, missing, found = self._commands.run("read", keys, arguments)
            newest = self.see(epoch, id)
            oldest = oldest or newest
            if not is_all:
                return None
            entries += decode_entries(found, some)
            incomplete += [some[index] for index in missing]
        entries.sort()
        return Reading(oldest, newest, entries, incomplete)

    def read_history(
        self, namespace: str, room: str | None, *, before: int, most: int, most_bytes: int
    ) -> list[tuple[int, bytes]]:
        """Return ids and bodies of a room's messages before an id, newest first. Raises ``redis.RedisError``."""
        found: Any = self._commands.run("history", [self.keys.stream(namespace, room)], [before, most, most_bytes])
        return [(int(found[i]), found[i + 1]) for i in range(0, len(found), 2)]

    # Writing: one batch at a time, in the hub as long as nothing is to be waited for but its answer

    def _write(self) -> None:
        batch = self._take_batch()
        self._batch_number += 1
        keys, arguments = self._describe([waiting.message for waiting in batch])
        if self._wait_replicas or not self._is_ready():
            gevent.spawn(self._insist, batch, keys, arguments)
        else:
            command = describe_script("store", keys, self._add_head(arguments))
            self._commands.ask(command, partial(self._on_answer, batch, keys, arguments))

    def _on_answer(self, batch: "list[_Waiting]", keys: list[str], arguments: list[Any], answer: Any) -> None:
        if isinstance(answer, redis.RedisError):  # whether it is stored is not known
            gevent.spawn(self._insist, batch, keys, arguments)
        else:
            self._finish(batch, self._take_note(answer))

    def _insist(self, batch: "list[_Waiting]", keys: list[str], arguments: list[Any]) -> None:
        """Run the script, again and again while its answer is lost."""
        try:
            answers = self._execute(keys, arguments, batch[0].deadline)
        except Exception as error:
            if not isinstance(error, Unavailable | redis.RedisError):
                log.exception("storing failed")
            answers = [Unavailable(f"Redis could not store it: {error}")] * len(batch)
        self._finish(batch, answers)

    def _finish(self, batch: "list[_Waiting]", answers: "Sequence[Stored | Exception]") -> None:
        """Hand each message's answer to who waits for it; go on with the next batch."""
        run_callback = gevent.get_hub().loop.run_callback
        for waiting, answer in zip(batch, answers, strict=True):
            run_callback(waiting.waiter.switch, answer)
        self._is_writing = bool(self._pending)
        if self._pending:
            run_callback(self._write)

    def _take_batch(self) -> "list[_Waiting]":
        batch = [self._pending.popleft()]
        size = sum(map(len, batch[0].message.body))
        while self._pending and len(batch) < _BATCH_MESSAGES:
            size += sum(map(len, self._pending[0].message.body))
            if size > _BATCH_BYTES:
                break
            batch.append(self._pending.popleft())
        return batch

    def _execute(self, keys: list[str], arguments: list[Any], deadline: float) -> "list[Stored | Exception]":
        while True:
            if not self._wait_until_ready(max(deadline - monotonic(), 0.0)):
                raise Unavailable("Redis does not answer")
            try:
                answer = self._commands.run("store", keys, self._add_head(arguments))
                if self._wait_replicas:
                    self._wait_for_replicas()
            except (redis.ConnectionError, redis.TimeoutError) as error:
                if monotonic() > deadline:
                    raise Unavailable(f"Redis does not answer: {error}") from error
                gevent.sleep(_RETRY_S)
            else:
                return self._take_note(answer)

    def _add_head(self, arguments: list[Any]) -> list[Any]:
        return [*self.clock_arguments, self._batch_number, *arguments]

    def _take_note(self, answer: list[Any]) -> "list[Stored | Exception]":
        """Return what the store script says of each message."""
        epoch, *answers = answer
        counts.stored += len(answers)
        self.see(epoch, max((int(id) for id, _ in answers if id), default=0))
        return [_decode_answer(id, nodes) for id, nodes in answers]

    def _wait_for_replicas(self) -> None:
        """Wait until enough replicas have what this connection has written. Raises ``Unavailable``."""
        reached = self._commands.execute("WAIT", self._wait_replicas, _REPLICAS_MS)
        if reached < self._wait_replicas:
            raise Unavailable(f"{reached} replicas have it, not {self._wait_replicas}")

    def _describe(self, messages: list[Outgoing]) -> tuple[list[str], list[Any]]:
        keys, limits = self.keys, self.limits
        names = [keys.clock, self._batch_key]
        arguments: list[Any] = [limits.length, limits.bytes, int(limits.ttl_s * 1000)]
        for namespace, room, body, once, known_s, recipient in messages:
            names += (
                stream := keys.stream(namespace, room),
                keys.room_of(stream),
                keys.once(stream, once) if once else keys.clock,
                keys.session(recipient) if recipient else keys.clock,
            )
            arguments += (int(known_s * 1000) if once else 0, 1 if recipient else 0, *body)
        return names, arguments


def _decode_answer(id: bytes, nodes: Any) -> Stored | Exception:
    """Return what the store script's answer to one message means."""
    if id:
        return Stored(int(id), nodes)
    if nodes == b"recipient":
        return NoRecipient("Nobody by that id is connected.")
    return Unavailable(f"Redis could not store it: {nodes.decode()}")


def decode_entries(found: list[Any], names: Sequence[str]) -> list[Entry]:
    """Return the entries that a script's list of index, id, prev and body stands for."""
    return [Entry(int(id), int(prev), names[index], body) for index, id, prev, body in _in_fours(found)]


def _in_fours(items: list[Any]) -> Any:
    iterator = iter(items)
    return zip(iterator, iterator, iterator, iterator, strict=True)
