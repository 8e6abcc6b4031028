"""What another process may do with a farm through Redis alone, without a worker of its own.

It stores as the workers' writers do, with the same script and under the same rules::

    outside = Outside("redis://localhost:6379/0")
    outside.store("news", {"text": "hello"}, room="lobby").id
"""

import secrets
from collections.abc import Sequence
from typing import Any

import redis
from socketio import packet

from chat.errors import Unavailable
from chat.realtime.ending import Ended, end_sessions, get_sids
from chat.realtime.entry import encode_body
from chat.realtime.keys import Keys
from chat.realtime.log import FORMAT, Limits, Stored
from chat.realtime.packet import Packet, list_arguments
from chat.realtime.redis_client import connect, redis_errors_as_unavailable, run_script
from chat.realtime.request import encode_request
from chat.realtime.writer import Outgoing, decode_answer, describe_batch, wait_for_replicas


class Outside:
    """A farm, seen from another process.

    Args:
        url: the farm's Redis, as for ``RedisManager``.
        prefix: what every key in Redis begins with.
        history: what is kept of each room.
        wait_replicas: how many replicas of Redis must have a message before ``store`` returns.

    Raises ``Unavailable`` if Redis does not answer.
    """

    def __init__(
        self, url: str, prefix: str = "chat", *, history: Limits | None = None, wait_replicas: int = 0
    ) -> None:
        # One connection: WAIT is for what it has written.
        with redis_errors_as_unavailable():
            self._client: Any = connect(url).client()  # type: ignore[no-untyped-call]
        self._keys = Keys(prefix)
        self._limits = history or Limits()
        self._wait_replicas = wait_replicas

    def close(self) -> None:
        """Give the connection up."""
        self._client.close()

    def store(self, event: str, data: Any, room: str | None, namespace: str = "/") -> Stored:
        """Store an event in the log, from where it is delivered; return its id and the nodes that it reached.

        Args:
            event: its name.
            data: its argument; a tuple of several; ``None`` for none. ``MESSAGE_ID`` in it becomes the id.
            room: a room, or ``None`` for all.
            namespace: whose clients.

        Raises:
            Unavailable: Redis could not take it just now. Whether it has it is not known if the answer was lost.
        """
        pkt = Packet(packet.EVENT, [event, *list_arguments(data)], namespace)
        message = Outgoing(namespace, room, encode_body(pkt.encode_parts()))
        batch_key = self._keys.batch(f"outside#{secrets.token_hex(8)}")
        names, arguments = describe_batch(self._keys, self._limits, batch_key, [message])
        clock = (FORMAT, secrets.token_urlsafe(6), "", 0)  # whoever has seen nothing knows of no epoch
        with redis_errors_as_unavailable():
            _, [id, nodes] = self._run("store", names, [*clock, 1, *arguments])
            stored = decode_answer(id, nodes)
            if isinstance(stored, Exception):
                raise stored
            self._wait_for_replicas()
        return stored

    def disconnect(self, room: str | None, namespace: str = "/", *, user: str | None = None) -> tuple[Ended, int]:
        """Disconnect all clients in a room, on every node; the sessions of those that are away end, too.

        Returns how many there were, and how many nodes were told.

        Args:
            room: a room, or ``None`` for all.
            namespace: whose clients.
            user: where the room is this user's, so that only that user's sessions are looked through.

        Raises:
            Unavailable: Redis does not answer.
        """
        with redis_errors_as_unavailable():
            ended = end_sessions(self._client.execute_command, self._run, self._keys, namespace, room, user)
            request = encode_request("disconnect", {"namespace": namespace, "room": room})
            nodes: int = self._client.execute_command("PUBLISH", self._keys.requests, request)
        return ended, nodes

    def erase(self, room: str | None, namespace: str = "/") -> int:
        """Delete all messages of a room; return how many. Raises ``Unavailable``.

        A client that had not received them all is told so when it comes back: it is not recovered. That they were
        stored is still known for as long as a client may repeat one: it would be stored again.
        """
        with redis_errors_as_unavailable():
            count = self._erase(namespace, room)
            self._wait_for_replicas()
        return count

    def erase_user(self, user: str, room: str, namespace: str = "/") -> int:
        """Delete what is remembered about a user (``Notes``), and all messages that were for the user alone.

        That is those of the user's ``room``, and what was sent to one of the user's sockets. Their sessions stay:
        ``disconnect`` ends them. Returns how many messages there were. Raises ``Unavailable``.
        """
        keys, execute = self._keys, self._client.execute_command
        with redis_errors_as_unavailable():
            sent = keys.user_sids(namespace, user)
            sids = {sid.decode() for sid in execute("ZRANGE", sent, 0, -1)} | {
                *get_sids(execute, keys, namespace, user)
            }
            count = sum(self._erase(namespace, one) for one in (room, *sorted(sids)))
            execute("DEL", sent, keys.notes(user))
            self._wait_for_replicas()
        return count

    def _erase(self, namespace: str, room: str | None) -> int:
        stream = self._keys.stream(namespace, room)
        names = [stream, self._keys.room_of(stream), self._keys.pointer(stream)]
        count: int = self._run("erase", names, [int(self._limits.ttl_s * 1100)])
        return count

    def _run(self, name: str, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        try:
            return run_script(self._client, name, keys, arguments)
        except redis.ResponseError as error:
            if "FORMAT" in str(error):
                raise Unavailable("Redis holds what a farm of another format has stored.") from error
            raise

    def _wait_for_replicas(self) -> None:
        if self._wait_replicas:
            wait_for_replicas(self._client.execute_command, self._wait_replicas)
