"""All shards of the log."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import gevent

from webfarm.log.offset import Ids, Vector
from webfarm.manager.shard import Shard
from webfarm.redis.keys import find_shard
from webfarm.service import Service

Room = TypeVar("Room", bound=str | None)


class Shards(Service):
    """The shards, by number.

    Args:
        shards: all of them, in order.
        delivered: their positions.
    """

    def __init__(self, shards: Sequence[Shard], delivered: Vector) -> None:
        self._all = tuple(shards)
        self._count = len(self._all)
        self.home = self._all[0]  #: where is what concerns the farm as a whole
        self._positions = tuple(shard.follower.position for shard in self._all)
        self._logs = tuple(shard.log for shard in self._all)
        self._delivered = delivered
        self._last_positions: Ids = ()  # returned again while nothing has moved: many clients keep them
        self._last_epochs: tuple[str, ...] = ()
        self.register()

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._all)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Shard:
        return self._all[number]

    def get(self, name: str) -> Shard:
        """Return the shard that something is in by its name: a client's sid, a user."""
        return self._all[find_shard(name, self._count)]

    def get_of_room(self, namespace: str, room: str | None) -> Shard:
        """Return the shard of a room, or of all clients of ``namespace``; a socket's own is its session's."""
        return self.get(namespace if room is None else room)

    def group(self, namespace: str, rooms: Iterable[Room]) -> dict[Shard, list[Room]]:
        """Return rooms by their shards."""
        groups: dict[Shard, list[Room]] = {}
        for room in rooms:
            groups.setdefault(self.get_of_room(namespace, room), []).append(room)
        return groups

    @property
    def positions(self) -> Ids:
        """Up to where everything has been delivered on this node, by shard."""
        ids = tuple(position.id for position in self._positions)
        if ids != self._last_positions:
            self._last_positions = ids
        return self._last_positions

    @property
    def epochs(self) -> tuple[str, ...]:
        """The epochs of all shards, as this node knows them."""
        epochs = tuple(log.epoch for log in self._logs)
        if epochs != self._last_epochs:
            self._last_epochs = epochs
        return self._last_epochs

    def encode_offset(self, shard: Shard, id: int) -> str:
        """Return the offset of a message that is just being delivered; messages of other shards show it, too.

        Until all recipients have been sent it, nobody may have a turn.
        """
        self._delivered.show(shard.number, shard.log.epoch, id)
        return self._delivered.encode()

    def create_name(self, create: Callable[[], str], owner: str) -> str:
        """Return a name by ``create`` that is in the shard of ``owner``, so that an owner's sessions are together."""
        number = find_shard(owner, self._count)
        name = create()
        while owner and find_shard(name, self._count) != number:
            name = create()
        return name

    def stop(self, *, at_once: bool = False) -> None:
        """The clients have gone: give the node's leases up."""
        gevent.joinall([gevent.spawn(shard.lease.stop) for shard in self._all])
