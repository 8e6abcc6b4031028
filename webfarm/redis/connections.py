"""A worker's connections to its Redis."""

import redis

from webfarm.redis.client import connect
from webfarm.redis.cluster_connections import ClusterConnections
from webfarm.redis.commands import Commands
from webfarm.redis.keys import Keys
from webfarm.redis.pipeline import Pipeline
from webfarm.redis.pubsub_connection import PubSubConnections
from webfarm.redis.sentinel import PrimaryWatch
from webfarm.redis.subscription import Subscription
from webfarm.redis.url import is_cluster_url


class SingleConnections:
    """The connections to one Redis, which has all shards.

    Args:
        client: knows which Redis.
        has_writing: whether messages are stored over a connection of their own, so that nothing else waits for
            replicas.
    """

    def __init__(self, client: redis.Redis, *, has_writing: bool) -> None:
        self._client = client
        self._commands = Pipeline(client)
        self._writing = Pipeline(client) if has_writing else self._commands
        self._subscribers = PubSubConnections(client)
        self._subscriptions: list[Subscription] = []

    def start(self) -> None:
        """Find the primary, and follow it where it goes, from now on."""
        PrimaryWatch(self._client, {self._commands, self._writing, *self._subscriptions}).start()

    def get_commands(self, keys: Keys) -> Commands:
        """Return the connection for what is asked about a shard."""
        return self._commands

    def get_writing(self, keys: Keys) -> Commands:
        """Return the connection over which its messages are stored."""
        return self._writing

    def create_subscription(self, keys: Keys) -> Subscription:
        """Return the subscription to a shard's channels. Before ``start``."""
        subscription = Subscription(keys, self._subscribers.attach)
        self._subscriptions.append(subscription)
        return subscription

    def count_replicas(self, keys: Keys) -> int | None:
        """Return how many replicas of a shard's primary work; ``None``: only Redis knows."""
        return None

    def get_address(self, keys: Keys) -> str:
        """Return the primary of a shard in a cluster, as ``host:port``; an empty text here, as there is one Redis."""
        return ""


#: Of either kind; both have the same methods.
Connections = SingleConnections | ClusterConnections


def open_connections(url: str, *, has_writing: bool) -> Connections:
    """Return the connections to the Redis or the cluster at ``url``; nothing is sent yet."""
    if is_cluster_url(url):
        return ClusterConnections(url, has_writing=has_writing)
    return SingleConnections(connect(url), has_writing=has_writing)
