"""The names of all that is kept in Redis, and of its channels.

What belongs to a shard has one hash tag, so that a script finds all of it on one primary. A room's stream and the
channel on which its messages are published have one name.
"""

from binascii import crc_hqx

_FORMAT = "1"  # of what is in Redis; a farm of another one can't share it

_OTHER_VERSION = "Redis holds what a farm of format %s has stored, which this version can't share; change CHAT_PREFIX."
_OTHER_SHARDS = "Redis holds what a farm with %s has stored; set CHAT_SHARDS=%s, or change CHAT_PREFIX."

_STREAMS = "log:"


class Keys:
    """The keys of one shard.

    Args:
        prefix: what every key in Redis begins with.
        shard: the number of the shard.
        shards: how many there are.
    """

    def __init__(self, prefix: str, shard: int = 0, shards: int = 1) -> None:
        self.shard, self.shards = shard, shards
        self.format = _FORMAT if shards == 1 else f"{_FORMAT}/{shards}"
        self._tag = f"{{{prefix}:{shard}}}:"
        self._streams_start = len(self._tag) + len(_STREAMS)
        self.clock = f"{self._tag}clock"
        self.leases = f"{self._tag}node:"  # and the node
        self.sessions = f"{self._tag}session:"  # and the sid
        self.users = f"{self._tag}sessions:"  # and the namespace, a comma, the user
        self.users_sids = f"{self._tag}sent:"  # and the namespace, a comma, the user
        self.marks = f"{self._tag}mark:"  # and the node: a channel of its own
        self.requests = f"{self._tag}requests"  # the channel of what a node asks all others
        self.nodes = f"{self._tag}nodes"
        self.leaving = f"{self._tag}leaving"
        self.streams = f"{self._tag}{_STREAMS}"  # and a room's name
        self.rooms = f"{self._tag}room:"  # and a room's name
        self.present = f"{self._tag}present:"  # and a room's name: the users there, and a channel of who comes and goes
        self.clients = f"{self._tag}clients:"  # and the node
        self.rooms_of_nodes = f"{self._tag}rooms:"  # and the node
        self.members = f"{self._tag}members:"  # and the node, a colon, a room's name

    def stream(self, namespace: str, room: str | None) -> str:
        """Return the stream of a room, or of all clients of ``namespace``, and its channel."""
        return self.streams + name_room(namespace, room)

    def get_room(self, stream: str) -> tuple[str, str | None]:
        """Return the namespace and the room of a stream."""
        return split_name(stream[self._streams_start :])

    def room_of(self, stream: str) -> str:
        """Return the hash of what is known of a stream."""
        return f"{self.rooms}{stream[self._streams_start :]}"

    def once(self, stream: str, key: str) -> str:
        """Return where a message's id stands that was stored once under ``key``."""
        return f"{self._tag}once:{stream[self._streams_start :]}:{key}"

    def pointer(self, stream: str) -> str:
        """Return the pointer of an inbox."""
        return f"{self._tag}pointer:{stream[self._streams_start :]}"

    def batch(self, node: str) -> str:
        """Return the last batch of ``node``."""
        return f"{self._tag}batch:{node}"

    def session(self, sid: str) -> str:
        """Return the session of a Socket.IO sid."""
        return self.sessions + sid

    def note(self, name: str) -> str:
        """Return where it stands whose an app's ``name`` is."""
        return f"{self._tag}note:{name}"

    def notes(self, user: str) -> str:
        """Return what an app has remembered about a user: a sorted set of names, the score until when (ms)."""
        return f"{self._tag}notes:{user}"

    def user_sessions(self, namespace: str, user: str) -> str:
        """Return the sids of a user's sessions: a sorted set (``user_sessions.lua``), those that are away included."""
        return self.users + name_room(namespace, user)

    def user_sids(self, namespace: str, user: str) -> str:
        """Return the sids of a user's clients that something is stored for, also of those that have gone.

        It is a sorted set, the score until when it is stored at most (ms).
        """
        return self.users_sids + name_room(namespace, user)

    def of_node(self, node: str) -> tuple[str, str, str]:
        """Return the lease of ``node``, the hash of its clients and that of its rooms."""
        return f"{self.leases}{node}", f"{self.clients}{node}", f"{self.rooms_of_nodes}{node}"

    def members_of(self, node: str) -> str:
        """Return what the keys of the members of rooms on ``node`` begin with; the room's name follows."""
        return f"{self.members}{node}:"


def find_shard(name: str, shards: int) -> int:
    """Return the number of the shard that something is in by its name: a room's, a socket's own included, or a user's.

    It is Redis' own hash of the name, so that an old name stays where it is.
    """
    return crc_hqx(name.encode(errors="replace"), 0) % shards if shards > 1 else 0


def explain_format(found: str) -> str:
    """Return why what a farm of the format ``found`` has stored can't be shared, and what to do."""
    version, _, shards = found.partition("/")
    if version != _FORMAT:
        return _OTHER_VERSION % found
    return _OTHER_SHARDS % (f"{shards} shards" if shards else "one shard", shards or "1")


def name_room(namespace: str, room: str | None) -> str:
    """Return the name under which Redis has a room, or all clients of ``namespace``."""
    return namespace if room is None else f"{namespace},{room}"  # no namespace's name has a comma


def split_name(name: str) -> tuple[str, str | None]:
    """Return the namespace and the room that have a name."""
    namespace, comma, room = name.partition(",")
    return namespace, room if comma else None
