"""Connection state recovery: a client that comes back has its id and rooms again, and gets what it missed.

https://socket.io/docs/v4/connection-state-recovery

The wire is Socket.IO's own. CONNECT is answered with ``{sid, pid}``, and each event that is in the log ends in its
offset. A client that comes back sends ``{pid, offset}`` with its auth. The server resumes a session only if it can show
that nothing is missing; else the client is a new one, and knows it.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gevent

from webfarm.engineio.connection import Connection
from webfarm.errors import Unavailable
from webfarm.log.entry import Entry
from webfarm.manager.resumption import PROBE_S, RecoveryOwner, Resumption, create_replay
from webfarm.manager.shard import Shard
from webfarm.monitoring.counters import counters
from webfarm.redis.client import redis_errors_as_unavailable
from webfarm.sessions.replay import Found, Replay
from webfarm.sessions.session import Session, Taken
from webfarm.sessions.store import SessionStore

log = logging.getLogger(__name__)


class Recovery:
    """The sessions of a manager's clients: from their beginning to their end, and over to another connection.

    Args:
        manager: whose clients they are.
    """

    def __init__(self, manager: RecoveryOwner) -> None:
        self.manager = manager

    def get(self, sid: str) -> Session | None:
        """Return the session of a client of this node."""
        return self.manager.shards.get(sid).sessions.get(sid)

    def get_store(self, sid: str) -> SessionStore:
        """Return the sessions of the shard that has the session of ``sid``."""
        return self.manager.shards.get(sid).sessions

    # Joining

    def split_auth(self, data: Any) -> tuple[Any, Any, Any]:
        """Return the app's part of what a client sent with CONNECT, then its pid and offset, if it has any."""
        if not self.manager.has_recovery or not isinstance(data, dict):
            return data, None, None
        auth = {key: value for key, value in data.items() if key not in ("pid", "offset")}
        return auth or None, data.get("pid"), data.get("offset")

    def begin(self, eio_sid: str, namespace: str, owner: str, user: str = "") -> str:
        """Add a new client with a new session; return its sid.

        Args:
            eio_sid: its connection.
            namespace: the namespace that it joins.
            owner: the name that may resume the session; empty: any client that knows the session's ``pid``.
            user: the name under which the client is counted and listed; empty: none.
        """
        shards = self.manager.shards
        sid = shards.create_name(self.manager.server.eio.generate_id, owner)
        self.manager.clients.add_client(sid, eio_sid, namespace, user)
        session = self.get_store(sid).open(sid, namespace, owner, user)
        session.eio_sid, session.began, session.epochs = eio_sid, shards.positions, shards.epochs
        for room in (sid, None):
            session.floors[room] = session.began[shards.get_of_room(namespace, room).number]
        return sid

    def resume(self, eio_sid: str, namespace: str, owner: str, pid: Any, offset: Any) -> tuple[str, Replay]:
        """Return the sid of a client that came back, and what it missed.

        Raises:
            NotResumable: the client begins again as a new one; its text says why, in a word.
            Unavailable: Redis does not answer.
        """
        return Resumption(self, eio_sid, namespace, owner).run(pid, offset)

    def write(self, sid: str) -> Replay:
        """Write a new session, right before its client is told that it has joined; return what it is sent first.

        Raises:
            Unavailable: Redis does not answer, or its log began again.
            TooManyConnections: the client's user has as many as it may have.
        """
        session, shards = self.get_store(sid)[sid], self.manager.shards
        namespace, own = session.namespace, shards.get(sid)
        session.user = (
            self.manager.server.get_user(sid, namespace) or ""
        )  # an app may name another one than ``begin`` was given
        groups = shards.group(namespace, session.floors)
        for shard, rooms in groups.items():
            shard.follower.wait_until_following(*(shard.keys.stream(namespace, room) for room in rooms))
        inboxes = shards.group(namespace, session.inboxes)
        found: list[Found] = []
        for shard, names in inboxes.items():
            if shard is not own:
                found += self._read_inboxes(shard, session, names)
        if any(session.epochs[shard.number] != shard.log.epoch for shard in groups):
            raise Unavailable("the log of messages began again")
        if not all(session.began[shard.number] for shard in groups):
            raise Unavailable("not all stored messages had been delivered when the session began")
        max_of_user = self.manager.server.max_connections_per_user
        newest, entries = own.sessions.write(session, inboxes.get(own, []), max_of_user)
        session.began = ()
        found += self._take_note(own, newest, entries)
        return create_replay(session, found, shards, has_offset=self.manager.has_recovery)

    def _read_inboxes(self, shard: Shard, session: Session, rooms: Sequence[str]) -> list[Found]:
        """Return what waits in inboxes in another shard than the session's, whose floors are their pointers."""
        with redis_errors_as_unavailable():
            inbox = shard.log.read_inboxes([shard.keys.stream(session.namespace, room) for room in rooms])
        session.floors.update(zip(rooms, inbox.pointers, strict=True))
        return self._take_note(shard, inbox.newest, inbox.entries)

    def _take_note(self, shard: Shard, newest: int, entries: list[Entry]) -> list[Found]:
        """Wait until the messages of inboxes have been delivered to the members who are there already."""
        if entries:
            shard.follower.position.wait_until_passed(newest)
        for entry in entries:
            shard.inboxes.on_delivered(entry.room, entry.id)
        return [(entry, shard.number) for entry in entries]

    def describe(self, sid: str) -> dict[str, str]:
        """Return the answer to a client's CONNECT."""
        return {"sid": sid, "pid": self.get_store(sid)[sid].pid} if self.manager.has_recovery else {"sid": sid}

    def is_recovered(self, sid: str) -> bool:
        """Return whether a client came back to its session."""
        session = self.get(sid)
        return session is not None and session.generation > 1

    def enter_inbox(self, sid: str, namespace: str, room: str) -> None:
        """Put a client that is connecting into a room whose messages wait for it."""
        session = self.get_store(sid)[sid]
        if not session.is_written:
            session.inboxes = (*session.inboxes, room)
        elif room not in session.inboxes:
            raise RuntimeError("an inbox is entered in a connect handler, and not with always_connect")
        self.manager.enter_room(sid, namespace, room)
        shard = self.manager.shards.get_of_room(namespace, room)
        shard.inboxes.add(session.eio_sid, shard.keys.stream(namespace, room))

    # Keeping

    def save(self, sid: str, data: Any) -> None:
        """Keep the data that ``save_session`` was given. Raises ``Unavailable``, or ``TypeError`` if it is no JSON."""
        session = self.get(sid)
        if session is not None:
            with self.evicting():
                self.get_store(sid).save(session, data)

    def expire(self, sid: str, at: float) -> None:
        """End a client's session at ``at``, in seconds since 1970. Raises ``Unavailable``."""
        session = self.get(sid)
        if session is not None:
            with self.evicting():
                self.get_store(sid).set_expiry(session, at)

    def on_ping(self, connection: Connection) -> None:
        """A heartbeat is about to be sent."""
        shards = self.manager.shards
        positions = shards.positions
        for shard in shards:
            shard.inboxes.on_ping(connection.sid, positions[shard.number])
        for sid in self.manager.clients.get_sids_of(connection.sid):
            if session := self.get(sid):
                session.on_ping(positions)

    def on_pong(self, connection: Connection) -> None:
        """A heartbeat was answered."""
        for shard in self.manager.shards:
            shard.inboxes.on_pong(connection.sid)
        for sid in self.manager.clients.get_sids_of(connection.sid):
            if session := self.get(sid):
                session.on_pong()

    # Leaving

    def close(self, sid: str, eio_sid: str) -> None:
        """A client's connection ``eio_sid`` was lost: its session may be resumed."""
        session, sessions = self.get(sid), self.get_store(sid)
        if session is None or session.eio_sid != eio_sid:
            return
        if session.is_written:
            sessions.close(session)
        else:
            sessions.evict(session)

    def disconnect(self, sid: str, eio_sid: str) -> None:
        """A client with the connection ``eio_sid`` was disconnected, or did so itself: its session ends."""
        session = self.get(sid)
        if session is not None and session.eio_sid == eio_sid:
            self.get_store(sid).expire(session)

    def evict(self, session: Session) -> None:
        """Forget a client: its session belongs to another connection. Disconnect it if the session was ended."""
        if session.is_taken:
            return
        self.get_store(session.sid).evict(session)
        server = self.manager.server
        if session.is_ended and self.manager.clients.is_connected(session.sid, session.namespace):
            gevent.spawn(server.disconnect, session.sid, session.namespace, ignore_queue=True)
        else:
            server.evict(session.sid, session.namespace, session.eio_sid)

    @contextlib.contextmanager
    def evicting(self) -> Iterator[None]:
        """Evict a client whose session proves to be another's. Raises ``Unavailable``: its handler is to end."""
        try:
            yield
        except Taken as error:
            self.evict(error.session)
            error.session.check()

    def evict_resuming(self, has_ended: Callable[[Session], bool]) -> list[tuple[str, str]]:
        """Sessions have ended: evict who is just resuming one; return sid and namespace of the connected clients."""
        connected = []
        for session in [one for shard in self.manager.shards for one in shard.sessions.get_all() if has_ended(one)]:
            if self.manager.clients.is_connected(session.sid, session.namespace):
                connected.append((session.sid, session.namespace))
            else:
                self.evict(session)
        return connected

    def _expire_and_close(self, session: Session, why: str) -> None:
        """Messages are lost: deliver nothing from beyond the hole. The client comes back, and is told."""
        counters.sessions_ended[why] += 1
        self.get_store(session.sid).expire(session)
        if session.eio_sid:
            self.manager.server.eio.disconnect(session.eio_sid)

    # From the shards

    def on_expired(self, session: Session) -> None:
        """The time of a session of this node is over."""
        log.info("session expired", extra={"sid": session.sid, "user": session.user})
        self.manager.server.disconnect(session.sid, session.namespace)

    def on_probe(self, sid: str, generation: int) -> None:
        """Close the connection of a session if it does not answer a heartbeat quickly."""
        session = self.get(sid)
        connection = self.manager.server.eio.sockets.get(session.eio_sid) if session is not None else None
        if connection is not None and session is not None and session.generation == generation:
            self.manager.server.eio.heartbeats.probe(connection, PROBE_S)

    def on_taken(self, sid: str, generation: int) -> None:
        """Another node has taken a session."""
        session = self.get(sid)
        if session is not None and session.generation == generation:
            self.evict(session)

    def on_return(self, sessions: SessionStore) -> None:
        """Redis answers again: keep the sessions that are still ours, evict the others. Raises ``redis.RedisError``."""
        sessions.write_ends()
        for session in sessions.renew(sessions.get_all()):
            self.evict(session)

    def on_lost(self, namespace: str, room: str | None) -> None:
        """Messages of a room are lost to this node."""
        for session in filter(None, map(self.get, list(self.manager.clients.get_members(namespace, room)))):
            self._expire_and_close(session, "incomplete")

    def on_new_epoch(self, shard: Shard) -> None:
        """Messages of a shard may be gone: no client with a room there can still show that nothing is missing."""
        shards = self.manager.shards
        for other in shards:  # the cause has mostly reached all of them: no client is to be told twice
            other.follower.position.request_marker()
        for session in [session for one in shards for session in one.sessions.get_all()]:
            is_older = session.epochs[shard.number] != shard.log.epoch  # else another node has known before
            if is_older and shard in shards.group(session.namespace, session.floors):
                self._expire_and_close(session, "epoch")
