"""Reaching the clients of all nodes at once, and the nodes themselves.

Each as Node's adapters have it (https://socket.io/docs/v4/server-api/#utility-methods), ``sio`` being a ``Server``::

    sio.disconnect_all("lobby")                         # io.in("lobby").disconnectSockets()
    sio.enter_all("lobby", "game")                      # io.in("lobby").socketsJoin("game")
    sio.leave_all("lobby", "game")                      # io.in("lobby").socketsLeave("game")
    sio.fetch_clients("lobby").clients                  # io.in("lobby").fetchSockets()
    sio.call_all("ready?", room="lobby").answers        # io.to("lobby").emitWithAck("ready?")
    sio.server_emit("reload", {"what": "rules"})        # io.serverSideEmit("reload", ...)
    sio.server_call("version").by_node                  # io.serverSideEmitWithAck("version")
    sio.on_server_event("version", lambda: "1.2")       # io.on("version", ...)

In place of a method of ``socketio.Server`` (5.18): ``close_room``, which stock only announces to the other nodes.

A room is also a client's sid, or a user's room (``Server(has_user_rooms=True)``); ``None`` is all of a namespace. The
result comes within the timeout. A node that stalls, dies or just connects to Redis meanwhile is missing in it.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import gevent
from gevent.pool import Pool
from socketio.exceptions import DisconnectedError, TimeoutError

from webfarm.errors import Unavailable
from webfarm.nodes.peers import Answers, pack, unpack, unpack_arguments
from webfarm.socketio.core import ServerCore

log = logging.getLogger(__name__)

_CHANGE_S = 5.0  # for all nodes to change the rooms of their clients
_ANSWER_S = 1.0  # for a node to answer after its clients' timeout
_AT_ONCE = 100


class Clients(NamedTuple):
    """The clients of a room on all nodes."""

    clients: list[dict[str, Any]]  # {sid, user, node, rooms, transport}
    missing: dict[str, str]  # why a node has not answered, by node


class Acknowledgements(NamedTuple):
    """The acknowledgements of an event by the clients of all nodes."""

    answers: dict[str, Any]  # by sid: None, an argument, or a tuple of several
    missing: dict[str, str]  # why a client or a node has not answered, by its sid or name

    @property
    def is_complete(self) -> bool:
        """Whether all clients have answered."""
        return not self.missing


class AllNodes:
    """The part of a ``Server`` that reaches all nodes, and answers them."""

    def __init__(self, server: ServerCore) -> None:
        self._server = server
        self._manager = server.manager
        self._peers = server.manager.peers
        self._server_handlers: dict[str, Callable[..., Any]] = {}
        self._peers.handlers.update(
            disconnect=self._disconnect_own,
            disconnect_user=self._disconnect_user_own,
            enter=partial(self._change_own, self._manager.enter_room),
            leave=partial(self._change_own, self._manager.leave_room),
            fetch=self._fetch_own,
            call=self._call_own,
            event=self._handle_server_event,
        )

    def disconnect_all(self, room: str | None, namespace: str | None = None) -> int:
        """Disconnect all clients in a room, on every node; sessions without a connection end, too.

        Each client is told as by ``disconnect``. Returns how many nodes were told. Raises ``Unavailable``.
        """
        namespace = namespace or "/"
        self._peers.end_sessions(namespace, room)  # first: nobody resumes on a node that has looked already
        return self._peers.tell("disconnect", {"namespace": namespace, "room": room})

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

    def fetch_clients(self, room: str | None = None, namespace: str | None = None, *, timeout: float = 5.0) -> Clients:
        """Return the connected clients of a room, of all nodes that answer within ``timeout`` seconds.

        Raises ``Unavailable`` if Redis is unreachable.
        """
        found = self._peers.ask("fetch", {"namespace": namespace or "/", "room": room}, timeout)
        clients = [client | {"node": node} for node, some in found.by_node.items() for client in some]
        return Clients(clients, found.missing)

    def call_all(
        self,
        event: str,
        data: Any = None,
        *,
        room: str | None = None,
        namespace: str | None = None,
        timeout: float = 5.0,
    ) -> Acknowledgements:
        """Emit an event, which is not stored, to all clients in a room; return their acknowledgements.

        Args:
            event: its name.
            data: its argument; a tuple of several; ``None`` for none.
            room: a room, or ``None`` for all clients.
            namespace: whose clients.
            timeout: seconds; a client without an answer by then is missing.

        Raises:
            Unavailable: Redis is unreachable.
        """
        arguments = {"namespace": namespace or "/", "room": room, "event": event, "packed": pack(data)}
        found = self._peers.ask("call", {**arguments, "timeout": timeout}, timeout + _ANSWER_S)
        answers: dict[str, Any] = {}
        missing = dict(found.missing)
        for own_answers, own_missing in found.by_node.values():
            answers |= {sid: unpack(packed) for sid, packed in own_answers.items()}
            missing |= own_missing
        return Acknowledgements(answers, missing)

    def on_server_event(self, event: str, handler: Callable[..., Any] | None = None) -> Any:
        """Have ``handler`` called with the arguments of a server's event; without ``handler``, a decorator.

        The handler's result is the node's answer to ``server_call``. The handler may wait.
        """

        def register(handler: Callable[..., Any]) -> Callable[..., Any]:
            self._server_handlers[event] = handler
            return handler

        return register if handler is None else register(handler)

    def server_emit(self, event: str, *args: Any) -> int:
        """Have the event's handlers called once on each other node that is connected to Redis.

        Returns how many nodes were told. Raises ``Unavailable``.
        """
        return self._peers.tell("event", {"event": event, "packed": pack(args)}, others_only=True)

    def server_call(self, event: str, *args: Any, timeout: float = 5.0) -> Answers:
        """Have the event's handlers called on all other nodes; return their results, by node.

        A node without a handler is missing. Raises ``Unavailable`` if Redis is unreachable.
        """
        arguments = {"event": event, "packed": pack(args)}
        found = self._peers.ask("event", arguments, timeout, others_only=True)
        return Answers({node: unpack(packed) for node, packed in found.by_node.items()}, found.missing)

    def _change_all(self, change: str, members_of: str | None, room: str, namespace: str | None) -> int:
        if not isinstance(room, str):
            raise TypeError(f"a room's name is a text, not {room!r}")
        arguments = {"namespace": namespace or "/", "members_of": members_of, "room": room}
        found = self._peers.ask(change, arguments, _CHANGE_S)
        if not found.is_complete:
            reasons = "; ".join(f"{node}: {why}" for node, why in found.missing.items())
            raise Unavailable(f"not all nodes have changed their clients' rooms: {reasons}")
        return sum(found.by_node.values())

    # On request of any node

    def _get_own(self, namespace: str, room: str | None) -> list[str]:
        participants = self._manager.get_participants(namespace, room)
        return [sid for sid, _ in participants if self._manager.is_connected(sid, namespace)]

    def _disconnect_own(self, namespace: str, room: str | None) -> None:
        self._manager.recovery.evict_resuming(lambda one: one.namespace == namespace and room in one.floors)
        sids = self._get_own(namespace, room)
        if sids:
            log.info("kicked", extra={"room": room, "clients": len(sids)})
        Pool(_AT_ONCE).map(partial(self._server.disconnect, namespace=namespace, ignore_queue=True), sids)

    def _disconnect_user_own(self, user: str) -> None:
        clients = self._manager.recovery.evict_resuming(lambda one: one.user == user)
        if clients:
            log.info("kicked", extra={"user": user, "clients": len(clients)})
        Pool(_AT_ONCE).map(lambda client: self._server.disconnect(*client, ignore_queue=True), clients)

    def _change_own(
        self, change: Callable[[str, str, str], Any], namespace: str, members_of: str | None, room: str
    ) -> int:
        def change_one(sid: str) -> bool:
            try:
                change(sid, namespace, room)
            except (Unavailable, ValueError):
                if self._manager.is_sid_room(namespace, sid):
                    raise
            return self._manager.is_sid_room(namespace, sid)  # else it has left meanwhile

        sids = self._get_own(namespace, members_of)
        if members_of is not None and self._manager.is_sid_room(namespace, members_of):
            sids = [members_of]  # one client, which may be connecting
        try:
            return sum(Pool(_AT_ONCE).imap_unordered(change_one, sids))
        except (Unavailable, ValueError) as error:
            of = members_of if sids == [members_of] else f"some clients in {members_of or namespace}"
            log.warning("the rooms of %s are as they were: %s", of, error)
            raise Unavailable(str(error)) from error

    def _fetch_own(self, namespace: str, room: str | None) -> list[dict[str, Any]]:
        return [
            {
                "sid": sid,
                "user": self._server.get_user(sid, namespace),
                "rooms": self._manager.get_rooms(sid, namespace),
                "transport": self._server.transport(sid, namespace),
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
                answer = self._server.call(event, data, to=sid, namespace=namespace, timeout=timeout, ignore_queue=True)
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
