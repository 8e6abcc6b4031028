"""The half of a manager that reads back what is stored."""

from typing import Any

from socketio.base_manager import BaseManager

from webfarm.log.entry import decode_body
from webfarm.log.shard_log import Stored
from webfarm.manager.shards import Shards
from webfarm.redis.client import redis_errors_as_unavailable

_LAST_ID = 2**53


class Reading(BaseManager):
    """Finds messages in the log."""

    shards: Shards

    def find(self, room: str, once: str, namespace: str = "/") -> Stored | None:
        """Return where the message is that was stored under ``once``. Raises ``Unavailable``."""
        with redis_errors_as_unavailable():
            return self.shards.get_of_room(namespace, room).log.find(namespace, room, once)

    def had_client(self, sid: str, namespace: str = "/") -> bool:
        """Return whether messages are stored that were for a client of this sid alone. Raises ``Unavailable``."""
        shard = self.shards.get(sid)
        with redis_errors_as_unavailable():
            room = shard.keys.room_of(shard.keys.stream(namespace, sid))
            return bool(shard.commands.execute("HEXISTS", room, "own"))

    def has_history(self, room: str, namespace: str = "/") -> bool:
        """Return whether messages of a room are stored. Raises ``Unavailable``."""
        shard = self.shards.get_of_room(namespace, room)
        with redis_errors_as_unavailable():
            return bool(shard.commands.execute("EXISTS", shard.keys.stream(namespace, room)))

    def read_history(
        self, room: str, *, before: int | None = None, most: int, most_bytes: int, namespace: str = "/"
    ) -> list[tuple[int, list[Any]]]:
        """Return ids and events (name, arguments) of a room, oldest first: the ``most`` before the id ``before``.

        What is longer than ``most_bytes`` is left out. Raises ``Unavailable``.
        """
        log = self.shards.get_of_room(namespace, room).log
        with redis_errors_as_unavailable():
            found = log.read_history(namespace, room, before=before or _LAST_ID, most=most, most_bytes=most_bytes)
        return [(id, self.decode_event(body)) for id, body in reversed(found)]

    def decode_event(self, body: bytes) -> list[Any]:
        """Return the name and the arguments of a stored event."""
        taken_apart = decode_body(body)
        pkt = self.server.packet_class(encoded_packet=taken_apart.text)
        for attachment in taken_apart.attachments:
            pkt.add_attachment(attachment)
        return pkt.data  # type: ignore[no-any-return]
