"""A worker's connections to a cluster: some to each primary, which all shards there share."""

from webfarm.redis.client import connect_node
from webfarm.redis.cluster_commands import ClusterCommands
from webfarm.redis.cluster_topology import ClusterTopology
from webfarm.redis.commands import Commands
from webfarm.redis.keys import Keys
from webfarm.redis.pipeline import Pipeline
from webfarm.redis.pubsub_connection import PubSubConnection, PubSubConnections
from webfarm.redis.subscription import Subscription
from webfarm.redis.url import Address


class _Node:
    """The connections to one primary."""

    def __init__(self, url: str, address: Address, topology: ClusterTopology, *, has_writing: bool) -> None:
        client = connect_node(url, address)
        self.commands = Pipeline(client, is_cluster=True)
        self.writing = Pipeline(client, is_cluster=True) if has_writing else self.commands
        self.subscribers = PubSubConnections(client, topology.on_moved)

    def close(self) -> None:
        for pipeline in {self.commands, self.writing}:
            pipeline.close("it is no primary any more")


class ClusterConnections:
    """As ``SingleConnections``, for the cluster at ``url``.

    Args:
        url: ``redis+cluster://host:port[,host:port]``, with TLS ``rediss+cluster://``.
        has_writing: as there.
    """

    def __init__(self, url: str, *, has_writing: bool) -> None:
        self._url, self._has_writing = url, has_writing
        self._topology = ClusterTopology(url)
        self._nodes: dict[Address, _Node] = {}
        self._subscriptions: list[Subscription] = []

    def start(self) -> None:
        """Find the primaries, and follow the shards where they go, from now on."""
        self._topology.start(self._follow)

    def get_commands(self, keys: Keys) -> Commands:
        """Return the connection for what is asked about a shard."""
        return ClusterCommands(keys, self._topology, lambda address: self._get_node(address).commands)

    def get_writing(self, keys: Keys) -> Commands:
        """Return the connection over which its messages are stored."""
        return ClusterCommands(keys, self._topology, lambda address: self._get_node(address).writing)

    def create_subscription(self, keys: Keys) -> Subscription:
        """Return the subscription to a shard's channels. Before ``start``."""
        subscription = Subscription(keys, self._attach, is_cluster=True)
        self._subscriptions.append(subscription)
        return subscription

    def count_replicas(self, keys: Keys) -> int | None:
        """Return how many replicas of a shard's primary work."""
        return self._topology.slots.count_replicas(keys.slot)

    def get_address(self, keys: Keys) -> str:
        """Return the primary of a shard, as ``host:port``; an empty text while nobody knows it."""
        primary = self._topology.slots.get_primary(keys.slot)
        return f"{primary[0]}:{primary[1]}" if primary else ""

    def _get_node(self, address: Address) -> _Node:
        node = self._nodes.get(address)
        if node is None:
            node = _Node(self._url, address, self._topology, has_writing=self._has_writing)
            self._nodes[address] = node
        return node

    def _attach(self, subscription: Subscription) -> PubSubConnection:
        address = self._topology.find_primary(subscription.keys.slot)
        return self._get_node(address).subscribers.attach(subscription)

    def _follow(self) -> None:
        """Give up the connections to nodes that are no primaries any more, and to former primaries of shards."""
        for address in self._nodes.keys() - self._topology.slots.primaries:
            self._nodes.pop(address).close()
        for subscription in self._subscriptions:
            primary = self._topology.slots.get_primary(subscription.keys.slot)
            if primary is not None:
                subscription.move_to(primary)
