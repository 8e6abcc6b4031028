"""Connection state recovery: a client that comes back has its id and rooms again, and gets what it missed.

https://socket.io/docs/v4/connection-state-recovery

The wire is Socket.IO's own: CONNECT is answered with ``{sid, pid}``, each event that is in the log ends in its offset,
and a client that comes back sends ``{pid, offset}`` with its auth. Resuming is refused whenever it can't be shown that
nothing is missing; the client is then a new one, and knows it.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from webfarm.errors import Unavailable
from webfarm.log.entry import Entry
from webfarm.manager.resumption import PROBE_S, Resuming
from webfarm.monitoring.counters import counters
from webfarm.redis.client import redis_errors_as_unavailable
from webfarm.sessions.replay import Found, Replay
from webfarm.sessions.session import Session

if TYPE_CHECKING:
    from webfarm.manager.redis_manager import RedisManager
    from webfarm.manager.shard import Shard
    from webfarm.sessions.store import Sessions

log = logging.getLogger(__name__)


class Recovery(Resuming):
    """The sessions of a manager's clients: from their beginning to their end, and over to another connection."""

    _manager: "RedisManager"

    def split_auth(self, data: Any) -> tuple[Any, Any, Any]:
        if not self._manager.has_recovery or not isinstance(data, dict):
            return data, None, None
        auth = {key: value for key, value in data.items() if key not in ("pid", "offset")}
        return auth or None, data.get("pid"), data.get("offset")

    def begin(self, eio_sid: str, namespace: str, owner: str, user: str = "") -> str:
        manager, shards = self._manager, self._manager.shards
        sid = shards.create_name(manager.server.eio.generate_id, owner)
        manager.add_client(sid, eio_sid, namespace, user)
        session = self.get_sessions(sid).open(sid, namespace, owner, user)
        session.eio_sid, session.began, session.epochs = eio_sid, shards.positions, shards.epochs
        for room in (sid, None):
            session.floors[room] = session.began[shards.get_of_room(namespace, room).number]
        return sid

    def write(self, sid: str) -> Replay:
        session, shards = self.get_sessions(sid)[sid], self._manager.shards
        namespace, own = session.namespace, shards.get(sid)
        session.user = self._manager.server.get_user(sid, namespace) or ""  # which an app may name by itself
        groups = shards.group(namespace, session.floors)
        for shard, rooms in groups.items():
            shard.follower.wait_until_following(*(shard.keys.stream(namespace, room) for room in rooms))
        inboxes = shards.group(namespace, session.inboxes)
        found: list[Found] = []
        for shard, names in inboxes.items():
            if shard is not own:
                found += self._read_inboxes(shard, session, names)
        if any(session.epochs[shard.number] != shard.log.epoch for shard in groups):
            raise Unavailable("the log of messages began anew")
        if not all(session.began[shard.number] for shard in groups):
            raise Unavailable("not all that is stored was delivered yet when it began")
        max_of_user = self._manager.server.max_connections_per_user
        newest, entries = own.sessions.write(session, inboxes.get(own, []), max_of_user)
        session.began = ()
        found += self._take_note(own, newest, entries)
        return self._prepare(session, found)

    def _read_inboxes(self, shard: "Shard", session: Session, rooms: Sequence[str]) -> list[Found]:
        """Return what waits in inboxes in another shard than the session's, whose floors are their pointers."""
        with redis_errors_as_unavailable():
            inbox = shard.log.read_inboxes([shard.keys.stream(session.namespace, room) for room in rooms])
        session.floors.update(zip(rooms, inbox.pointers, strict=True))
        return self._take_note(shard, inbox.newest, inbox.entries)

    def _take_note(self, shard: "Shard", newest: int, entries: list[Entry]) -> list[Found]:
        """Wait until what was read of inboxes has been delivered to those who are there."""
        if entries:
            shard.follower.position.wait_until_passed(newest)
        for entry in entries:
            shard.inboxes.on_delivered(entry.room, entry.id)
        return [(entry, shard.number) for entry in entries]

    def describe(self, sid: str) -> dict[str, str]:
        return {"sid": sid, "pid": self.get_sessions(sid)[sid].pid} if self._manager.has_recovery else {"sid": sid}

    def is_recovered(self, sid: str) -> bool:
        session = self._manager.get_session(sid)
        return session is not None and session.generation > 1

    def enter_inbox(self, sid: str, namespace: str, room: str) -> None:
        session = self.get_sessions(sid)[sid]
        if not session.is_written:
            session.inboxes = (*session.inboxes, room)
        elif room not in session.inboxes:
            raise RuntimeError("an inbox is entered in a connect handler, and not with always_connect")
        self._manager.enter_room(sid, namespace, room)
        shard = self._manager.shards.get_of_room(namespace, room)
        shard.inboxes.add(session.eio_sid, shard.keys.stream(namespace, room))

    def save(self, sid: str, data: Any) -> None:
        session = self._manager.get_session(sid)
        if session is not None:
            with self.dropping_taken():
                self.get_sessions(sid).save(session, data)

    def expire(self, sid: str, at: float) -> None:
        session = self._manager.get_session(sid)
        if session is not None:
            with self.dropping_taken():
                self.get_sessions(sid).expire(session, at)

    def on_expired(self, session: Session) -> None:
        """The time of a session of this node is over."""
        log.info("session expired", extra={"sid": session.sid, "user": session.user})
        self._manager.server.disconnect(session.sid, session.namespace)

    def on_probe(self, sid: str, generation: int) -> None:
        """Close the connection of a session if it does not answer a heartbeat quickly."""
        session = self._manager.get_session(sid)
        connection = self._manager.server.eio.sockets.get(session.eio_sid) if session is not None else None
        if connection is not None and session is not None and session.generation == generation:
            self._manager.server.eio.heartbeats.probe(connection, PROBE_S)

    def close(self, sid: str, eio_sid: str) -> None:
        session, sessions = self._manager.get_session(sid), self.get_sessions(sid)
        if session is None or session.eio_sid != eio_sid:
            return
        if session.is_written:
            sessions.close(session)
        else:
            sessions.forget(session)

    def end(self, sid: str, eio_sid: str) -> None:
        session = self._manager.get_session(sid)
        if session is not None and session.eio_sid == eio_sid:
            self.get_sessions(sid).end(session)

    def drop_resuming(self, namespace: str, room: str | None) -> None:
        for session in [one for shard in self._manager.shards for one in shard.sessions.get_all()]:
            is_in_room = session.namespace == namespace and room in session.floors
            if is_in_room and not self._manager.is_connected(session.sid, namespace):
                self.drop(session)

    def on_taken(self, sid: str, generation: int) -> None:
        """Another node has taken a session."""
        session = self._manager.get_session(sid)
        if session is not None and session.generation == generation:
            self.drop(session)

    def confirm(self, sessions: "Sessions") -> None:
        """Redis is back: keep what is still ours, drop what was taken. Raises ``redis.RedisError``."""
        sessions.write_ends()
        for session in sessions.renew(sessions.get_all()):
            self.drop(session)

    def abandon(self, session: Session, why: str) -> None:
        """Not all can be delivered any more: the client gets nothing from beyond the hole, comes back, and is told."""
        counters.sessions_ended[why] += 1
        self.get_sessions(session.sid).end(session)
        if session.eio_sid:
            self._manager.server.eio.disconnect(session.eio_sid)
