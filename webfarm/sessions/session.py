"""One client's session: the part of a client that outlives its connection."""

from collections.abc import Sequence
from typing import Any, Self

import orjson

from webfarm.errors import Unavailable
from webfarm.log.offset import Ids, get_latest

_FLOOR_OF_ALL = "floor"  # the field of the floor of all clients' room
_FLOOR = "floor:"  # and a room's name: the field of its floor


class Session:
    """One client's session, as its node has it."""

    __slots__ = (
        "began",
        "data",
        "eio_sid",
        "epochs",
        "expires_ms",
        "floors",
        "generation",
        "inboxes",
        "is_ended",
        "is_taken",
        "is_written",
        "namespace",
        "owner",
        "pid",
        "pinged",
        "received",
        "sid",
        "user",
    )

    def __init__(self, sid: str, namespace: str, owner: str, pid: str, generation: int = 1) -> None:
        self.sid = sid
        self.namespace = namespace
        self.owner = owner  # the name that may resume it; empty: any client that knows the pid
        self.pid = pid
        self.generation = generation
        self.floors: dict[str | None, int] = {}  # by room, the socket's own among them; None: all clients
        self.inboxes: tuple[str, ...] = ()
        self.epochs: tuple[str, ...] = ()  # by shard: of the floors
        self.began: Ids = ()  # what had been delivered on this node when it began; none once it is written
        self.pinged: Ids = ()  # all up to there had been sent before its heartbeat, if that is not answered yet
        self.received: Ids = ()  # all up to there has reached the client for certain
        self.data: Any = None  # what save_session was given
        self.user = ""  # whose connections are counted; empty: nobody's
        self.expires_ms = 0  # since 1970, in ms; 0: never
        self.is_written = False
        self.is_taken = False
        self.is_ended = False  # by others
        self.eio_sid = ""  # whose it is on this node

    def get_fields(self, node: str) -> dict[str, str | bytes | int]:
        """Return the hash that Redis keeps of it."""
        return {
            "pid": self.pid,
            "namespace": self.namespace,
            "owner": self.owner,
            "node": node,
            "generation": self.generation,
            "is_open": 1,
            "received": self.encode_received(),
            **({"epochs": orjson.dumps(self.epochs)} if len(self.epochs) > 1 else {}),
            "user": self.user,
            "expires": self.expires_ms,
            "data": orjson.dumps(self.data),
            "inboxes": orjson.dumps(self.inboxes),
            **{get_field(room): floor for room, floor in self.floors.items()},
        }

    def set_epoch(self, shard: int, epoch: str) -> None:
        """Set the epoch of a shard; the session has no floor of another epoch there, or it would have ended."""
        if self.epochs[shard] != epoch:
            self.epochs = (*self.epochs[:shard], epoch, *self.epochs[shard + 1 :])

    def on_ping(self, ids: Ids) -> None:
        """A heartbeat is sent, after everything up to ``ids``."""
        self.pinged = ids

    def on_pong(self) -> None:
        """It was answered. Written with the next renewal."""
        self.received, self.pinged = get_latest(self.received, self.pinged), ()

    def encode_received(self) -> str:
        """Return up to where all has reached the client, as Redis keeps it."""
        return ",".join(map(str, self.received)) or "0"

    def check(self) -> None:
        """Raise ``Unavailable`` if another connection has taken it, or others have ended it."""
        if self.is_taken:
            raise Unavailable("the session is another connection's by now, or has ended")

    @classmethod
    def from_fields(cls, sid: str, items: Sequence[bytes], shards: int) -> Self:
        """Return the session of a hash: its fields and values in turn; ``shards`` is how many there are.

        A session written before sharding has one shard's values; they apply to all shards.
        """
        fields = {items[i].decode(): items[i + 1].decode() for i in range(0, len(items), 2)}
        session = cls(sid, fields["namespace"], fields["owner"], fields["pid"], int(fields["generation"]))
        received = tuple(map(int, fields.get("received", "0").split(",")))  # a version before had none of these three
        session.received = received if len(received) == shards else received[:1] * shards
        session.epochs = tuple(orjson.loads(fields["epochs"])) if "epochs" in fields else (fields["epoch"],) * shards
        session.user = fields.get("user", "")
        session.expires_ms = int(fields.get("expires", 0))
        session.data = orjson.loads(fields["data"])
        session.inboxes = tuple(orjson.loads(fields["inboxes"]))
        for name, value in fields.items():
            if name == _FLOOR_OF_ALL:
                session.floors[None] = int(value)
            elif name.startswith(_FLOOR):
                session.floors[name.removeprefix(_FLOOR)] = int(value)
        session.is_written = True
        return session


class Taken(Exception):
    """The session belongs to another connection by now, or was ended by others."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.sid)
        self.session = session


def check_refusal(session: Session, refusal: bytes) -> None:
    """Raise ``Taken`` if a script has not written ``session`` because it was taken or ended."""
    if refusal in (b"taken", b"ended"):
        session.is_ended = refusal == b"ended"
        raise Taken(session)


class NotResumable(Exception):
    """The session can't be resumed; its text is why, in one word."""


def get_field(room: str | None) -> str:
    """Return the field of a room's floor."""
    return _FLOOR_OF_ALL if room is None else _FLOOR + room
