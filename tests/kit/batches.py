"""Messages stored in a shard's log without a worker, and what is there."""

import itertools

from webfarm.log.batch import Outgoing, describe_batch, join_batches
from webfarm.log.retention import Retention

_numbers = itertools.count(1)


def create_batch(keys, *texts):
    messages = [Outgoing("/", "room", (b"", text.encode())) for text in texts]
    return describe_batch(
        keys, Retention(), (keys.format, "epoch", "", 0), keys.batch("test"), next(_numbers), messages
    )


def store(commands, keys, *texts):
    """Store messages in a room of a shard, as the writer does; what is stored twice is there twice."""
    [[_, *answers]] = commands.run("log/store", (), join_batches([create_batch(keys, *texts)]))
    return [int(id) for id, _ in answers]


def list_stored(node, keys):
    """Return the texts in a shard's room, in order."""
    return [entry[b"b"].lstrip(b"0123456789").decode() for _, entry in node.client.xrange(keys.stream("/", "room"))]
