"""Connection state recovery: a client that comes back has its id and rooms again, and gets what it missed.

https://socket.io/docs/v4/connection-state-recovery

The wire is Socket.IO's own: CONNECT is answered with ``{sid, pid}``, each event that is in the log ends in its offset,
and a client that comes back sends ``{pid, offset}`` with its auth. Resuming is refused whenever it can't be shown that
nothing is missing; the client is then a new one, and knows it.
"""

import logging
from typing import TYPE_CHECKING, Any

import gevent
import redis

from chat.errors import Unavailable
from chat.realtime.entry import Entry, decode_body, decode_offset, encode_offset, make_messages
from chat.realtime.held import Replay
from chat.realtime.message import Message
from chat.realtime.metrics import SESSIONS_ENDED, SESSIONS_NOT_RESUMED, SESSIONS_RESUMED
from chat.realtime.redis_client import redis_errors_as_unavailable
from chat.realtime.session import NotResumable, Session, Taken

if TYPE_CHECKING:
    from chat.realtime.manager import RedisManager
    from chat.realtime.rooms import Rooms

_RENEWALS = 10  # in which the sessions of a node are renewed, one after the other
_MAX_REPLAY = 10_000  # messages; who missed more begins anew
_MAX_PID = 128
_LEAVING_S = 5.0


log = logging.getLogger(__name__)


class NoRecovery:
    """The clients of a process without Redis: nothing outlives a connection."""

    def __init__(self, manager: "Rooms") -> None:
        self._manager = manager

    def split_auth(self, data: Any) -> tuple[Any, Any, Any]:
        """Return the app's part of what a client sent with CONNECT, then its pid and offset, if it has any."""
        return data, None, None

    def begin(self, eio_sid: str, namespace: str, owner: str) -> str:
        """Return the sid of a new client."""
        sid = self._manager.pre_connect(eio_sid, namespace)
        assert sid is not None  # it was asked before
        return sid

    def resume(self, eio_sid: str, namespace: str, owner: str, pid: Any, offset: Any) -> tuple[str, Replay] | None:
        """Return the sid of a client that came back, and what it missed; ``None`` if it is to begin anew."""
        return None

    def write(self, sid: str) -> Replay:
        """The client is about to be told that it has joined; return what it is sent first."""
        return Replay()

    def describe(self, sid: str) -> dict[str, str]:
        """Return what CONNECT is answered with."""
        return {"sid": sid}

    def is_recovered(self, sid: str) -> bool:
        """Return whether the client came back to its session."""
        return False

    def enter_inbox(self, sid: str, namespace: str, room: str) -> None:
        """Put a client that is connecting into a room whose messages wait for it."""
        self._manager.basic_enter_room(sid, namespace, room)

    def save(self, sid: str, data: Any) -> None:
        """Keep what ``save_session`` was given."""

    def close(self, sid: str) -> None:
        """The client's connection was lost."""

    def end(self, sid: str) -> None:
        """The client is gone for good."""

    def forget(self, eio_sid: str) -> None:
        """The connection has ended."""


