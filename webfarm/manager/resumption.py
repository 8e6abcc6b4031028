"""Resuming: a client that comes back takes its session, and is sent what it missed."""

from contextlib import AbstractContextManager
from time import monotonic
from typing import Any, Protocol

import gevent

from webfarm.errors import Unavailable
from webfarm.log.offset import Ids, decode_offset, get_latest
from webfarm.log.shard_log import Reading
from webfarm.manager.rooms import Rooms
from webfarm.manager.shard import Shard
from webfarm.manager.shards import Shards
from webfarm.redis.client import redis_errors_as_unavailable
from webfarm.sessions.replay import Found, Replay, select_messages
from webfarm.sessions.session import NotResumable, Session
from webfarm.sessions.store import SessionStore

_MAX_REPLAY = 10_000  # messages; a client that missed more begins again
_MAX_PID = 128
_LEAVING_S = 5.0
#: How long a client has to answer the probe of its connection.
PROBE_S = 0.4
_PROBE_ANSWER_S = 0.2  # for its node to say that the client has not answered


class RecoveryOwner(Protocol):
    """The manager, as its recovery sees it."""

    server: Any
    clients: Rooms
    shards: Shards
    has_recovery: bool

    def enter_room(self, sid: str, namespace: str, room: str) -> None:
        """Put a client into a room, and write it to the client's session."""

    def disconnect(self, sid: str, namespace: str, *, ignore_queue: bool) -> None:
        """Take a client of this process out of its rooms and its namespace."""


class Sessions(Protocol):
    """The recovery, as a resumption sees it."""

    manager: RecoveryOwner

    def get(self, sid: str) -> Session | None:
        """Return the session of a client of this node."""

    def get_store(self, sid: str) -> SessionStore:
        """Return the sessions of the shard that has the session of ``sid``."""

    def close(self, sid: str, eio_sid: str) -> None:
        """A client's connection was lost."""

    def disconnect(self, sid: str, eio_sid: str) -> None:
        """A client's session ends."""

    def evict(self, session: Session) -> None:
        """Forget a client: its session belongs to another connection."""

    def evicting(self) -> AbstractContextManager[None]:
        """Evict a client whose session proves to be another's."""


