"""The engine's counters, in Prometheus' default registry."""

from collections.abc import Iterator

from prometheus_client import REGISTRY, Counter
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

CLOSED_CONNECTIONS = Counter("webfarm_connections_closed_total", "Engine.IO connections that ended", ["reason"])
SESSIONS_RESUMED = Counter("webfarm_sessions_resumed", "Connections that were resumed.")
SESSIONS_NOT_RESUMED = Counter(
    "webfarm_sessions_not_resumed", "Connections that came back and had to begin anew.", ["reason"]
)
SESSIONS_ENDED = Counter(
    "webfarm_sessions_ended", "Sessions that were ended because messages might be missing.", ["reason"]
)


class Counts(Collector):
    """What is counted once per message: a ``Counter`` has a lock, which costs some hundredths of the message."""

    def __init__(self) -> None:
        self.stored = 0
        self.followed = 0

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "webfarm_messages_stored", "Messages that this worker stored in the log, repeats included.", self.stored
        )
        yield CounterMetricFamily(
            "webfarm_messages_followed", "Messages of the log that came to this worker.", self.followed
        )


counts = Counts()
REGISTRY.register(counts)
