"""All shards of the log, and whether they can be used just now."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import gevent

from webfarm.errors import Unavailable
from webfarm.log.offset import Ids
from webfarm.manager.shard import Shard
from webfarm.redis.keys import find_shard
from webfarm.service import Service

log = logging.getLogger(__name__)

Room = TypeVar("Room", bound=str | None)


class Shards(Service):
    """The shards of a farm, by number, as this node has to do with them.

    Args:
        shards: all of them, in order.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._all = tuple(shards)
        self._count = len(self._all)
        self.home = self._all[0]  #: the shard of what concerns the farm as a whole
        self._positions = tuple(shard.follower.position for shard in self._all)
        self._logs = tuple(shard.log for shard in self._all)
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
        """Return the shard of a name: of a client's sid, or of a user."""
        return self._all[find_shard(name, self._count)]

    def get_of_room(self, namespace: str, room: str | None) -> Shard:
        """Return the shard of a room, or of all clients of ``namespace``; a client's own room is in its session's."""
        return self.get(namespace if room is None else room)

    def group(self, namespace: str, rooms: Iterable[Room]) -> dict[Shard, list[Room]]:
        """Return rooms by their shards."""
        groups: dict[Shard, list[Room]] = {}
        for room in rooms:
            groups.setdefault(self.get_of_room(namespace, room), []).append(room)
        return groups

    def create_name(self, create: Callable[[], str], owner: str) -> str:
        """Return a name by ``create`` that is in the shard of ``owner``, so that an owner's sessions are together."""
        number = find_shard(owner, self._count)
        name = create()
        while owner and find_shard(name, self._count) != number:
            name = create()
        return name

    @property
    def positions(self) -> Ids:
        """Up to where this node has delivered everything, by shard."""
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

    def stop(self, *, at_once: bool = False) -> None:
        """Give the node's leases up: the clients have left."""
        gevent.joinall([gevent.spawn(shard.lease.stop) for shard in self._all])

    # Readiness

    @property
    def is_ready(self) -> bool:
        """Whether events can be handled: Redis answers for one shard at least, and everything of it is delivered."""
        for shard in self._all:  # no generator: it is asked for each event  # noqa: SIM110
            if shard.is_ready:
                return True
        return False

    def get_unready_reason(self) -> str | None:
        """Return why clients are not served, or ``None`` if all shards can be used.

        ``redis``: Redis does not answer. ``deaf``: it answers, but does not send what is published. If only some shards
        are concerned, their numbers follow: ``redis (shards 1, 4)``.
        """
        unready = [shard for shard in self._all if not shard.is_ready]
        if not unready:
            return None
        reason = "deaf" if all(shard.follower.position.is_deaf for shard in unready) else "redis"
        if len(unready) == self._count:
            return reason
        numbers = ", ".join(str(shard.number) for shard in unready)
        return f"{reason} ({'shard' if len(unready) == 1 else 'shards'} {numbers})"

    def get_lag(self) -> dict[str, float]:
        """Return by how many seconds delivery may be behind storage, by shard."""
        return {str(shard.number): shard.follower.position.get_lag() for shard in self._all}

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Wait at most ``timeout_s`` until Redis answers for one shard and everything of it is delivered.

        Returns whether that is so. Redis may still take no writes.
        """
        with gevent.Timeout(timeout_s, False):  # type: ignore[arg-type]
            waiting = [gevent.spawn(shard.follower.wait_until_ready, timeout_s) for shard in self._all]
            gevent.wait(waiting, count=1)
        gevent.killall(waiting, block=False)
        return any(shard.follower.is_ready for shard in self._all)

    def wait_until_joinable(self, namespace: str, timeout_s: float) -> bool:
        """Wait at most ``timeout_s`` until a client could join ``namespace``; return whether it could.

        Its session and its rooms may still be in unreachable shards.
        """
        return self.get_of_room(namespace, None).follower.wait_until_ready(timeout_s)

    def wait_until_delivered(self) -> None:
        """Wait until everything that was emitted here is delivered here, as long as Redis answers."""
        for shard in self._all:
            if shard.is_ready:
                try:
                    shard.follower.position.wait_until_passed(shard.log.newest)
                except Unavailable as error:
                    log.debug("not waited for the messages of shard %d: %s", shard.number, error)
