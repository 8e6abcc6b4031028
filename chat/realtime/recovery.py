"""Connection state recovery: a client that comes back has its id and rooms again, and gets what it missed.

https://socket.io/docs/v4/connection-state-recovery

The wire is Socket.IO's own: CONNECT is answered with ``{sid, pid}``, each event that is in the log ends in its offset,
and a client that comes back sends ``{pid, offset}`` with its auth. Resuming is refused whenever it can't be shown that
nothing is missing; the client is then a new one, and knows it.
"""

import contextlib
import logging
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent

from chat.errors import Unavailable
from chat.realtime.entry import decode_offset
from chat.realtime.held import Replay
from chat.realtime.metrics import counts
from chat.realtime.no_recovery import NoRecovery
from chat.realtime.redis_client import redis_errors_as_unavailable
from chat.realtime.renewal import Renewal
from chat.realtime.replay import select_messages
from chat.realtime.session import NotResumable, Session, Taken

if TYPE_CHECKING:
    from chat.realtime.manager import RedisManager

_MAX_REPLAY = 10_000  # messages; who missed more begins anew
_MAX_PID = 128
_LEAVING_S = 5.0
_PROBE_S = 0.4  # for a client that lives to answer
_PROBE_ANSWER_S = 0.2  # for its node to say that it does not


log = logging.getLogger(__name__)


