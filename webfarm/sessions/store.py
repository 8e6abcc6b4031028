"""The store of sessions: a session outlives its client's connection, and can be resumed on any node.

A session is written when its client connects and when its rooms change, before the client is told. So it can be resumed
even after its worker was killed. It belongs to a node under a *generation*, which rises when a connection takes it;
later writes of the connection before are refused. Each room has a *floor*: the log's newest id when it was joined.
"""

import contextlib
import secrets
from collections.abc import Sequence
from typing import Any

import orjson

from webfarm.defaults import GRACE_S, LEASE_S
from webfarm.errors import TooManyConnections, Unavailable
from webfarm.log.entry import Entry
from webfarm.log.shard_log import ShardLog, decode_entries
from webfarm.redis.client import redis_errors_as_unavailable
from webfarm.redis.commands import Commands
from webfarm.sessions.pending_ends import PendingEnds
from webfarm.sessions.session import NotResumable, Session, Taken, check_refusal, get_field

_AT_ONCE = 500


class SessionStore:
    """The sessions of one shard that this node's clients have, by sid.

    Args:
        commands: the connection to the Redis that they are in.
        shard: their shard's log.
        window_s: how long a session lives at least when its connection is lost; 0: it can't be resumed.
    """

    def __init__(self, commands: Commands, shard: ShardLog, window_s: float) -> None:
        self.window_s = window_s
        self._commands = commands
        self._log = shard
        self._keys = shard.keys
        self.renew_every_s = max(window_s / 2, 1.0)
        # A session that was written when a round of renewals had just begun comes last in the next one.
        self._ttl_ms = int((window_s + LEASE_S + 2 * self.renew_every_s) * 1000)
        self._sessions: dict[str, Session] = {}
        self._ends = PendingEnds(self)
        self._node = ""

    def start(self, node: str) -> None:
        """Own sessions in the name of ``node``."""
        self._node = node

    def __getitem__(self, sid: str) -> Session:
        return self._sessions[sid]

    def get(self, sid: str) -> Session | None:
        """Return the session of a client of this node."""
        return self._sessions.get(sid)

    def get_all(self) -> list[Session]:
        """Return the sessions of this node's clients that are written."""
        return [session for session in self._sessions.values() if session.is_written]

    def open(self, sid: str, namespace: str, owner: str, user: str = "") -> Session:
        """Return a new session, which is not written yet."""
        session = Session(sid, namespace, owner, f"{sid}.{secrets.token_urlsafe(16)}")
        session.user = user
        self._sessions[sid] = session
        return session

    def write(self, session: Session, inboxes: Sequence[str], max_of_user: int) -> tuple[int, list[Entry]]:
        """Write a new session; return the log's newest id, and what waits in its ``inboxes`` in this shard.

        Raises:
            Unavailable: Redis does not answer, or its log began again just now.
            TooManyConnections: its user has ``max_of_user`` (0: any number) that are open; nothing was written.
        """
        keys, shard = self._keys, self._log
        sessions_of_user = keys.user_sessions(session.namespace, session.user)
        names = [keys.stream(session.namespace, room) for room in inboxes]
        read = [key for stream in names for key in (stream, keys.room_of(stream), keys.pointer(stream))]
        fields = [part for field in session.get_fields(self._node).items() for part in field]
        epoch_before = shard.epoch
        session.is_written = True  # what joins from now on is written by itself, behind this
        try:
            with redis_errors_as_unavailable():
                epoch, newest, found, refusal = self._commands.run(
                    "sessions/connect",
                    keys=[keys.clock, keys.session(session.sid), sessions_of_user, *read],
                    arguments=[
                        *shard.clock_arguments,
                        self._ttl_ms,
                        shard.retention.length,
                        session.sid,
                        max_of_user if session.user else 0,
                        keys.sessions,
                        keys.leases,
                        *(get_field(room) for room in inboxes),
                        *fields,
                    ],
                )
            id = shard.see(epoch, newest)
            if shard.epoch != epoch_before:
                raise Unavailable("the log of messages began again")
            if refusal:
                raise TooManyConnections(f"A user may have {max_of_user} connections; close one first.")
        except BaseException as error:
            session.is_written = False
            if isinstance(error, Unavailable):  # it may be there
                self._ends.add_ended(session)
            raise
        return id, decode_entries(found, names)

    def join(self, session: Session, room: str, shard: ShardLog) -> int:
        """Write that a client joined ``room`` of a shard; return its floor. Raises ``Unavailable``, ``Taken``."""
        if shard is self._log:
            floor = self._write(session, ["join", get_field(room), ""])
        else:
            with redis_errors_as_unavailable():
                floor = shard.fetch_clock()
            session.set_epoch(shard.keys.shard, shard.epoch)
            epochs = orjson.dumps(session.epochs)  # each time: the last one may not have been written
            self._write(session, ["set", "epochs", epochs, "join", get_field(room), floor])
        session.floors.setdefault(room, floor)
        return floor

    def leave(self, session: Session, room: str) -> None:
        """Write that a client left ``room``. Raises ``Unavailable``, ``Taken``."""
        session.floors.pop(room, None)
        self._write(session, ["del", get_field(room), ""])

    def save(self, session: Session, data: Any) -> None:
        """Write what ``save_session`` was given. Raises ``Unavailable``, ``Taken``, ``TypeError``: it is no JSON."""
        encoded = orjson.dumps(data)
        session.data = data
        if session.is_written:
            self._write(session, ["set", "data", encoded])

    def set_expiry(self, session: Session, at: float) -> None:
        """Write when the session expires, in seconds since 1970. Raises ``Unavailable``, ``Taken``."""
        before, session.expires_ms = session.expires_ms, int(min(at * 1000, 2**53))
        if session.is_written and session.expires_ms != before:
            self._write(session, ["set", "expires", session.expires_ms])

    def close(self, session: Session) -> None:
        """The connection was lost: a client may resume the session within the window. Redis is told soon."""
        self._remove(session)
        if not session.is_taken:
            self._ends.add_closed(session)

    def expire(self, session: Session) -> None:
        """End the session: no client can resume it. Redis is told soon."""
        self._remove(session)
        if session.is_written and not session.is_taken:
            self._ends.add_ended(session)

    def write_ends(self) -> None:
        """Write which sessions were closed and ended, also while Redis did not answer. Raises ``redis.RedisError``."""
        self._ends.write()

    def write_closed(self, sessions: list[Session]) -> None:
        """Write that the connections of some sessions were lost. Raises ``redis.RedisError``."""
        self._run_renew(sessions, is_open=False)

    def write_ended(self, session: Session) -> None:
        """Write that a session has ended. Raises ``redis.RedisError``."""
        with contextlib.suppress(Taken):
            self._run_change(session, ["end", "", ""])

    def _remove(self, session: Session) -> None:
        """Have the session on this node no longer."""
        if self._sessions.get(session.sid) is session:
            del self._sessions[session.sid]

    def evict(self, session: Session) -> None:
        """Forget the session: it belongs to another connection by now."""
        session.is_taken = True
        self._remove(session)

    def renew(self, sessions: Sequence[Session]) -> list[Session]:
        """Keep sessions alive, also expired ones; return the taken and ended ones. Raises ``redis.RedisError``."""
        taken: list[Session] = []
        for first in range(0, len(sessions), _AT_ONCE):
            some = sessions[first : first + _AT_ONCE]
            answer = self._run_renew(some, is_open=True)
            for i in range(0, len(answer), 2):
                session: Session = some[answer[i]]
                if self._sessions.get(session.sid) is not session:
                    continue
                try:
                    check_refusal(session, answer[i + 1])
                    self._restore(session)
                except Taken:
                    taken.append(session)
        return taken

    def take(
        self, pid: str, owner: str, namespace: str, max_of_user: int, *, is_open_here: bool
    ) -> tuple[Session, str]:
        """Take the session ``pid`` for a connection of this node.

        Returns the session, and the name of the node that had it if that node is dead, else an empty text. A dead
        node's entries of the client in other shards are still there.

        Args:
            pid: the session's, as the client shows it.
            owner: the name of the client's owner.
            namespace: the namespace that the client joins.
            max_of_user: how many connections its user may have, this one included; 0: any number.
            is_open_here: whether a connection of this node has the session, and is open.

        Raises:
            NotResumable: there is no such session, or not for this client, or its user has enough others.
            Unavailable: Redis does not answer.
        """
        keys, sid = self._keys, pid.partition(".")[0]
        who = *self._log.clock_arguments, pid, owner, self._node, self._ttl_ms
        what = sid, namespace, int(is_open_here), max_of_user, int(GRACE_S * 1_000_000)
        names = keys.sessions, keys.leases, keys.marks, keys.users
        registry = keys.clients, keys.rooms_of_nodes, keys.members, keys.present
        with redis_errors_as_unavailable():
            reason, *rest = self._commands.run(
                "sessions/take",
                keys=[keys.clock, keys.session(sid), keys.leaving],
                arguments=[*who, *what, *names, *registry],
            )
        if reason:
            raise NotResumable(reason.decode())
        return Session.from_fields(sid, rest[0], keys.shards), rest[1].decode()

    def adopt(self, session: Session) -> None:
        """A connection of this node has resumed ``session``."""
        self._sessions[session.sid] = session

    def exists(self, sid: str) -> bool:
        """Return whether there is a session of ``sid`` anywhere. Raises ``Unavailable``."""
        if sid in self._sessions:
            return True
        with redis_errors_as_unavailable():
            return bool(self._commands.execute("HEXISTS", self._keys.session(sid), "pid"))

    def _run_renew(self, sessions: Sequence[Session], *, is_open: bool) -> Any:
        ttl_ms = self._ttl_ms if is_open else int(self.window_s * 1000) or 1
        states = [part for session in sessions for part in (session.generation, session.encode_received())]
        return self._commands.run(
            "sessions/renew",
            keys=[self._keys.session(session.sid) for session in sessions],
            arguments=[self._node, ttl_ms, int(is_open), self._keys.users, *states],
        )

    def _restore(self, session: Session, **more: str | bytes | int) -> None:
        """Write a session again that expired while Redis did not answer. Raises ``Taken``."""
        fields = {**session.get_fields(self._node), "epoch": self._log.epoch, **more}
        names = [self._keys.session(session.sid), self._keys.user_sessions(session.namespace, session.user)]
        arguments = [self._ttl_ms, self._node, session.generation, *(part for one in fields.items() for part in one)]
        check_refusal(session, self._commands.run("sessions/restore", names, arguments))

    def _write(self, session: Session, changes: Sequence[Any]) -> int:
        with redis_errors_as_unavailable():
            return self._run_change(session, changes)

    def _run_change(self, session: Session, changes: Sequence[Any]) -> int:
        """Run the script with ``changes``, of which the last names the reason."""
        keys, arguments = self._keys, [*self._log.clock_arguments, self._node, session.generation, self._ttl_ms]
        arguments += [keys.users, *changes]
        epoch, newest, refusal = self._commands.run(
            "sessions/change", [keys.clock, keys.session(session.sid)], arguments
        )
        id = self._log.see(epoch, newest)
        check_refusal(session, refusal)
        verb, field, value = changes[-3:]
        if refusal == b"missing" and verb in ("join", "set") and self._sessions.get(session.sid) is session:
            self._restore(session, **{field: value or id})
        return id
