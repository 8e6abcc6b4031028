"""The log for a process without a worker: a message is stored, a room is erased, by one call of a script each."""

import secrets

from webfarm.log.batch import Outgoing, decode_answer, describe_batch, join_batches
from webfarm.log.retention import Retention
from webfarm.log.shard_log import Stored
from webfarm.redis.commands import AnyShard


def store(shard: AnyShard, retention: Retention, message: Outgoing) -> Stored:
    """Store and publish a message of the shard, as a worker's writer does.

    Raises:
        redis.RedisError: it failed. The message may be stored nevertheless, if only the answer was lost.
        Unavailable: Redis refused it.
        NoRecipient: there is no such session.
    """
    keys = shard.keys
    name = keys.batch(f"outside#{secrets.token_hex(8)}")
    clock = (keys.format, secrets.token_urlsafe(6), "", 0)  # a process that has seen nothing knows of no epoch
    batch = describe_batch(keys, retention, clock, name, 1, [message])
    [[_, [id, nodes]]] = shard.commands.run("log/store", (), join_batches([batch]))
    stored = decode_answer(id, nodes)
    if isinstance(stored, Exception):
        raise stored
    return stored


def erase(shard: AnyShard, retention: Retention, namespace: str, room: str | None) -> int:
    """Delete all messages of a room of the shard; return their number. Raises ``redis.RedisError``."""
    stream = shard.keys.stream(namespace, room)
    names = [stream, shard.keys.room_of(stream), shard.keys.pointer(stream)]
    count: int = shard.commands.run("log/erase", names, [int(retention.ttl_s * 1100)])
    return count
