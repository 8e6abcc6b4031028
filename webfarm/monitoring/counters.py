"""What this process counters: read when Prometheus asks, in its default registry.

All of it is plain numbers, not ``prometheus_client``'s counters: these have a lock, which costs more than the
delivery that is counted. The event loop is the only thread, so nothing is lost.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from webfarm.monitoring.close_reasons import CloseReason

_INFINITY = "+Inf"
# From what a message costs to what nobody waits for.
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

# What is known beforehand is there from the beginning, as 0: of a series that begins with 1 no increase is seen.
_REFUSED = (
    "full",
    "draining",
    "origin",
    "descriptors",
    "too_many_connections",
    "invalid_namespace",
    "already_connected",
    "too_many_namespaces",
    "refused",
)
_EVENTS_REFUSED = ("internal", "unavailable")
_NOT_RESUMED = ("unknown", "foreign", "expired", "full", "twin", "incomplete", "too_much", "epoch", "offset")
_ENDED = ("incomplete", "epoch")


class Histogram:
    """Seconds in buckets.

    Args:
        bounds: the buckets' upper bounds, rising; what is above all of them has a bucket of its own.
    """

    __slots__ = ("_bounds", "_buckets", "_sum")

    def __init__(self, bounds: Sequence[float] = _SECONDS) -> None:
        self._bounds = bounds
        self._buckets = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one that took ``seconds``."""
        self._buckets[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def copy_buckets(self) -> list[int]:
        """Return how many there are in each bucket by now."""
        return self._buckets.copy()

    def get_quantile(self, share: float, since: Sequence[int]) -> float | None:
        """Return below what ``share`` of those are that came after ``since`` was copied; ``None`` if none did.

        Within a bucket they are taken to lie evenly; above the last bound nothing is known but that bound.
        """
        buckets = [now - before for now, before in zip(self._buckets, since, strict=True)]
        rank, lower = share * sum(buckets), 0.0
        if not rank:
            return None
        for count, upper in zip(buckets, self._bounds, strict=False):
            if rank <= count:
                return lower + (upper - lower) * rank / count
            rank -= count
            lower = upper
        return lower

    def collect(self, name: str, text: str) -> Metric:
        """Return it as Prometheus has it: each bucket with all below."""
        total, buckets = 0, []
        for bound, count in zip((*map(str, self._bounds), _INFINITY), self._buckets, strict=True):
            total += count
            buckets.append((bound, total))
        return HistogramMetricFamily(name, text, buckets, self._sum)


class Counters(Collector):
    """What is counted once per event, message, read or write."""

    def __init__(self) -> None:
        self.connections_opened = 0
        self.connections_closed = Counter(dict.fromkeys(map(str, CloseReason), 0))
        self.connections_refused = Counter(dict.fromkeys(_REFUSED, 0))
        self.events_received = 0
        self.events_refused = Counter(dict.fromkeys(_EVENTS_REFUSED, 0))
        self.events_emitted = 0
        self.deliveries = 0
        self.received_bytes = 0
        self.sent_bytes = 0
        self.handling = Histogram()
        self.storing = Histogram()
        self.stored = 0
        self.insisted = 0
        self.followed = 0
        self.gaps = 0
        self.gap_messages = 0
        self.sessions_resumed = 0
        self.sessions_not_resumed = Counter(dict.fromkeys(_NOT_RESUMED, 0))
        self.sessions_ended = Counter(dict.fromkeys(_ENDED, 0))
        self.redis_losses = 0

    def collect(self) -> Iterator[Metric]:
        for name, text, number in (
            ("connections_opened", "Engine.IO connections that began.", self.connections_opened),
            ("events_received", "Events that came from clients of this worker.", self.events_received),
            ("events_emitted", "Events that were sent to one or more clients of this worker.", self.events_emitted),
            ("deliveries", "Events sent, once for each client of this worker that they went to.", self.deliveries),
            ("received_bytes", "Bytes that came from clients, without HTTP's heads.", self.received_bytes),
            ("sent_bytes", "Bytes that were sent to clients, without HTTP's heads.", self.sent_bytes),
            ("messages_stored", "Messages that this worker stored in the log, repeats included.", self.stored),
            ("batches_insisted", "Batches that needed a call of their own, as the first one failed.", self.insisted),
            ("messages_followed", "Messages of the log that came to this worker.", self.followed),
            ("gaps_filled", "Times that messages of the log were missing, or may have been, and were read.", self.gaps),
            ("gap_messages", "Messages that were read from the log to fill gaps.", self.gap_messages),
            ("sessions_resumed", "Connections that were resumed.", self.sessions_resumed),
            ("redis_losses", "Times that this worker was cut off from Redis.", self.redis_losses),
        ):
            yield CounterMetricFamily(f"webfarm_{name}", text, number)
        for name, text, label, numbers in (
            ("connections_closed", "Engine.IO connections that ended.", "reason", self.connections_closed),
            ("connections_refused", "Connections that were not let in.", "reason", self.connections_refused),
            ("events_refused", "Events that were not accepted.", "code", self.events_refused),
            (
                "sessions_not_resumed",
                "Connections that came back and had to begin anew.",
                "reason",
                self.sessions_not_resumed,
            ),
            (
                "sessions_ended",
                "Sessions that were ended because messages might be missing.",
                "reason",
                self.sessions_ended,
            ),
        ):
            family = CounterMetricFamily(f"webfarm_{name}", text, labels=[label])
            for value, number in sorted(numbers.items()):
                family.add_metric([value], number)
            yield family
        yield self.handling.collect("webfarm_event_handling_seconds", "How long an event's handler took.")
        yield self.storing.collect("webfarm_store_seconds", "How long an emit waited until its message was stored.")


counters = Counters()
REGISTRY.register(counters)
