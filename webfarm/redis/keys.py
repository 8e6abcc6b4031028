"""The names of all keys and channels in Redis.

All names of a shard have one hash tag, so that a script finds all its keys on one primary. A room's stream and the
channel of its messages have one name.
"""

import re
from binascii import crc_hqx
from functools import lru_cache
from itertools import count

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from webfarm.defaults import PREFIX

FORMAT = "1"  # of the keys and values; farms of different formats can't share a prefix

_OTHER_VERSION = (
    "Redis holds what a farm of format %s has stored, which this version can't share; change WEBFARM_PREFIX."
)
_OTHER_SHARDS = "Redis holds what a farm with %s has stored; set WEBFARM_SHARDS=%s, or change WEBFARM_PREFIX."

_CHANNELS = ("socketio", "flask-socketio")  # of farms with the default prefix, and Flask-SocketIO's own
_OTHERS_NAME = re.compile(rf"({'|'.join(_CHANNELS)})(/.*)?|.*/[0-9]+")

_STREAMS = "log:"


class Keys:
    """The keys of one shard.

    Args:
        prefix: the start of every key in Redis.
        shard: the number of the shard.
        shards: how many there are.
        database: of Redis. Channels belong to no database, so all of another one's names differ.
    """

    def __init__(self, prefix: str, shard: int = 0, shards: int = 1, database: int = 0) -> None:
        self.shard, self.shards = shard, shards
        self.format = FORMAT if shards == 1 else f"{FORMAT}/{shards}"
        self.tag = f"{_get_tag(_add_database(prefix, database), shard, shards)}:"  #: the start of all of them
        self.slot = key_slot(self.tag.encode())  #: where in a cluster they are
        self.absent = f"{self.tag}absent"  # a key that never exists (``cluster.lua``)
        self._streams_start = len(self.tag) + len(_STREAMS)
        self.clock = f"{self.tag}clock"
        self.leases = f"{self.tag}node:"  # and the node
        self.sessions = f"{self.tag}session:"  # and the sid
        self.users = f"{self.tag}sessions:"  # and the namespace, a comma, the user
        self.users_sids = f"{self.tag}sent:"  # and the namespace, a comma, the user
        self.marks = f"{self.tag}mark:"  # and the node: a channel of its own
        self.requests = f"{self.tag}requests"  # the channel of requests to all nodes
        self.nodes = f"{self.tag}nodes"
        self.leaving = f"{self.tag}leaving"
        self.streams = f"{self.tag}{_STREAMS}"  # and a room's name
        self.rooms = f"{self.tag}room:"  # and a room's name
        self.present = f"{self.tag}present:"  # and a room's name: the users there; a channel of those who come and go
        self.pointers = f"{self.tag}pointer:"  # and a room's name
        self.onces = f"{self.tag}once:"  # and a room's name, a colon, the key of a message that is stored once
        self.clients = f"{self.tag}clients:"  # and the node
        self.rooms_of_nodes = f"{self.tag}rooms:"  # and the node
        self.members = f"{self.tag}members:"  # and the node, a colon, a room's name

    def stream(self, namespace: str, room: str | None) -> str:
        """Return the stream of a room, or of all clients of ``namespace``, and its channel."""
        return self.streams + name_room(namespace, room)

    def get_room(self, stream: str) -> tuple[str, str | None]:
        """Return the namespace and the room of a stream."""
        return split_name(stream[self._streams_start :])

    def room_of(self, stream: str) -> str:
        """Return the hash that describes a stream."""
        return f"{self.rooms}{stream[self._streams_start :]}"

    def once(self, stream: str, key: str) -> str:
        """Return the key with the id of a message that is stored once under ``key``."""
        return f"{self.onces}{stream[self._streams_start :]}:{key}"

    def pointer(self, stream: str) -> str:
        """Return the pointer of an inbox."""
        return f"{self.pointers}{stream[self._streams_start :]}"

    def batch(self, node: str) -> str:
        """Return the last batch of ``node``."""
        return f"{self.tag}batch:{node}"

    def session(self, sid: str) -> str:
        """Return the session of a Socket.IO sid."""
        return self.sessions + sid

    def note(self, name: str) -> str:
        """Return the key with the owner of an app's ``name``."""
        return f"{self.tag}note:{name}"

    def run_lease(self, name: str) -> str:
        """Return the lease of the node that runs the function ``name`` once a farm."""
        return f"{self.tag}run:{name}"

    def notes(self, user: str) -> str:
        """Return the key of a user's grants: a sorted set of names, the score is the end (ms)."""
        return f"{self.tag}notes:{user}"

    def user_sessions(self, namespace: str, user: str) -> str:
        """Return the key of the sids of a user's sessions: a sorted set (``user_sessions.lua``)."""
        return self.users + name_room(namespace, user)

    def user_sids(self, namespace: str, user: str) -> str:
        """Return the key of the sids of a user for which messages are stored, also after the client left.

        It is a sorted set, the score is the latest end of the messages (ms).
        """
        return self.users_sids + name_room(namespace, user)

    def of_node(self, node: str) -> tuple[str, str, str]:
        """Return the lease of ``node``, the hash of its clients and that of its rooms."""
        return f"{self.leases}{node}", f"{self.clients}{node}", f"{self.rooms_of_nodes}{node}"

    def members_of(self, node: str) -> str:
        """Return the start of the keys of rooms' members on ``node``; the room's name follows."""
        return f"{self.members}{node}:"