class Resumption:
    """One attempt of one connection to resume a session.

    Args:
        sessions: of this node's clients.
        eio_sid: the connection.
        namespace: the namespace that the client joins.
        owner: the name of the client's owner.
    """

    def __init__(self, sessions: Sessions, eio_sid: str, namespace: str, owner: str) -> None:
        self._sessions = sessions
        self._server, self._clients = sessions.manager.server, sessions.manager.clients
        self._shards = sessions.manager.shards
        self._has_recovery = sessions.manager.has_recovery
        self._eio_sid = eio_sid
        self._namespace = namespace
        self._owner = owner

    def run(self, pid: Any, offset: Any) -> tuple[str, Replay]:
        """Resume the session ``pid``; return the client's sid, and what it missed since ``offset``.

        Raises:
            NotResumable: the client begins again; the text says why, in a word.
            Unavailable: Redis does not answer.
        """
        namespace, eio_sid = self._namespace, self._eio_sid
        session = self._take(pid)
        sid = session.sid
        session.eio_sid = eio_sid
        own = self._server.eio.sockets[eio_sid].session
        try:
            self._wait_until_gone(session)
            self._clients.add_client(sid, eio_sid, namespace, session.user)
            own[namespace] = session.data if session.data is not None else {}
            self._leave_lost_rooms(session)
            for room in session.floors:
                if room not in (None, sid):
                    self._clients.enter(sid, namespace, room)
            for room in session.floors.keys() & session.inboxes:
                shard = self._shards.get_of_room(namespace, room)
                shard.inboxes.add(eio_sid, shard.keys.stream(namespace, room))
            replay = self._replay(session, offset)
        except NotResumable:
            self._sessions.disconnect(sid, eio_sid)
            if self._clients.eio_sid_from_sid(sid, namespace) == eio_sid:
                self._sessions.manager.disconnect(sid, namespace, ignore_queue=True)
            own.pop(namespace, None)
            raise
        except BaseException as error:
            self._sessions.close(sid, eio_sid)
            if isinstance(error, Exception):
                session.check()
            raise
        return sid, replay

    # Taking

    def _take(self, pid: Any) -> Session:
        """Take the session of a client that comes back; evict the connection that had it before."""
        if not isinstance(pid, str) or not pid.isascii() or not 0 < len(pid) <= _MAX_PID:
            raise NotResumable("unknown")
        before = self._sessions.get(pid.partition(".")[0])
        connection = self._server.eio.sockets.get(before.eio_sid) if before is not None else None
        is_open_here = connection is not None and not connection.closed
        session, dead_node = self._take_when_free(pid, is_open_here=is_open_here)
        before = self._sessions.get(session.sid)
        if before is not None:
            self._sessions.evict(before)
        self._sessions.get_store(session.sid).adopt(session)
        if dead_node:
            self._release(dead_node, session)
        return session

    def _take_when_free(self, pid: str, *, is_open_here: bool) -> tuple[Session, str]:
        """Take a session; if it was resumed just now, see first whether that connection is still open."""
        store = self._sessions.get_store(pid.partition(".")[0])
        until = monotonic() + PROBE_S + _PROBE_ANSWER_S
        max_of_user = self._server.max_connections_per_user
        while True:
            try:
                return store.take(pid, self._owner, self._namespace, max_of_user, is_open_here=is_open_here)
            except NotResumable as error:
                if str(error) != "twin" or monotonic() > until:
                    raise
            gevent.sleep(_PROBE_ANSWER_S / 2)

    def _release(self, node: str, session: Session) -> None:
        """Take out the client's entries of a dead node, in the shards where taking the session has not done so."""
        for shard, rooms in self._shards.group(session.namespace, session.floors).items():
            if shard is not self._shards.get(session.sid):
                names = [room for room in rooms if room is not None]
                shard.registry.release(node, session.namespace, names, session.user)

    # Joining

    def _wait_until_gone(self, session: Session) -> None:
        """Wait until the disconnect handler of the connection before has run, if that was on this node."""
        with gevent.Timeout(_LEAVING_S, Unavailable("the connection before has not ended yet")):
            while self._clients.is_sid_room(session.namespace, session.sid):
                gevent.sleep(0.005)
        session.check()

    def _leave_lost_rooms(self, session: Session) -> None:
        """Take the rooms out of a session that its client may not be in any more."""
        server, given = self._server, (session.sid, *session.inboxes)
        rooms = [room for room in session.floors if room is not None and room not in given]
        kept = set(server.select_rooms(session.sid, session.namespace, rooms)) if rooms else set()
        session.check()
        with self._sessions.evicting():
            for room in set(rooms) - kept:
                self._sessions.get_store(session.sid).leave(session, room)

    # Replaying

    def _replay(self, session: Session, offset: Any) -> Replay:
        """Return what a client that comes back has missed. It is in its rooms already, and its messages are held."""
        shards, namespace = self._shards, session.namespace
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
            readings[shard] = _read(shard, starts, _MAX_REPLAY - len(found))
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
        return create_replay(session, found, self._shards, shown, tuple(read_to), has_offset=self._has_recovery)

    def _check_epoch(self, session: Session, shard: Shard) -> None:
        """Raise ``NotResumable`` if a session is of another epoch, as Redis knows it: this node may be late."""
        epoch = session.epochs[shard.number]
        if epoch != shard.log.epoch:
            with redis_errors_as_unavailable():
                shard.follower.position.show()
            if epoch != shard.log.epoch:
                raise NotResumable("epoch")


def _read(shard: Shard, starts: dict[str, int], most: int) -> Reading:
    """Read rooms of one shard, ``most`` entries. Raises ``NotResumable``, ``Unavailable``."""
    with redis_errors_as_unavailable():
        reading = shard.log.read(starts, most=most)
    if reading is None:
        raise NotResumable("too_much")
    if reading.incomplete:
        raise NotResumable("incomplete")
    return reading


def create_replay(
    session: Session, found: list[Found], shards: Shards, shown: Ids = (), read_to: Ids = (), *, has_offset: bool
) -> Replay:
    """Return what a client is sent first of the messages ``found`` in its rooms."""
    shown = shown or (0,) * len(shards)
    messages = select_messages(session, found, shown, has_offset=has_offset)
    return Replay(messages, read_to, shown, shards.epochs if has_offset else None)