class Recovery(NoRecovery):
    """The sessions of a manager's clients: from their beginning to their end, and over to another connection."""

    _manager: "RedisManager"

    def __init__(self, manager: "RedisManager") -> None:
        super().__init__(manager)
        self._sessions = manager.sessions
        self._follower = manager.follower
        self._log = manager.log
        self._keys = manager.keys
        self._renewal = Renewal(self._sessions, self.drop, self._on_expired)

    def start(self) -> None:
        """Keep the sessions alive from now on, each as long as it may live."""
        self._renewal.start()

    def split_auth(self, data: Any) -> tuple[Any, Any, Any]:
        if not self._manager.has_recovery or not isinstance(data, dict):
            return data, None, None
        auth = {key: value for key, value in data.items() if key not in ("pid", "offset")}
        return auth or None, data.get("pid"), data.get("offset")

    def begin(self, eio_sid: str, namespace: str, owner: str) -> str:
        sid = super().begin(eio_sid, namespace, owner)
        session = self._sessions.open(sid, namespace, owner)
        session.eio_sid = eio_sid
        session.floors = dict.fromkeys((sid, None), self._follower.position.id)
        return sid

    def write(self, sid: str) -> Replay:
        session = self._sessions[sid]
        keys, namespace = self._keys, session.namespace
        session.user = self._manager.server.get_user(sid) or ""
        self._follower.wait_until_following(*(keys.stream(namespace, room) for room in session.floors))
        newest, entries = self._sessions.write(session, self._manager.server.max_connections_per_user)
        if entries:
            self._follower.position.wait_until_passed(newest)
        for entry in entries:
            self._manager.inboxes.on_delivered(entry.room, entry.id)
        return Replay(select_messages(session, entries, self._offset_epoch), newest)

    @property
    def _offset_epoch(self) -> str | None:
        return self._log.epoch if self._manager.has_recovery else None

    def describe(self, sid: str) -> dict[str, str]:
        return {"sid": sid, "pid": self._sessions[sid].pid} if self._manager.has_recovery else {"sid": sid}

    def is_recovered(self, sid: str) -> bool:
        session = self._sessions.get(sid)
        return session is not None and session.generation > 1

    def enter_inbox(self, sid: str, namespace: str, room: str) -> None:
        session = self._sessions[sid]
        if not session.is_written:
            session.inboxes = (*session.inboxes, room)
        elif room not in session.inboxes:
            raise RuntimeError("an inbox is entered in a connect handler, and not with always_connect")
        self._manager.enter_room(sid, namespace, room)
        self._manager.inboxes.add(session.eio_sid, self._keys.stream(namespace, room))

    def save(self, sid: str, data: Any) -> None:
        session = self._sessions.get(sid)
        if session is not None:
            with self._dropping_taken():
                self._sessions.save(session, data)

    def expire(self, sid: str, at: float) -> None:
        session = self._sessions.get(sid)
        if session is not None:
            with self._dropping_taken():
                self._sessions.expire(session, at)

    @contextlib.contextmanager
    def _dropping_taken(self) -> Iterator[None]:
        """Drop a client whose session turns out to be another's. Raises ``Unavailable``: its handler is to end."""
        try:
            yield
        except Taken as error:
            self.drop(error.session)
            error.session.check()

    def _on_expired(self, session: Session) -> None:
        log.info("session expired", extra={"sid": session.sid, "user": session.user})
        self._manager.server.disconnect(session.sid, session.namespace)

    def resume(self, eio_sid: str, namespace: str, owner: str, pid: Any, offset: Any) -> tuple[str, Replay]:
        epoch = self._log.epoch
        session = self._take(pid, owner, namespace)
        manager, sid = self._manager, session.sid
        session.eio_sid = eio_sid
        own = manager.server.eio.sockets[eio_sid].session
        try:
            self._wait_until_gone(session)
            manager.add_client(sid, eio_sid, namespace)
            own[namespace] = session.data
            self._leave_lost_rooms(session)
            for room in session.floors:
                if room not in (None, sid):
                    manager.basic_enter_room(sid, namespace, room)
            for room in session.inboxes:
                manager.inboxes.add(eio_sid, self._keys.stream(namespace, room))
            replay = self._replay(session, offset, epoch)
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
        kept = set(server.select_rooms(session.sid, server.environ[session.eio_sid], rooms)) if rooms else set()
        session.check()
        with self._dropping_taken():
            for room in set(rooms) - kept:
                self._sessions.leave(session, room)

    def _wait_until_gone(self, session: Session) -> None:
        """Wait until the disconnect handler of the connection before has run, if that was on this node."""
        with gevent.Timeout(_LEAVING_S, Unavailable("the connection before has not ended yet")):
            while self._manager.is_sid_room(session.namespace, session.sid):
                gevent.sleep(0.005)
        session.check()

    def _take_when_free(self, pid: str, owner: str, namespace: str, *, is_open_here: bool) -> Session:
        """Take a session; if it was resumed just now, see first whether that connection has gone already."""
        until = monotonic() + _PROBE_S + _PROBE_ANSWER_S
        max_of_user = self._manager.server.max_connections_per_user
        while True:
            try:
                return self._sessions.take(pid, owner, namespace, max_of_user, is_open_here=is_open_here)
            except NotResumable as error:
                if str(error) != "twin" or monotonic() > until:
                    raise
            gevent.sleep(_PROBE_ANSWER_S / 2)

    def on_probe(self, sid: str, generation: int) -> None:
        """Close the connection of a session if it does not answer a heartbeat quickly."""
        session = self._sessions.get(sid)
        connection = self._manager.server.eio.sockets.get(session.eio_sid) if session is not None else None
        if connection is not None and session is not None and session.generation == generation:
            connection.probe(_PROBE_S)

    def _take(self, pid: Any, owner: str, namespace: str) -> Session:
        """Take the session of a client that comes back; whoever had it before is dropped."""
        if not isinstance(pid, str) or not pid.isascii() or not 0 < len(pid) <= _MAX_PID:
            raise NotResumable("unknown")
        before = self._sessions.get(pid.partition(".")[0])
        connection = self._manager.server.eio.sockets.get(before.eio_sid) if before is not None else None
        is_open_here = connection is not None and not connection.closed
        session = self._take_when_free(pid, owner, namespace, is_open_here=is_open_here)
        before = self._sessions.get(session.sid)
        if before is not None:
            self.drop(before)
        self._sessions.adopt(session)
        return session

    def _replay(self, session: Session, offset: Any, epoch: str) -> Replay:
        """Return what a client that comes back has missed. It is in its rooms already, and its messages are held."""
        keys, namespace, shard = self._keys, session.namespace, self._log
        shown = decode_offset(offset, shard.epoch)
        received = max(shown, session.received)
        starts = {keys.stream(namespace, room): max(floor, received) for room, floor in session.floors.items()}
        self._follower.wait_until_following(*starts)
        with redis_errors_as_unavailable():
            reading = shard.read(starts, most=_MAX_REPLAY)
        if reading is None:
            raise NotResumable("too_much")
        if reading.incomplete:
            raise NotResumable("incomplete")
        if shown > reading.newest:
            raise NotResumable("offset")
        self._follower.position.wait_until_passed(reading.newest)
        session.check()
        if shard.epoch != epoch:
            raise NotResumable("epoch")
        for room in session.inboxes:
            self._manager.inboxes.on_delivered(keys.stream(namespace, room), reading.newest)
        messages = select_messages(session, reading.entries, self._offset_epoch, shown)
        return Replay(messages, reading.oldest, is_whole=True)

    def close(self, sid: str, eio_sid: str) -> None:
        session = self._sessions.get(sid)
        if session is None or session.eio_sid != eio_sid:
            return
        if session.is_written:
            self._sessions.close(session)
        else:
            self._sessions.forget(session)

    def end(self, sid: str, eio_sid: str) -> None:
        session = self._sessions.get(sid)
        if session is not None and session.eio_sid == eio_sid:
            self._sessions.end(session)

    def drop(self, session: Session) -> None:
        """The session belongs to another connection by now: nothing more is done for this one, or it was ended."""
        if session.is_taken:
            return
        self._sessions.forget(session)
        if session.is_ended and self._manager.is_connected(session.sid, session.namespace):
            gevent.spawn(self._manager.server.disconnect, session.sid, session.namespace, ignore_queue=True)
        else:
            self._manager.server.drop(session.sid, session.namespace, session.eio_sid)

    def drop_resuming(self, namespace: str, room: str | None) -> None:
        for session in self._sessions.get_all():
            is_in_room = session.namespace == namespace and room in session.floors
            if is_in_room and not self._manager.is_connected(session.sid, namespace):
                self.drop(session)

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
        """Not all can be delivered any more: the client gets nothing from beyond the hole, comes back, and is told."""
        counts.sessions_ended[why] += 1
        self._sessions.end(session)
        if session.eio_sid:
            self._manager.server.eio.disconnect(session.eio_sid)
