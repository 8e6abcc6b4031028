"""SlotMap: which primary of a cluster has which slots, as the cluster has said it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import redis
from redis.cluster import parse_cluster_slots

from webfarm.redis.url import Address


class SlotRange(NamedTuple):
    """Some slots of a cluster, and the nodes that have them."""

    first: int
    last: int
    primary: Address
    replicas: list[Address]  # that work


class SlotMap:
    """The slots of a cluster, by one node's word, and the moves that nodes have told since.

    Args:
        rows: the answer to ``CLUSTER SLOTS``; none: nobody has said anything.
        host: of the node that was asked, which may not know its own.
    """

    def __init__(self, rows: Any = (), host: str = "") -> None:
        found = parse_cluster_slots(rows, current_host=host) if rows else {}
        self._ranges = [SlotRange(*slots, one["primary"], one["replicas"]) for slots, one in found.items()]
        self._primaries: dict[int, Address] = {}  # by slot: moved, or looked up before

    def __iter__(self) -> Iterator[SlotRange]:
        return iter(self._ranges)

    @property
    def nodes(self) -> list[Address]:
        """All primaries and replicas with slots; some stand there several times."""
        return [node for one in self._ranges for node in (one.primary, *one.replicas)]

    @property
    def primaries(self) -> set[Address]:
        """All primaries with slots."""
        return {one.primary for one in self._ranges} | {*self._primaries.values()}

    def get_primary(self, slot: int) -> Address | None:
        """Return the primary that has ``slot``; ``None`` if nobody has said it."""
        address = self._primaries.get(slot)
        if address is None and (found := self._find(slot)) is not None:
            address = self._primaries[slot] = found.primary
        return address

    def require_primary(self, slot: int) -> Address:
        """Return the primary that has ``slot``. Raises ``redis.ConnectionError``."""
        address = self.get_primary(slot)
        if address is None:
            raise redis.ConnectionError(f"no node of the cluster says who has slot {slot}")
        return address

    def count_replicas(self, slot: int) -> int:
        """Return how many replicas of its primary work, as far as the cluster knows."""
        found = self._find(slot)
        return 0 if found is None else len(found.replicas)

    def move(self, slot: int, address: Address) -> None:
        """A node has said that ``slot`` is at ``address``."""
        self._primaries[slot] = address

    def _find(self, slot: int) -> SlotRange | None:
        return next((one for one in self._ranges if one.first <= slot <= one.last), None)
