"""The emitter: a process that is no worker emits to a farm's clients, disconnects clients and deletes messages.

It needs Redis alone, and stores as workers do, with the same script and under the same rules::

    emitter = Emitter("redis://localhost:6379/0")
    emitter.store("news", {"text": "hello"}, room="lobby").id
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from socketio import packet

from webfarm.defaults import PREFIX
from webfarm.errors import Error
from webfarm.log import direct
from webfarm.log.batch import Outgoing
from webfarm.log.entry import encode_body
from webfarm.log.retention import Retention
from webfarm.log.shard_log import Stored
from webfarm.log.writer import wait_for_replicas
from webfarm.nodes.directory import Directory
from webfarm.nodes.request import encode_request
from webfarm.protocol.packet import Packet, list_arguments
from webfarm.redis.blocking import BlockingShard, list_shards
from webfarm.redis.client import connect, redis_errors_as_unavailable
from webfarm.redis.keys import check_prefix
from webfarm.redis.url import get_database, get_default_shards, get_default_wait_replicas
from webfarm.sessions.end_by_room import Ended, end_sessions, get_sids
from webfarm.settings import Settings


class Emitter:
    """Emits to the clients of a farm from another process.

    Args:
        url: the farm's Redis, as for ``RedisManager``.
        prefix: what every key and channel of the farm begins with.
        history: how much the log keeps of each room.
        wait_replicas: how many replicas of Redis must have a message before ``store`` returns. If a cluster's primary
            has fewer, all of them must. ``None``: 1 with Sentinel or a cluster, else 0.
        shards: how many shards the farm's log has. ``None``: 8 on a cluster, else 1.

    Raises:
        ValueError: ``url`` names no Redis, or ``prefix`` is reserved.
        Unavailable: Redis does not answer.
        Error: another farm has stored its messages there.
    """

    def __init__(
        self,
        url: str,
        prefix: str = PREFIX,
        *,
        history: Retention | None = None,
        wait_replicas: int | None = None,
        shards: int | None = None,
    ) -> None:
        check_prefix(prefix)
        database = get_database(url)
        count = get_default_shards(url) if shards is None else shards
        with redis_errors_as_unavailable():
            self._client = connect(url)
        self._shards = list_shards(self._client, prefix, count, database)
        self._limits = history or Retention()
        self._wait_replicas = get_default_wait_replicas(url) if wait_replicas is None else wait_replicas
        try:
            with redis_errors_as_unavailable():
                self._shards.check()
        except Error:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections to Redis."""
        self._shards.close()
        self._client.close()

    def store(self, event: str, data: Any, room: str | None, namespace: str = "/") -> Stored:
        """Store an event in the log, which delivers it; return its id and the number of nodes that it reached.

        Args:
            event: its name.
            data: its argument; a tuple of several; ``None`` for none. ``MESSAGE_ID`` in it becomes the id.
            room: a room, or ``None`` for all.
            namespace: the namespace of the clients.

        Raises:
            Unavailable: Redis could not take it just now. If only the answer was lost, Redis may have the event.
        """
        pkt = Packet(packet.EVENT, [event, *list_arguments(data)], namespace)
        message = Outgoing(namespace, room, encode_body(pkt.encode_parts()))
        shard = self._shards.get_of_room(namespace, room)
        with redis_errors_as_unavailable():
            stored = direct.store(shard, self._limits, message)
            self._wait_for_replicas(shard)
        return stored

    def disconnect(self, room: str | None, namespace: str = "/", *, user: str | None = None) -> tuple[Ended, int]:
        """Disconnect all clients in a room, on every node; the sessions of clients without a connection end, too.

        Returns how many sessions ended, and how many nodes were told.

        Args:
            room: a room, or ``None`` for all.
            namespace: the namespace of the clients.
            user: where the room is this user's, so that only that user's sessions are looked through.

        Raises:
            Unavailable: Redis does not answer.
        """
        with redis_errors_as_unavailable():
            ended = end_sessions(self._shards, namespace, room, user)
            request = encode_request("disconnect", {"namespace": namespace, "room": room})
            nodes = self._shards.home.commands.publish(self._shards.home.keys.requests, request)
        return ended, nodes

    def disconnect_user(self, user: str) -> tuple[Ended, int]:
        """Disconnect all clients of ``user``, in all namespaces and on every node, and end all sessions of that user.

        Returns how many sessions ended, and how many nodes were told. Raises ``Unavailable``.
        """
        with redis_errors_as_unavailable():
            counts = [end_sessions(self._shards, one, None, user) for one in self.get_namespaces()]
            request = encode_request("disconnect_user", {"user": user})
            nodes = self._shards.home.commands.publish(self._shards.home.keys.requests, request)
        return Ended(sum(one.connected for one in counts), sum(one.away for one in counts)), nodes

    def get_namespaces(self) -> list[str]:
        """Return the namespaces that the farm's nodes serve. Raises ``Unavailable``."""
        with redis_errors_as_unavailable():
            return Directory(self._shards).get_namespaces()

    def erase(self, room: str | None, namespace: str = "/") -> int:
        """Delete all messages of a room; return how many. Raises ``Unavailable``.

        A client that had not received them all is told so when it comes back: it is not recovered. That they were
        stored is still known for as long as a client may repeat one: it would be stored again.
        """
        with redis_errors_as_unavailable():
            return self._erase(namespace, room)

    def erase_user(self, user: str, room: str, namespace: str = "/") -> int:
        """Delete the names that Redis remembers of a user (``Grants``), and all messages for the user alone.

        That is those of the user's ``room``, and what was sent to one of the user's sockets. Their sessions stay:
        ``disconnect`` ends them. Returns how many messages there were. Raises ``Unavailable``.
        """
        with redis_errors_as_unavailable():
            sids: set[str] = set()
            for shard in self._shards:  # a session that is older than the shards may be in any of them
                sent = shard.commands.execute("ZRANGE", shard.keys.user_sids(namespace, user), 0, -1)
                sids.update(sid.decode() for sid in sent)
                sids.update(get_sids(shard, namespace, user))
            count = sum(self._erase(namespace, one) for one in (room, *sorted(sids)))
            for shard in self._shards:
                shard.commands.execute("DEL", shard.keys.user_sids(namespace, user), shard.keys.notes(user))
                self._wait_for_replicas(shard)
        return count

    def _erase(self, namespace: str, room: str | None) -> int:
        shard = self._shards.get_of_room(namespace, room)
        count = direct.erase(shard, self._limits, namespace, room)
        self._wait_for_replicas(shard)
        return count

    def _wait_for_replicas(self, shard: BlockingShard) -> None:
        if self._wait_replicas:
            there = shard.commands.count_replicas()
            replicas = self._wait_replicas if there is None else min(self._wait_replicas, there)
            wait_for_replicas(shard.commands.execute, replicas)


@contextmanager
def open_emitter(settings: Settings) -> Iterator[Emitter]:
    """Yield an ``Emitter`` of the farm that the settings describe; close it at the end."""
    retention = Retention(settings.history_length, settings.history_bytes, settings.history_ttl_s)
    options = {"wait_replicas": settings.wait_replicas, "shards": settings.shards}
    with closing(Emitter(settings.redis_url, settings.prefix, history=retention, **options)) as emitter:
        yield emitter
