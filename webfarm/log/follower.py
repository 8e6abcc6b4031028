"""Following the log: one connection that is subscribed to the rooms with members on this node.

Messages are delivered only from here, so their order is the log's, on every node.

After a lost connection all messages wait until all rooms have been read from the position. Then they are delivered in
the order of ids: a client's offset never passes a hole.
"""

import logging
import math
from collections.abc import Iterator
from time import monotonic
from typing import Protocol

import gevent
import redis
from gevent.event import Event

from webfarm.errors import Unavailable
from webfarm.log.entry import VOLATILE, Entry
from webfarm.log.position import Position
from webfarm.loop.time_slices import SLICE_S, wait_a_turn
from webfarm.monitoring.counters import counters
from webfarm.redis.keys import explain_format
from webfarm.redis.subscription import Subscription

log = logging.getLogger(__name__)

_DEAF_S = 2.0  # without a marker, the node is cut off; below 3 s with the beat
_SILENT_S = 5.0  # without a marker, the connection is opened again
_RETRIES_S = (0.0, 0.05, 0.1, 0.2, 0.5)
_COMPLAIN_S = 5.0
_MAX_CATCH_UP = 100_000  # messages


class _Room:
    __slots__ = ("last", "since")

    def __init__(self) -> None:
        self.last: int | None = None  # the newest message's id
        self.since = 0  # no client here wants older messages


class Receiver(Protocol):
    """Takes what a follower hears."""

    def on_entry(self, entry: Entry) -> None:
        """A message, in the log's order."""

    def on_volatile(self, stream: str, body: bytes) -> None:
        """A message that is not in the log."""

    def on_presence(self, channel: str, data: bytes) -> None:
        """A message on a channel of presence."""

    def on_taken(self, sid: str, generation: int) -> None:
        """Another connection took a session of this node."""

    def on_probe(self, sid: str, generation: int) -> None:
        """Another connection wants a session of this node, and asks whether its present one is alive."""

    def on_request(self, data: bytes) -> None:
        """A request to all nodes, from any node (also this one) or from another process."""

    def on_answer(self, data: bytes) -> None:
        """A node's answer to this one."""

    def on_return(self) -> None:
        """Redis is back, and nothing has been delivered yet. Raises ``redis.RedisError``."""

    def on_lost(self, streams: list[str]) -> None:
        """Messages of these rooms are lost to this node."""


