"""What reaches the clients of all nodes at once, and the nodes themselves.

Each as Node's adapters have it (https://socket.io/docs/v4/server-api/#utility-methods), ``sio`` being a ``Server``::

    sio.disconnect_all("lobby")                         # io.in("lobby").disconnectSockets()
    sio.enter_all("lobby", "game")                      # io.in("lobby").socketsJoin("game")
    sio.leave_all("lobby", "game")                      # io.in("lobby").socketsLeave("game")
    sio.fetch_clients("lobby").clients                  # io.in("lobby").fetchSockets()
    sio.call_all("ready?", room="lobby").answers        # io.to("lobby").emitWithAck("ready?")
    sio.server_emit("reload", {"what": "rules"})        # io.serverSideEmit("reload", ...)
    sio.server_call("version").by_node                  # io.serverSideEmitWithAck("version")
    sio.on_server_event("version", lambda: "1.2")       # io.on("version", ...)

Overridden of ``socketio.Server`` (5.18): ``close_room``, which the other nodes are told of only.

A room is also a client's sid, and a user's where an app has rooms for its users; ``None`` is all of a namespace. A node
that stands still, dies while it is asked or is just connecting to Redis is missing in the result, which comes within
the timeout.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import gevent
import socketio
from gevent.pool import Pool
from socketio.exceptions import DisconnectedError, TimeoutError

from webfarm.engineio.server import EngineServer
from webfarm.errors import Unavailable
from webfarm.manager.local_manager import LocalManager
from webfarm.manager.redis_manager import RedisManager
from webfarm.nodes.peers import Answers, pack, unpack, unpack_arguments

log = logging.getLogger(__name__)

_TIMEOUT_S = 5.0
_ANSWER_S = 1.0  # for a node to answer when its clients' time is up
_AT_ONCE = 100


class Clients(NamedTuple):
    """The clients of a room on all nodes."""

    clients: list[dict[str, Any]]  # {sid, user, node, rooms, transport}
    missing: dict[str, str]  # nodes that have not answered, and why


class Acknowledgements(NamedTuple):
    """What an event was acknowledged with by the clients of all nodes."""

    answers: dict[str, Any]  # by sid: None, an argument, or a tuple of several
    missing: dict[str, str]  # sids of clients, and nodes, that have not answered, and why

    @property
    def is_complete(self) -> bool:
        """Whether all clients have answered."""
        return not self.missing


class AllNodes(socketio.Server):
    """The half of a ``Server`` that reaches all nodes."""

    manager: LocalManager | RedisManager
    eio: EngineServer
    get_user: Callable[..., str | None]

    def serve_peers(self) -> None:
        """Answer the requests of the other nodes from now on."""
        self._server_handlers: dict[str, Callable[..., Any]] = {}
        self.manager.peers.handlers.update(
            disconnect=self._disconnect_own,
            enter=partial(self._change_own, self.manager.enter_room),
            leave=partial(self._change_own, self.manager.leave_room),
            fetch=self._fetch_own,
            call=self._call_own,
            event=self._handle_server_event,
        )

    def disconnect_all(self, room: str | None, namespace: str | None = None) -> int:
        """Disconnect all clients in a room, on every node; the sessions of those that are away end, too.

        Each is told so as by ``disconnect``. Returns how many nodes were told. Raises ``Unavailable``.
        """
        namespace = namespace or "/"
        self.manager.peers.end_sessions(namespace, room)  # first, so that nobody resumes behind a node that has looked
        return self.manager.peers.tell("disconnect", {"namespace": namespace, "room": room})

    def enter_all(self, members_of: str | None, room: str, namespace: str | None = None) -> int:
        """Put all connected clients of the room ``members_of`` into ``room``, on every node; return how many.

        Raises ``Unavailable`` if not all nodes have confirmed it; it can be repeated.
        """
        return self._change_all("enter", members_of, room, namespace)

    def leave_all(self, members_of: str | None, room: str, namespace: str | None = None) -> int:
        """Take all connected clients of the room ``members_of`` out of ``room``, as ``enter_all`` puts them there."""
        return self._change_all("leave", members_of, room, namespace)

    def close_room(self, room: str, namespace: str | None = None) -> None:
        """Take all connected clients out of a room, as ``leave_all`` does."""
        self.leave_all(room, room, namespace)

    def fetch_clients(
        self, room: str | None = None, namespace: str | None = None, *, timeout: float = _TIMEOUT_S
    ) -> Clients:
        """Return the connected clients of a room, of all nodes that answer within ``timeout`` seconds.

        Raises ``Unavailable`` if Redis is away.
        """
        found = self.manager.peers.ask("fetch", {"namespace": namespace or "/", "room": room}, timeout)
        clients = [client | {"node": node} for node, some in found.by_node.items() for client in some]
        return Clients(clients, found.missing)

    def call_all(
        self,
        event: str,
        data: Any = None,
        *,
        room: str | None = None,
        namespace: str | None = None,
        timeout: float = _TIMEOUT_S,
    ) -> Acknowledgements:
        """Emit an event, which is not stored, to all clients in a room; return their acknowledgements.

        Args:
            event: its name.
            data: its argument; a tuple of several; ``None`` for none.
            room: a room, or ``None`` for all clients.
            namespace: whose clients.
            timeout: seconds; who has not answered by then is missing.

        Raises:
            Unavailable: Redis is away.
        """
        arguments = {"namespace": namespace or "/", "room": room, "event": event, "packed": pack(data)}
        found = self.manager.peers.ask("call", {**arguments, "timeout": timeout}, timeout + _ANSWER_S)
        answers: dict[str, Any] = {}
        missing = dict(found.missing)
        for own_answers, own_missing in found.by_node.values():
            answers |= {sid: unpack(packed) for sid, packed in own_answers.items()}
            missing |= own_missing
        return Acknowledgements(answers, missing)

    def on_server_event(self, event: str, handler: Callable[..., Any] | None = None) -> Any:
        """Have ``handler`` called with the arguments of a server's event; without one, a decorator.

        What it returns is the node's answer to ``server_call``. It may wait.
        """

        def register(handler: Callable[..., Any]) -> Callable[..., Any]:
            self._server_handlers[event] = handler
            return handler

        return register if handler is None else register(handler)

    def server_emit(self, event: str, *args: Any) -> int:
        """Have the event's handlers called on all other nodes, once each if they are connected to Redis.

        Returns how many nodes were told. Raises ``Unavailable``.
        """
        return self.manager.peers.tell("event", {"event": event, "packed": pack(args)}, others_only=True)

    def server_call(self, event: str, *args: Any, timeout: float = _TIMEOUT_S) -> Answers:
        """Have the event's handlers called on all other nodes; return what they returned, by node.

        A node without a handler is missing. Raises ``Unavailable`` if Redis is away.
        """
        arguments = {"event": event, "packed": pack(args)}
        found = self.manager.peers.ask("event", arguments, timeout, others_only=True)
        return Answers({node: unpack(packed) for node, packed in found.by_node.items()}, found.missing)

    def _change_all(self, change: str, members_of: str | None, room: str, namespace: str | None) -> int:
        if not isinstance(room, str):
            raise TypeError(f"a room's name is a text, not {room!r}")
        arguments = {"namespace": namespace or "/", "members_of": members_of, "room": room}
        found = self.manager.peers.ask(change, arguments, _TIMEOUT_S)
        if not found.is_complete:
            reasons = "; ".join(f"{node}: {why}" for node, why in found.missing.items())
            raise Unavailable(f"not all nodes have changed their clients' rooms: {reasons}")
        return sum(found.by_node.values())

    # What this node does for all others

    def _get_own(self, namespace: str, room: str | None) -> list[str]:
        participants = self.manager.get_participants(namespace, room)
        return [sid for sid, _ in participants if self.manager.is_connected(sid, namespace)]

    def _disconnect_own(self, namespace: str, room: str | None) -> None:
        self.manager.recovery.drop_resuming(namespace, room)
        sids = self._get_own(namespace, room)
        if sids:
            log.info("kicked", extra={"room": room, "clients": len(sids)})
        Pool(_AT_ONCE).map(partial(self.disconnect, namespace=namespace, ignore_queue=True), sids)

    def _change_own(
        self, change: Callable[[str, str, str], Any], namespace: str, members_of: str | None, room: str
    ) -> int:
        def change_one(sid: str) -> bool:
            try:
                change(sid, namespace, room)
            except (Unavailable, ValueError):
                if self.manager.is_sid_room(namespace, sid):
                    raise
            return self.manager.is_sid_room(namespace, sid)  # else it has left meanwhile

        return sum(Pool(_AT_ONCE).imap_unordered(change_one, self._get_own(namespace, members_of)))

    def _fetch_own(self, namespace: str, room: str | None) -> list[dict[str, Any]]:
        return [
            {
                "sid": sid,
                "user": self.get_user(sid, namespace),
                "rooms": self.manager.get_rooms(sid, namespace),
                "transport": self.transport(sid, namespace),
            }
            for sid in self._get_own(namespace, room)
        ]

    def _call_own(
        self, namespace: str, room: str | None, event: str, packed: list[Any], timeout: float
    ) -> tuple[dict[str, Any], dict[str, str]]:
        answers: dict[str, Any] = {}
        missing: dict[str, str] = {}

        def call(sid: str) -> None:
            try:
                answer = self.call(event, data, to=sid, namespace=namespace, timeout=timeout, ignore_queue=True)
                answers[sid] = pack(answer)
            except TimeoutError:
                missing[sid] = "it has not answered"
            except DisconnectedError:
                missing[sid] = "it has disconnected"

        data = unpack(packed)
        gevent.joinall([gevent.spawn(call, sid) for sid in self._get_own(namespace, room)])
        return answers, missing

    def _handle_server_event(self, event: str, packed: list[Any]) -> list[Any]:
        handler = self._server_handlers.get(event)
        if handler is None:
            raise Unavailable("it has no handler for this event")
        return pack(handler(*unpack_arguments(packed)))