class Recovery(NoRecovery):
    """The sessions of a manager's clients: from their beginning to their end, and over to another connection."""

    _manager: "RedisManager"

    def __init__(self, manager: "RedisManager") -> None:
        super().__init__(manager)
        self._sessions = manager.sessions
        self._follower = manager.follower
        self._log = manager.log
        self._keys = manager.keys

    def start(self) -> None:
        """Keep the sessions alive from now on."""
        gevent.spawn(self._run)

    def split_auth(self, data: Any) -> tuple[Any, Any, Any]:
        if not self._manager.has_recovery or not isinstance(data, dict):
            return data, None, None
        auth = {key: value for key, value in data.items() if key not in ("pid", "offset")}
        return auth or None, data.get("pid"), data.get("offset")

    def begin(self, eio_sid: str, namespace: str, owner: str) -> str:
        sid = super().begin(eio_sid, namespace, owner)
        session = self._sessions.open(sid, namespace, owner)
        session.began_at = self._follower.position.id
        session.floors = {sid: session.began_at, None: session.began_at}
        return sid

    def write(self, sid: str) -> Replay:
        session = self._sessions[sid]
        keys, namespace = self._keys, session.namespace
        self._follower.wait_until_following(*(keys.stream(namespace, room) for room in session.floors))
        newest, entries = self._sessions.write(session)
        session.is_written = True
        if entries:
            self._follower.position.wait_until_passed(newest)
        return Replay(self._make_messages(session, entries), newest)

    def describe(self, sid: str) -> dict[str, str]:
        return {"sid": sid, "pid": self._sessions[sid].pid} if self._manager.has_recovery else {"sid": sid}

    def is_recovered(self, sid: str) -> bool:
        session = self._sessions.get(sid)
        return session is not None and session.generation > 1

    def enter_inbox(self, sid: str, namespace: str, room: str) -> None:
        session = self._sessions[sid]
        if not session.is_written:
            session.inboxes = (*session.inboxes, room)
        eio_sid = self._manager.eio_sid_from_sid(sid, namespace) or ""
        self._manager.inboxes.add(eio_sid, [self._keys.stream(namespace, room)])
        self._manager.enter_room(sid, namespace, room)

    def save(self, sid: str, data: Any) -> None:
        session = self._sessions.get(sid)
        if session is None:
            return
        try:
            self._sessions.save(session, data)
        except Taken:
            self.drop(session)

    def resume(self, eio_sid: str, namespace: str, owner: str, pid: Any, offset: Any) -> tuple[str, Replay] | None:
        try:
            session = self._take(pid, owner, namespace)
        except NotResumable as error:
            SESSIONS_NOT_RESUMED.labels(str(error)).inc()
            return None
        manager, sid = self._manager, session.sid
        try:
            self._wait_until_gone(sid, namespace)
            manager.add_client(sid, eio_sid, namespace)
            for room in session.floors:
                if room not in (None, sid):
                    manager.basic_enter_room(sid, namespace, room)
            manager.inboxes.add(eio_sid, [self._keys.stream(namespace, room) for room in session.inboxes])
            manager.server.eio.sockets[eio_sid].session[namespace] = session.data
            replay = self._replay(session, offset)
        except NotResumable as error:
            SESSIONS_NOT_RESUMED.labels(str(error)).inc()
            self.end(sid)
            manager.disconnect(sid, namespace, ignore_queue=True)
            manager.inboxes.remove(eio_sid)
            return None
        except BaseException:
            self.close(sid)
            raise
        SESSIONS_RESUMED.inc()
        return sid, replay

    def _wait_until_gone(self, sid: str, namespace: str) -> None:
        """Wait until the disconnect handler of the connection before has run, if that was on this node."""
        with gevent.Timeout(_LEAVING_S, Unavailable("the connection before has not ended yet")):
            while self._manager.is_sid_room(namespace, sid):
                gevent.sleep(0.005)

    def _take(self, pid: Any, owner: str, namespace: str) -> Session:
        """Take the session of a client that comes back; whoever had it before is dropped."""
        if not isinstance(pid, str) or not 0 < len(pid) <= _MAX_PID:
            raise NotResumable("unknown")
        session = self._sessions.take(pid, owner)
        before = self._sessions.get(session.sid)
        if before is not None:
            self.drop(before)
        self._sessions.adopt(session)
        if session.namespace != namespace:
            self.end(session.sid)
            raise NotResumable("foreign")
        return session

    def _replay(self, session: Session, offset: Any) -> Replay:
        """Return what a client that comes back has missed. It is in its rooms already, and its messages are held."""
        keys, namespace, shard = self._keys, session.namespace, self._log
        received = decode_offset(offset, shard.epoch)
        starts = {keys.stream(namespace, room): max(floor, received) for room, floor in session.floors.items()}
        self._follower.wait_until_following(*starts)
        epoch = shard.epoch
        with redis_errors_as_unavailable():
            reading = shard.read(starts, most=_MAX_REPLAY)
        if reading is None:
            raise NotResumable("too_much")
        if reading.incomplete:
            raise NotResumable("incomplete")
        if received > reading.newest:
            raise NotResumable("offset")
        self._follower.position.wait_until_passed(reading.newest)
        if shard.epoch != epoch or session.is_taken:
            raise NotResumable("epoch")
        return Replay(self._make_messages(session, reading.entries), reading.newest, is_whole=True)

    def close(self, sid: str) -> None:
        session = self._sessions.get(sid)
        if session is not None and session.is_written:
            self._sessions.close(session)
        elif session is not None:
            self._sessions.forget(session)

    def end(self, sid: str) -> None:
        session = self._sessions.get(sid)
        if session is not None:
            self._sessions.end(session)

    def forget(self, eio_sid: str) -> None:
        self._manager.inboxes.remove(eio_sid)

    def drop(self, session: Session) -> None:
        """The session belongs to another connection by now: nothing more is done for this one."""
        self._sessions.forget(session)
        self._manager.server.drop(session.sid, session.namespace)

    def on_taken(self, sid: str, generation: int) -> None:
        """Another node has taken a session."""
        session = self._sessions.get(sid)
        if session is not None and session.generation == generation:
            self.drop(session)

    def confirm(self) -> None:
        """Redis is back: keep what is still ours, drop what was taken. Raises ``redis.RedisError``."""
        self._sessions.write_ends()
        for session in self._sessions.renew(self._sessions.get_all()):
            self.drop(session)

    def abandon(self, session: Session, why: str) -> None:
        """Not all can be delivered any more: the client comes back, and is told so."""
        SESSIONS_ENDED.labels(why).inc()
        eio_sid = self._manager.eio_sid_from_sid(session.sid, session.namespace)
        self.end(session.sid)
        self._manager.server.eio.disconnect(eio_sid)

    def _make_messages(self, session: Session, entries: list[Entry]) -> list[Message]:
        rooms = session.floors.keys()
        messages: list[Message] = []
        for entry in entries:
            body = decode_body(entry.body)
            if session.sid not in body.skip and not any(room in rooms for room in body.elsewhere):
                offset = encode_offset(self._log.epoch, entry.id) if self._manager.has_recovery else None
                messages += make_messages(body, entry.id, offset)
        return messages

    def _run(self) -> None:
        """Keep the sessions alive, a tenth at a time."""
        while True:
            sessions = self._sessions.get_all()
            size = max(1, -(-len(sessions) // _RENEWALS))
            for number in range(_RENEWALS):
                try:
                    for session in self._sessions.renew(sessions[number * size : (number + 1) * size]):
                        self.drop(session)
                except redis.RedisError as error:
                    log.debug("sessions not renewed: %s", error)
                gevent.sleep(self._sessions.renew_every_s / _RENEWALS)