def check_prefix(prefix: str) -> None:
    """Raise ``ValueError`` if the names of a farm with this prefix could be those of another farm."""
    if _OTHERS_NAME.fullmatch(prefix):
        raise ValueError(
            f"prefix={prefix!r} may be another farm's channel or name: choose a prefix other than"
            f" {' and '.join(_CHANNELS)} that does not end in a slash and a number."
        )


def get_stock_channel(prefix: str, database: int = 0) -> str:
    """Return the channel on which python-socketio's own emitters reach the farm with this prefix and database."""
    return _add_database("socketio" if prefix == PREFIX else prefix, database)


def _add_database(name: str, database: int) -> str:
    return f"{name}/{database}" if database else name


@lru_cache(maxsize=4096)
def _get_tag(prefix: str, shard: int, shards: int) -> str:
    """Return the hash tag of a shard.

    The first shard has the same tag for any number of shards, so that every process finds their number there. The slots
    of the others lie evenly around its own, so that each of a cluster's primaries has its share.
    """
    first = f"{{{prefix}:0}}"
    if shard == 0:
        return first
    slots = REDIS_CLUSTER_HASH_SLOTS
    slot, near = key_slot(first.encode()) + shard * slots / shards, max(slots / shards / 8, 8)
    tags = (f"{{{prefix}:{shard}{f'.{number}' if number else ''}}}" for number in count())
    return next(tag for tag in tags if (key_slot(tag.encode()) - slot + near) % slots <= 2 * near)


def find_shard(name: str, shards: int) -> int:
    """Return the number of the shard of a name: a room's, a sid or a user's.

    It is Redis' own hash of the name, so that an old name stays in its shard.
    """
    return crc_hqx(name.encode(errors="replace"), 0) % shards if shards > 1 else 0


def explain_format(found: str) -> str:
    """Return a sentence for a farm of another format: why its data can't be shared, and what to do."""
    version, _, shards = found.partition("/")
    if version != FORMAT:
        return _OTHER_VERSION % found
    return _OTHER_SHARDS % (f"{shards} shards" if shards else "one shard", shards or "1")


def name_room(namespace: str, room: str | None) -> str:
    """Return the name of a room in Redis, or that of all clients of ``namespace``."""
    return namespace if room is None else f"{namespace},{room}"  # no namespace's name has a comma


def split_name(name: str) -> tuple[str, str | None]:
    """Return the namespace and the room of a name."""
    namespace, comma, room = name.partition(",")
    return namespace, room if comma else None