class Follower:
    """Follows one shard for this node.

    Args:
        subscription: to its channels.
        position: the node's, in the shard's log.
        channel: of stock emitters; ``listen`` yields its messages. The first shard has it, and requests; others have
            an empty text.
        receiver: takes all other messages.
    """

    def __init__(self, subscription: Subscription, position: Position, channel: str, receiver: Receiver) -> None:
        self.position = position
        self._log = position.log
        self._receiver = receiver
        self.subscription = subscription
        self._channel = channel
        self._rooms: dict[str, _Room] = {}
        self._held: list[Entry] | None = []  # until the node has caught up
        self._epoch = ""  # in which it was live last
        self._explained = ""  # the other format that the log names already
        self._marked = 0  # the last marker's id, of this connection
        self._has_heard = Event()  # of this connection

    def start(self, node: str) -> None:
        """Listen in the name of ``node``; the caller consumes ``listen``."""
        self.position.start(node)
        self.subscription.add(self.position.channel)
        for name in (self._channel, self._log.keys.requests) if self._channel else ():
            self.subscription.add(name)

    @property
    def is_ready(self) -> bool:
        """Whether stored messages are delivered within moments."""
        return self._held is None and monotonic() - self.position.heard_at < _DEAF_S

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Wait until ``is_ready``, at most ``timeout_s``; return whether it is."""
        deadline = monotonic() + timeout_s
        while not self.is_ready:
            left_s = deadline - monotonic()
            if left_s <= 0:
                return False
            if self._has_heard.is_set():  # it is catching up, or this process was stalled: a marker will tell
                self.position.request_marker()
                gevent.sleep(min(left_s, 0.02))
            else:
                self._has_heard.wait(left_s)
        return True

    # Rooms

    def follow(self, stream: str) -> None:
        """Receive the messages of a room from now on."""
        if stream not in self._rooms:
            self._rooms[stream] = _Room()
            self.subscription.add(stream)

    def unfollow(self, stream: str) -> None:
        """Receive the messages of a room no longer."""
        if self._rooms.pop(stream, None) is not None:
            self.subscription.remove(stream)

    def wait_until_following(self, *streams: str) -> None:
        """Wait until Redis sends the messages of ``streams``. Raises ``Unavailable``."""
        if streams:  # without any, all would be waited for
            self.subscription.wait_until_confirmed(*streams)

    def begin_at(self, stream: str, id: int) -> None:
        """A room's first member joined at ``id``: no client here wants older messages."""
        room = self._rooms.get(stream)
        if room is not None and not room.since:
            room.since = id

    def on_beat(self) -> None:
        """Request a marker, so that the position moves on where nothing happens."""
        if self._has_heard.is_set():
            self.position.request_marker()
            if monotonic() - self.position.heard_at > _SILENT_S:
                self.subscription.interrupt()

    # Messages

    def listen(self) -> Iterator[bytes]:
        """Follow, for ever; yield the messages of the stock emitters' channel."""
        complained, failures = -math.inf, 0
        while True:
            try:
                self.subscription.open()
                self._held, self._marked = [], 0
                gevent.spawn(self._catch_up, self.subscription.life)
                yield from self._read()
            except (redis.RedisError, OSError) as error:
                failures = failures + 1 if self._held is not None else 0
                if failures > 1 and monotonic() - complained >= _COMPLAIN_S:
                    log.error("Redis does not answer, trying again twice a second: %s", error)
                    complained = monotonic()
            finally:
                self.subscription.close()
                self._has_heard.clear()
                self._held = self._held or []  # nothing is delivered before the catching up
            gevent.sleep(_RETRIES_S[min(failures, len(_RETRIES_S) - 1)])

    def _read(self) -> Iterator[bytes]:
        for name, data in self.subscription.read():
            if name == self.position.channel:
                try:
                    self._on_own(data)
                except (ValueError, LookupError):
                    log.warning("a message that is none was dropped from the channel %s", name)
            elif name == self._channel:
                yield data
            elif name == self._log.keys.requests:
                self._receiver.on_request(data)
            elif data.startswith(VOLATILE):
                self._receiver.on_volatile(name, data.removeprefix(VOLATILE))
            elif name.startswith(self._log.keys.present):
                self._receiver.on_presence(name, data)
            else:
                self._on_message(name, data)

    def _on_own(self, data: bytes) -> None:
        kind, _, text = data.partition(b" ")
        if kind == b"answer":
            self._receiver.on_answer(text)
            return
        rest = text.split()
        if kind in (b"taken", b"probe"):
            tell = self._receiver.on_taken if kind == b"taken" else self._receiver.on_probe
            tell(rest[0].decode(), int(rest[1]))
            return
        if (epoch := self.subscription.get_epoch(rest[1])) is None:
            return
        self._marked = self._log.see(epoch, rest[0])
        self.position.on_heard(float(rest[2]))
        self._has_heard.set()
        if self._held is None:
            self.position.advance(self._marked)

    def _on_message(self, stream: str, data: bytes) -> None:
        try:
            id, prev, name, body = data.split(b" ", 3)
            entry = Entry(int(id), int(prev), stream, body)
        except ValueError:
            log.warning("a message that is none was dropped from the channel %s", stream)
            return
        if (epoch := self.subscription.get_epoch(name)) is None:
            return
        self._log.see(epoch, id)
        if self._held is None:
            self._deliver(entry)
        else:
            self._held.append(entry)

    def _deliver(self, entry: Entry) -> None:
        counters.followed += 1
        room = self._rooms.get(entry.room)
        if room is None or (room.last is not None and entry.id <= room.last):
            return  # no member is left, or they have it
        if room.last is not None and entry.prev > room.last:
            raise redis.ConnectionError(f"messages are missing in {entry.room}")
        room.last = entry.id
        try:
            self._receiver.on_entry(entry)
        except (ValueError, TypeError, LookupError) as error:
            log.warning("message %d of %s could not be read and was dropped: %r", entry.id, entry.room, error)
        self.position.advance(entry.id)

    # Catching up

    def _catch_up(self, life: object) -> None:
        """Deliver what was stored while there was no connection; go live."""
        try:
            self.subscription.wait_until_confirmed()
            self.position.show()
            self.position.wait_after_restart()
            self._receiver.on_return()
            if self.subscription.life is life:
                self._recover(life)
        except (Exception, gevent.Timeout) as error:
            if "FORMAT" in str(error):
                self._explain(str(error).rpartition("FORMAT ")[2].split()[0])
            elif not isinstance(error, redis.RedisError | Unavailable):
                log.exception("catching up failed")
            log.debug("not caught up: %s", error)
            if self.subscription.life is life:
                self.subscription.interrupt()

    def _explain(self, format: str) -> None:
        """Log once, and not at each try, that Redis holds another farm's data."""
        if format != self._explained:
            log.error(explain_format(format))
        self._explained = format

    def _recover(self, life: object) -> None:
        if self.position.id and self._epoch == self._log.epoch:
            self._read_what_is_missing(life)
        else:
            for room in self._rooms.values():
                room.last, room.since = None, 0
            self.position.reset()
            self._wait_for_marker(life, self._log.newest)
        self._epoch = self._log.epoch
        self._explained = ""
        slice_ends = monotonic() + SLICE_S
        while self._held:
            entries, self._held = self._held, []
            for entry in entries:
                self._deliver(entry)
                if monotonic() > slice_ends:
                    slice_ends = wait_a_turn()
                if self.subscription.life is not life:
                    return  # the rest will be read again
        self._held = None
        self.position.advance(self._marked)

    def _read_what_is_missing(self, life: object) -> None:
        starts = {stream: max(self.position.id, room.since, room.last or 0) for stream, room in self._rooms.items()}
        reading = self._log.read(starts, most=_MAX_CATCH_UP)
        counters.gaps += 1
        counters.gap_messages += len(reading.entries) if reading else 0
        self._wait_for_marker(life, reading.newest if reading else self._log.newest)
        lost = list(starts) if reading is None else reading.incomplete
        for stream in self._rooms.keys() & starts:
            room = self._rooms[stream]
            if stream in lost:
                room.last = None
            elif room.last is not None:  # messages at or below the position are settled
                room.last = max(room.last, starts[stream])
        if lost:
            self._receiver.on_lost(lost)
        self._held = sorted({*(reading.entries if reading else ()), *(self._held or ())})

    def _wait_for_marker(self, life: object, id: int) -> None:
        """Wait until all messages up to ``id`` have come over this connection."""
        deadline = monotonic() + _DEAF_S
        while self._marked < id or not self._marked:
            if monotonic() > deadline or self.subscription.life is not life:
                raise Unavailable("Redis does not answer")
            self.position.request_marker()
            gevent.sleep(0.002)
