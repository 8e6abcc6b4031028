"""History: the messages that Redis keeps of a room, read back."""

from typing import Any

from webfarm.log.entry import decode_body
from webfarm.log.shard_log import Stored
from webfarm.manager.shards import Shards
from webfarm.protocol.packet import Packet
from webfarm.redis.client import redis_errors_as_unavailable

_LAST_ID = 2**53


class History:
    """What a farm's log keeps: ``RedisManager.history``. All methods raise ``Unavailable`` if Redis does not answer.

    Args:
        shards: the farm's.
    """

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    def read(
        self, room: str, *, before: int | None = None, most: int, most_bytes: int, namespace: str = "/"
    ) -> list[tuple[int, list[Any]]]:
        """Return ids and events of a room, oldest first; an event is its name and its arguments.

        Args:
            room: its name.
            before: only messages with a lower id; ``None``: the newest.
            most: how many messages at most.
            most_bytes: how many bytes at most; older messages that exceed it are left out.
            namespace: of the room.
        """
        log = self._shards.get_of_room(namespace, room).log
        with redis_errors_as_unavailable():
            found = log.read_history(namespace, room, before=before or _LAST_ID, most=most, most_bytes=most_bytes)
        return [(id, _decode_event(body)) for id, body in reversed(found)]

    def find(self, room: str, once: str, namespace: str = "/") -> Stored | None:
        """Return where the message is that was stored under ``once`` (``RedisManager.store``)."""
        with redis_errors_as_unavailable():
            return self._shards.get_of_room(namespace, room).log.find(namespace, room, once)

    def has(self, room: str, namespace: str = "/") -> bool:
        """Return whether messages of a room are stored."""
        shard = self._shards.get_of_room(namespace, room)
        with redis_errors_as_unavailable():
            return bool(shard.commands.execute("EXISTS", shard.keys.stream(namespace, room)))

    def had_client(self, sid: str, namespace: str = "/") -> bool:
        """Return whether messages are stored that were for a client with this sid alone."""
        shard = self._shards.get(sid)
        with redis_errors_as_unavailable():
            room = shard.keys.room_of(shard.keys.stream(namespace, sid))
            return bool(shard.commands.execute("HEXISTS", room, "own"))


def _decode_event(body: bytes) -> list[Any]:
    """Return the name and the arguments of a stored event."""
    taken_apart = decode_body(body)
    pkt: Any = Packet(encoded_packet=taken_apart.text)
    for attachment in taken_apart.attachments:
        pkt.add_attachment(attachment)
    return pkt.data  # type: ignore[no-any-return]
