"""The channel of python-socketio's own: emitters in other processes, callbacks, and changes to clients of other nodes.

Overridden of ``socketio.RedisManager`` (5.18), and why:

- ``_listen``: the channel is one more subscription of the follower's, so that what is emitted there comes in order
  with what is in the log; what is no JSON object is not let through.
- ``_publish``: raises ``Unavailable`` (stock drops the message after two tries). An emit with a callback is handled
  when it comes back over the channel, on its own worker too, so that it overtakes nothing.
- ``_handle_disconnect``, ``_handle_callback``, ``_handle_enter_room``, ``_handle_leave_room``, ``_handle_close_room``:
  handlers, and what waits for Redis, run beside the subscription, not in it. A change of rooms is confirmed.
"""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import socketio
from gevent.event import AsyncResult
from socketio import packet

from webfarm.errors import Unavailable
from webfarm.log.entry import VOLATILE, encode_body
from webfarm.manager.rooms import list_rooms, list_sids
from webfarm.manager.shards import Shards
from webfarm.redis.client import redis_errors_as_unavailable

_TRIES, _CONFIRM_S = 3, 1.0  # for another node to change a client's rooms


class Channel(socketio.RedisManager):
    """The half of a ``RedisManager`` that listens to the channel and publishes on it."""

    shards: Shards
    has_recovery: bool

    def _publish(self, data: dict[str, Any]) -> None:
        if data["method"] == "emit":
            data = {**data, "host_id": None, "origin": self.host_id}  # handled when it comes back, here too
        text = self.json.dumps(data)
        with redis_errors_as_unavailable():
            self.shards.home.commands.publish(self.channel, text)

    def _handle_emit(self, message: dict[str, Any]) -> None:
        if message.get("host_id") == self.host_id:  # it will come back
            return
        try:
            if message.get("callback"):
                super()._handle_emit({**message, "host_id": message.get("origin")})
            else:
                self._deliver_emit(message)
        except (LookupError, TypeError, ValueError) as error:
            self._get_logger().warning("channel %s: an emit that is none was dropped: %r", self.channel, error)

    def _deliver_emit(self, message: dict[str, Any]) -> None:
        event, data = message["event"], message["data"]
        if not isinstance(event, str):
            raise TypeError("an event's name is a text")
        if message.get("binary"):
            data = packet.Packet.reconstruct_binary(data[0], [base64.b64decode(part) for part in data[1:]])
        if isinstance(data, list):
            data = data[0] if len(data) == 1 else tuple(data)
        namespace, room = message.get("namespace") or "/", message.get("room")
        self.deliver(event, self.without_offset(data), namespace, room, message.get("skip_sid"))

    def _handle_disconnect(self, message: dict[str, Any]) -> None:
        gevent.spawn(super()._handle_disconnect, message)

    def _handle_callback(self, message: dict[str, Any]) -> None:
        gevent.spawn(super()._handle_callback, message)

    def publish_volatile(self, event: str, data: Any, namespace: str, room: Any, skip_sid: Any) -> None:
        """Send an event to the members of a room on all nodes, without storing it. Raises ``Unavailable``."""
        parts = self.make_event(event, self.without_offset(data), namespace).encode_parts()
        skipped, rooms = list_sids(skip_sid), list_rooms(room)
        with redis_errors_as_unavailable():
            for index, one in enumerate(rooms):
                body = b"".join(encode_body(parts, skipped, rooms[:index]))
                shard = self.shards.get_of_room(namespace, one)
                shard.commands.publish(shard.keys.stream(namespace, one), VOLATILE + body)

    def ask_owner(self, method: str, sid: str, namespace: str, room: str) -> None:
        """Have the node of a client change its rooms, and wait until that is done.

        Raises ``Unavailable`` if no node says that it is.
        """
        done: AsyncResult[None] = AsyncResult()
        number = self._generate_ack_id(sid, lambda: done.set(None))
        message = {"method": method, "sid": sid, "namespace": namespace, "room": room, "host_id": self.host_id}
        try:
            for _ in range(_TRIES):
                self._publish({**message, "confirm": number})
                done.wait(_CONFIRM_S)
                if done.ready():
                    return
        finally:
            self.drop_callback(sid, number)
        raise Unavailable(f"no node has confirmed a change of the rooms of {sid}")

    def _handle_enter_room(self, message: dict[str, Any]) -> None:
        gevent.spawn(self._change_rooms, self.enter_room, message)

    def _handle_leave_room(self, message: dict[str, Any]) -> None:
        gevent.spawn(self._change_rooms, self.leave_room, message)

    def _handle_close_room(self, message: dict[str, Any]) -> None:
        gevent.spawn(self._close_own_room, message)

    def _change_rooms(self, change: Callable[[str, str, str], None], message: dict[str, Any]) -> None:
        sid, namespace, room = message.get("sid"), message.get("namespace") or "/", message.get("room")
        if not isinstance(sid, str) or not isinstance(room, str) or not self.is_sid_room(namespace, sid):
            return
        try:
            change(sid, namespace, room)
        except (Unavailable, ValueError) as error:
            self._get_logger().warning("the rooms of %s are as they were: %s", sid, error)
            return
        if "confirm" in message:
            answer = {"sid": sid, "namespace": namespace, "id": message["confirm"], "args": []}
            self._publish({"method": "callback", "host_id": message.get("host_id"), **answer})

    def _close_own_room(self, message: dict[str, Any]) -> None:
        namespace, room = message.get("namespace") or "/", message.get("room")
        for sid, _ in list(self.get_participants(namespace, room)) if isinstance(room, str) else ():
            self.leave_room(sid, namespace, room)

    def _listen(self) -> Iterator[dict[str, Any]]:
        for data in self.shards.home.follower.listen():
            try:
                message = self.json.loads(data)
            except (ValueError, RecursionError):
                message = None
            if isinstance(message, dict):
                yield message
            else:
                self._get_logger().warning("channel %s: a message that is no JSON object was dropped", self.channel)

    def without_offset(self, data: Any) -> Any:
        """Return ``data`` so that no client takes its last argument for an offset."""
        arguments = data if isinstance(data, tuple) else (data,)
        return (*arguments, {}) if self.has_recovery and arguments and isinstance(arguments[-1], str) else data
