"""Resuming: a client that comes back takes its session, and is sent what it missed."""

import contextlib
import logging
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent

from webfarm.errors import Unavailable
from webfarm.log.offset import Ids, decode_offset, get_latest
from webfarm.log.shard_log import Reading
from webfarm.manager.no_recovery import NoRecovery
from webfarm.redis.client import redis_errors_as_unavailable
from webfarm.sessions.replay import Found, Replay, select_messages
from webfarm.sessions.session import NotResumable, Session, Taken

if TYPE_CHECKING:
    from webfarm.manager.redis_manager import RedisManager
    from webfarm.manager.shard import Shard
    from webfarm.sessions.store import Sessions

_MAX_REPLAY = 10_000  # messages; who missed more begins anew
_MAX_PID = 128
_LEAVING_S = 5.0
#: For a client that lives to answer.
PROBE_S = 0.4
_PROBE_ANSWER_S = 0.2  # for its node to say that it does not

log = logging.getLogger(__name__)


class Resuming(NoRecovery):
    """The half of ``Recovery`` that hands sessions over to other connections."""

    _manager: "RedisManager"

    def get_sessions(self, sid: str) -> "Sessions":
        """Return the sessions among which that of ``sid`` is."""
        return self._manager.shards.get(sid).sessions

    @contextlib.contextmanager
    def dropping_taken(self) -> Iterator[None]:
        """Drop a client whose session turns out to be another's. Raises ``Unavailable``: its handler is to end."""
        try:
            yield
        except Taken as error:
            self.drop(error.session)
            error.session.check()

    def drop(self, session: Session) -> None:
        """The session belongs to another connection by now: nothing more is done for this one, or it was ended."""
        if session.is_taken:
            return
        self.get_sessions(session.sid).forget(session)
        if session.is_ended and self._manager.is_connected(session.sid, session.namespace):
            gevent.spawn(self._manager.server.disconnect, session.sid, session.namespace, ignore_queue=True)
        else:
            self._manager.server.evict(session.sid, session.namespace, session.eio_sid)

    def resume(self, eio_sid: str, namespace: str, owner: str, pid: Any, offset: Any) -> tuple[str, Replay]:
        session = self._take(pid, owner, namespace)
        manager, sid = self._manager, session.sid
        session.eio_sid = eio_sid
        own = manager.server.eio.sockets[eio_sid].session
        try:
            self._wait_until_gone(session)
            manager.add_client(sid, eio_sid, namespace, session.user)
            own[namespace] = session.data if session.data is not None else {}
            self._leave_lost_rooms(session)
            for room in session.floors:
                if room not in (None, sid):
                    manager.basic_enter_room(sid, namespace, room)
            for room in session.floors.keys() & session.inboxes:
                shard = manager.shards.get_of_room(namespace, room)
                shard.inboxes.add(eio_sid, shard.keys.stream(namespace, room))
            replay = self._replay(session, offset)
        except NotResumable:
            self.end(sid, eio_sid)
            if manager.eio_sid_from_sid(sid, namespace) == eio_sid:
                manager.disconnect(sid, namespace, ignore_queue=True)
            own.pop(namespace, None)
            raise
        except BaseException as error:
            self.close(sid, eio_sid)
            if isinstance(error, Exception):
                session.check()
            raise
        return sid, replay

    def _leave_lost_rooms(self, session: Session) -> None:
        """Take the rooms out of a session that its client may not be in any more."""
        server, given = self._manager.server, (session.sid, *session.inboxes)
        rooms = [room for room in session.floors if room is not None and room not in given]
        kept = set(server.select_rooms(session.sid, session.namespace, rooms)) if rooms else set()
        session.check()
        with self.dropping_taken():
            for room in set(rooms) - kept:
                self.get_sessions(session.sid).leave(session, room)

    def _wait_until_gone(self, session: Session) -> None:
        """Wait until the disconnect handler of the connection before has run, if that was on this node."""
        with gevent.Timeout(_LEAVING_S, Unavailable("the connection before has not ended yet")):
            while self._manager.is_sid_room(session.namespace, session.sid):
                gevent.sleep(0.005)
        session.check()

    def _take_when_free(self, pid: str, owner: str, namespace: str, *, is_open_here: bool) -> tuple[Session, str]:
        """Take a session; if it was resumed just now, see first whether that connection has gone already."""
        sessions = self.get_sessions(pid.partition(".")[0])
        until = monotonic() + PROBE_S + _PROBE_ANSWER_S
        max_of_user = self._manager.server.max_connections_per_user
        while True:
            try:
                return sessions.take(pid, owner, namespace, max_of_user, is_open_here=is_open_here)
            except NotResumable as error:
                if str(error) != "twin" or monotonic() > until:
                    raise
            gevent.sleep(_PROBE_ANSWER_S / 2)

    def _take(self, pid: Any, owner: str, namespace: str) -> Session:
        """Take the session of a client that comes back; whoever had it before is dropped."""
        if not isinstance(pid, str) or not pid.isascii() or not 0 < len(pid) <= _MAX_PID:
            raise NotResumable("unknown")
        before = self._manager.get_session(pid.partition(".")[0])
        connection = self._manager.server.eio.sockets.get(before.eio_sid) if before is not None else None
        is_open_here = connection is not None and not connection.closed
        session, dead_node = self._take_when_free(pid, owner, namespace, is_open_here=is_open_here)
        before = self._manager.get_session(session.sid)
        if before is not None:
            self.drop(before)
        self.get_sessions(session.sid).adopt(session)
        if dead_node:
            self._release(dead_node, session)
        return session

    def _release(self, node: str, session: Session) -> None:
        """Take out what a dead node has written of a client in other shards than the session's, which has done so."""
        shards, namespace = self._manager.shards, session.namespace
        for shard, rooms in shards.group(namespace, session.floors).items():
            if shard is not shards.get(session.sid):
                names = [room for room in rooms if room is not None]
                shard.registry.release(node, namespace, names, session.user)

    def _replay(self, session: Session, offset: Any) -> Replay:
        """Return what a client that comes back has missed. It is in its rooms already, and its messages are held."""
        shards, namespace = self._manager.shards, session.namespace
        groups = shards.group(namespace, session.floors)
        numbers = {shard.number for shard in groups}
        decoded = decode_offset(offset, session.epochs)  # which are checked: this node may be late
        shown = tuple(id if number in numbers else 0 for number, id in enumerate(decoded))  # the rest isn't checked
        received = get_latest(shown, session.received)
        readings: dict[Shard, Reading] = {}
        found: list[Found] = []
        for shard, rooms in groups.items():
            self._check_epoch(session, shard)
            start = received[shard.number]
            starts = {shard.keys.stream(namespace, room): max(session.floors[room], start) for room in rooms}
            shard.follower.wait_until_following(*starts)
            readings[shard] = self._read(shard, starts, _MAX_REPLAY - len(found))
            found += [(entry, shard.number) for entry in readings[shard].entries]
            if shown[shard.number] > readings[shard].newest:
                raise NotResumable("offset")
        read_to = [0] * len(shards)
        for shard, reading in readings.items():
            shard.follower.position.wait_until_passed(reading.newest)
            read_to[shard.number] = reading.oldest
        session.check()
        if any(session.epochs[shard.number] != shard.log.epoch for shard in groups):
            raise NotResumable("epoch")
        for room in session.floors.keys() & session.inboxes:
            shard = shards.get_of_room(namespace, room)
            shard.inboxes.on_delivered(shard.keys.stream(namespace, room), readings[shard].newest)
        return self._prepare(session, found, shown, tuple(read_to))

    def _prepare(self, session: Session, found: list[Found], shown: Ids = (), read_to: Ids = ()) -> Replay:
        """Return what a client is sent first of what was ``found`` of its rooms."""
        shown = shown or (0,) * len(self._manager.shards)
        epochs = self._manager.shards.epochs if self._manager.has_recovery else None
        return Replay(select_messages(session, found, shown, has_offset=epochs is not None), read_to, shown, epochs)

    def _check_epoch(self, session: Session, shard: "Shard") -> None:
        """Raise ``NotResumable`` if a session is of another epoch, as Redis knows it: this node may be late."""
        epoch = session.epochs[shard.number]
        if epoch != shard.log.epoch:
            with redis_errors_as_unavailable():
                shard.follower.position.show()
            if epoch != shard.log.epoch:
                raise NotResumable("epoch")

    def _read(self, shard: "Shard", starts: dict[str, int], most: int) -> Reading:
        """Read rooms of one shard, ``most`` entries. Raises ``NotResumable``, ``Unavailable``."""
        with redis_errors_as_unavailable():
            reading = shard.log.read(starts, most=most)
        if reading is None:
            raise NotResumable("too_much")
        if reading.incomplete:
            raise NotResumable("incomplete")
        return reading
