"""The channel of python-socketio's own emitters: processes with ``socketio.RedisManager(write_only=True)``.

The channel carries four kinds of messages:

- emits of other processes, which no log keeps,
- emits with a callback, and their clients' acknowledgements,
- requests to disconnect a client,
- requests to change a client's rooms. A worker of the release before waits until such a request is confirmed.

It is one more channel of the follower, so its messages stay in order with those of the log. A worker handles its own
emit with a callback when the emit comes back over the channel, so that it overtakes nothing.
"""

import base64
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import gevent
from socketio import packet

from webfarm.errors import Unavailable
from webfarm.log.entry import VOLATILE, encode_body
from webfarm.manager.delivery import Delivery, make_event
from webfarm.manager.rooms import Rooms, list_rooms, list_sids
from webfarm.manager.shards import Shards
from webfarm.protocol import strict_json
from webfarm.redis.client import redis_errors_as_unavailable

log = logging.getLogger(__name__)


class ChannelOwner(Protocol):
    """The manager, as its channel sees it."""

    server: Any
    clients: Rooms
    shards: Shards
    has_recovery: bool
    host_id: str  #: the name of this process on the channel
    trigger_callback: Callable[[str, int, Any], None]

    @property
    def delivery(self) -> Delivery: ...

    def emit(
        self, event: str, data: Any, namespace: str, room: Any, skip_sid: Any, callback: Any, *, ignore_queue: bool
    ) -> None:
        """Emit an event with a callback to the clients of this process."""

    def enter_room(self, sid: str, namespace: str, room: str) -> None:
        """Put a client into a room."""

    def leave_room(self, sid: str, namespace: str, room: str) -> None:
        """Take a client out of a room."""


class StockChannel:
    """Publishes on the channel, and handles what comes over it.

    Args:
        owner: the manager.
        name: the channel's.
    """

    def __init__(self, owner: ChannelOwner, name: str) -> None:
        self._owner = owner
        self._name = name
        self._handlers: dict[Any, Callable[[dict[str, Any]], object]] = {
            "emit": self._on_emit,
            "disconnect": partial(gevent.spawn, self._disconnect),
            "enter_room": partial(gevent.spawn, self._change_rooms, owner.enter_room),
            "leave_room": partial(gevent.spawn, self._change_rooms, owner.leave_room),
            "close_room": partial(gevent.spawn, self.close_own_room),
        }

    def publish(self, message: dict[str, Any]) -> None:
        """Publish a message of python-socketio's. Raises ``Unavailable``."""
        if message["method"] == "emit":
            host_id = self._owner.host_id
            message = {**message, "host_id": None, "origin": host_id}  # handled when it comes back, here too
        with redis_errors_as_unavailable():
            self._owner.shards.home.commands.publish(self._name, strict_json.dumps(message))

    def publish_volatile(self, event: str, data: Any, namespace: str, room: Any, skip_sid: Any) -> None:
        """Send an event to the members of a room on all nodes, without storing it. Raises ``Unavailable``."""
        parts = make_event(event, self.without_offset(data), namespace).encode_parts()
        skipped, rooms = list_sids(skip_sid), list_rooms(room)
        with redis_errors_as_unavailable():
            for index, one in enumerate(rooms):
                body = b"".join(encode_body(parts, skipped, rooms[:index]))
                shard = self._owner.shards.get_of_room(namespace, one)
                shard.commands.publish(shard.keys.stream(namespace, one), VOLATILE + body)

    def without_offset(self, data: Any) -> Any:
        """Return ``data`` so that no client takes its last argument for an offset."""
        arguments = data if isinstance(data, tuple) else (data,)
        ends_in_text = arguments and isinstance(arguments[-1], str)
        return (*arguments, {}) if self._owner.has_recovery and ends_in_text else data

    # From the channel, in the subscription's greenlet

    def on_message(self, data: bytes) -> None:
        """A message came over the channel."""
        try:
            message: Any = strict_json.loads(data)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            log.warning("channel %s: a message that is no JSON object was dropped", self._name)
            return
        method = message.get("method")
        try:
            if method == "callback":
                self._on_callback(message)
            elif message.get("host_id") != self._owner.host_id and isinstance(method, str) and method in self._handlers:
                self._handlers[method](message)
        except Exception:
            log.exception("channel %s: a message could not be handled", self._name)

    def _on_emit(self, message: dict[str, Any]) -> None:
        try:
            event, data = message["event"], message["data"]
            if not isinstance(event, str):
                raise TypeError("an event's name is a text")
            if message.get("binary"):
                data = packet.Packet.reconstruct_binary(data[0], [base64.b64decode(part) for part in data[1:]])
            if isinstance(data, list):
                data = data[0] if len(data) == 1 else tuple(data)
            namespace, room, skip_sid = message.get("namespace") or "/", message.get("room"), message.get("skip_sid")
            if callback := message.get("callback"):
                answer = (
                    partial(self._return_callback, message.get("origin"), *callback) if len(callback) == 3 else None
                )
                self._owner.emit(event, data, namespace, room, skip_sid, answer, ignore_queue=True)
            else:
                self._owner.delivery.deliver(event, self.without_offset(data), namespace, room, skip_sid)
        except (LookupError, TypeError, ValueError) as error:
            log.warning("channel %s: an emit that could not be read was dropped: %r", self._name, error)

    def _on_callback(self, message: dict[str, Any]) -> None:
        """A client has acknowledged an emit; the process that emitted calls the callback."""
        sid, number, arguments = message.get("sid"), message.get("id"), message.get("args")
        if message.get("host_id") == self._owner.host_id and isinstance(sid, str) and isinstance(number, int):
            gevent.spawn(self._owner.trigger_callback, sid, number, arguments or ())

    def _return_callback(self, host_id: Any, sid: str, namespace: str, number: int, *args: Any) -> None:
        """Hand an acknowledgement to the process that has emitted."""
        if host_id == self._owner.host_id:
            self._owner.trigger_callback(sid, number, args)
        else:
            answer = {"sid": sid, "namespace": namespace, "id": number, "args": args}
            self.publish({"method": "callback", "host_id": host_id, **answer})

    # In greenlets of their own

    def _disconnect(self, message: dict[str, Any]) -> None:
        self._owner.server.disconnect(message.get("sid"), message.get("namespace"), ignore_queue=True)

    def _change_rooms(self, change: Callable[[str, str, str], None], message: dict[str, Any]) -> None:
        sid, namespace, room = message.get("sid"), message.get("namespace") or "/", message.get("room")
        if not isinstance(sid, str) or not isinstance(room, str) or not self._owner.clients.is_sid_room(namespace, sid):
            return
        try:
            change(sid, namespace, room)
        except (Unavailable, ValueError) as error:
            log.warning("the rooms of %s stay as they were: %s", sid, error)
            return
        if "confirm" in message:
            answer = {"sid": sid, "namespace": namespace, "id": message["confirm"], "args": []}
            self.publish({"method": "callback", "host_id": message.get("host_id"), **answer})

    def close_own_room(self, message: dict[str, Any]) -> None:
        """Take all clients of this process out of a room."""
        namespace, room = message.get("namespace") or "/", message.get("room")
        if isinstance(room, str):
            for sid in list(self._owner.clients.get_members(namespace, room)):
                self._owner.leave_room(sid, namespace, room)
