"""The manager: what ties the workers together through Redis.

Overridden of ``socketio.RedisManager`` (5.18), and why:

- ``__init__``: one client, which never repeats a command by itself (stock makes a new one, from two greenlets,
  whenever anything fails).
- ``_redis_listen_with_retries``, ``_listen``: tries again every second (stock backs off to a minute), notices a
  subscription that went deaf, and lets nothing through that is no JSON object.
- ``emit``: ``ignore_queue`` waits for the answer to the client's CONNECT as other emits do.
- ``_publish``: raises ``Unavailable`` (stock drops the message after two tries).
- ``_handle_disconnect``, ``_handle_callback``: handlers run beside the subscription, not in it.
- ``_handle_emit``: an emit is delivered when it comes back over the channel, on its own worker too, so that
  all workers see the same order.

``Manager`` is for one process without Redis.
"""

import base64
import time
from collections.abc import Iterator
from typing import Any

import gevent
import redis
import socketio
from gevent.event import Event
from socketio import packet

from chat.realtime.redis_client import connect, redis_errors_as_unavailable
from chat.realtime.registry import Registry
from chat.realtime.rooms import Rooms
from chat.realtime.slices import wait_a_turn

_RETRY_S = 1.0
_COMPLAIN_S = 5.0  # how often a worker without Redis says so
_HEARTBEAT_S = 0.5
_DEAF_S = 2.0  # without a word from Redis, the worker is cut off; must stay below 3 s with the heartbeat
_TURNS = 20
_SLICE_S = 0.004
_SILENT_S = 5.0  # after which the subscription is opened anew


class Manager(Rooms, socketio.Manager):
    """The clients of one process, without Redis."""

    is_ready = True

    def start(self, node: str) -> None:
        """Nothing has to be started."""

    def wait_until_ready(self, timeout_s: float) -> bool:
        return True

    def emit(
        self,
        event: str,
        data: Any,
        namespace: str,
        room: Any = None,
        skip_sid: Any = None,
        callback: Any = None,
        to: Any = None,
        **kwargs: Any,
    ) -> None:
        if callback is None:
            self.deliver(event, data, namespace, to or room, skip_sid)
        else:
            super().emit(event, data, namespace, room=to or room, skip_sid=skip_sid, callback=callback)


class RedisManager(Rooms, socketio.RedisManager):
    """Emits through one Redis channel, and knows which nodes serve whom (``registry``).

    Args:
        url: ``redis://``, ``rediss://``, ``unix://`` or ``redis+sentinel://host:port[,…]/db/name``.
        channel: the channel of all workers, and of stock ``socketio.RedisManager(write_only=True)``.
        prefix: what every key in Redis begins with.
    """

    def __init__(self, url: str, channel: str = "socketio", prefix: str = "chat") -> None:
        super().__init__(url, channel=channel)
        self.redis = connect(url)
        self.registry = Registry(self.redis, prefix, lambda: self.is_ready)
        self._heard = float("-inf")
        self._connected = Event()

    def start(self, node: str) -> None:
        """Connect to Redis and stay connected; ``node`` names this worker in the cluster."""
        self.initialize()
        self.registry.start(node)

    @property
    def is_ready(self) -> bool:
        """Whether Redis answers: the subscription was heard of within the last two seconds."""
        return time.monotonic() - self._heard < _DEAF_S

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Wait until Redis answers, at most ``timeout_s``; return whether it does."""
        if self.is_ready:
            return True
        if not self._connected.wait(timeout_s):
            return False
        for _ in range(_TURNS):  # the worker stood still, and the subscription has not had its turn yet
            gevent.sleep(_HEARTBEAT_S / _TURNS)
            if self.is_ready:
                return True
        return False

    def emit(
        self,
        event: str,
        data: Any,
        namespace: str | None = None,
        room: Any = None,
        skip_sid: Any = None,
        callback: Any = None,
        to: Any = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("ignore_queue") and callback is None:
            self.deliver(event, data, namespace or "/", to or room, skip_sid)
        else:
            super().emit(event, data, namespace, to or room, skip_sid, callback, **kwargs)

    def _publish(self, data: dict[str, Any]) -> None:
        if data["method"] == "emit" and not data["callback"]:
            data = {**data, "host_id": None}  # nobody's own: every worker delivers it, this one too
        text = self.json.dumps(data)
        with redis_errors_as_unavailable():
            self.redis.publish(self.channel, text)

    def _handle_emit(self, message: dict[str, Any]) -> None:
        has_callback = bool(message.get("callback"))
        if message.get("host_id") == self.host_id and not has_callback:
            return
        try:
            if has_callback:
                super()._handle_emit(message)
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
        self.deliver(event, data, message.get("namespace") or "/", message.get("room"), message.get("skip_sid"))

    def _handle_disconnect(self, message: dict[str, Any]) -> None:
        gevent.spawn(super()._handle_disconnect, message)

    def _handle_callback(self, message: dict[str, Any]) -> None:
        gevent.spawn(super()._handle_callback, message)

    def _listen(self) -> Iterator[dict[str, Any]]:
        for data in self._redis_listen_with_retries():
            try:
                message = self.json.loads(data)
            except (ValueError, RecursionError):
                message = None
            if isinstance(message, dict):
                yield message
            else:
                self._get_logger().warning("channel %s: a message that is no JSON object was dropped", self.channel)

    def _redis_listen_with_retries(self) -> Iterator[bytes]:
        complained = float("-inf")
        while True:
            try:
                with self.redis.pubsub() as pubsub:  # type: ignore[no-untyped-call]
                    pubsub.subscribe(self.channel)
                    yield from self._messages(pubsub)
            except (redis.RedisError, OSError) as error:
                self._connected.clear()
                if time.monotonic() - complained >= _COMPLAIN_S:
                    self._get_logger().error("Redis does not answer, trying again every second: %s", error)
                    complained = time.monotonic()
                self.server.sleep(_RETRY_S)

    def _messages(self, pubsub: redis.client.PubSub) -> Iterator[bytes]:
        """Yield what is published; raise ``redis.ConnectionError`` when Redis has been silent for too long."""
        opened = asked = turned = time.monotonic()
        while True:
            message = pubsub.get_message(timeout=_HEARTBEAT_S)
            now = time.monotonic()
            if message is not None:
                self._heard = now
                self._connected.set()
                if message["type"] == "message":
                    yield message["data"]
            elif now - max(self._heard, opened) > _SILENT_S:
                raise redis.ConnectionError("the subscription went silent")
            elif not self.is_ready:
                self._connected.clear()
            if now - turned > _SLICE_S:  # within a burst others get their turn
                wait_a_turn()
                turned = time.monotonic()
            if now - asked >= _HEARTBEAT_S:
                pubsub.ping()
                asked = now
