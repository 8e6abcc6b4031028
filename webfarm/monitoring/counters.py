"""The counters of this process, which Prometheus reads in its default registry.

They are plain numbers, not ``prometheus_client``'s counters: these have a lock, which costs more than the delivery
that is counted. The event loop is the only thread, so nothing is lost.
"""

# ruff: noqa: RUF009 - the functions return fields

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from webfarm.monitoring.close_reasons import CloseReason
from webfarm.monitoring.histogram import Histogram

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
_NOT_RESUMED = ("unknown", "foreign", "expired", "full", "twin", "incomplete", "too_much", "epoch", "offset")


def _number(name: str, text: str) -> Any:
    """Return a counter without labels: ``webfarm_<name>_total``, with its help."""
    return field(default_factory=int, metadata={"name": name, "text": text})


def _by(label: str, known: Iterable[str], name: str, text: str) -> Any:
    """Return a counter for each value of a label.

    ``known`` values are there from the beginning, as 0: Prometheus sees no increase of a series that begins with 1.
    """
    values = tuple(map(str, known))
    metadata = {"name": name, "text": text, "label": label}
    return field(default_factory=lambda: Counter(dict.fromkeys(values, 0)), metadata=metadata)


def _histogram(name: str, text: str) -> Any:
    return field(default_factory=Histogram, metadata={"name": name, "text": text})


@dataclass(eq=False, repr=False)
class Counters(Collector):
    """The table of all counters: each attribute, with the name and the help of its metric."""

    connections_opened: int = _number("connections_opened", "Engine.IO connections that began.")
    events_received: int = _number("events_received", "Events that came from clients of this worker.")
    events_emitted: int = _number("events_emitted", "Events that were sent to one or more clients of this worker.")
    deliveries: int = _number("deliveries", "Events sent, once for each client of this worker that they went to.")
    received_bytes: int = _number("received_bytes", "Bytes that came from clients, without HTTP's heads.")
    sent_bytes: int = _number("sent_bytes", "Bytes that were sent to clients, without HTTP's heads.")
    stored: int = _number("messages_stored", "Messages that this worker stored in the log, repeats included.")
    insisted: int = _number("batches_insisted", "Batches that needed a call of their own, as the first one failed.")
    followed: int = _number("messages_followed", "Messages of the log that came to this worker.")
    gaps: int = _number("gaps_filled", "Times that messages of the log were missing, or may have been, and were read.")
    gap_messages: int = _number("gap_messages", "Messages that were read from the log to fill gaps.")
    sessions_resumed: int = _number("sessions_resumed", "Connections that were resumed.")
    redis_losses: int = _number("redis_losses", "Times that this worker was cut off from Redis.")

    connections_closed: Counter[str] = _by(
        "reason", CloseReason, "connections_closed", "Engine.IO connections that ended."
    )
    connections_refused: Counter[str] = _by(
        "reason", _REFUSED, "connections_refused", "Connections that were not let in."
    )
    events_refused: Counter[str] = _by(
        "code", ("internal", "unavailable"), "events_refused", "Events that were not accepted."
    )
    sessions_not_resumed: Counter[str] = _by(
        "reason", _NOT_RESUMED, "sessions_not_resumed", "Connections that came back and got a new session."
    )
    sessions_ended: Counter[str] = _by(
        "reason",
        ("incomplete", "epoch"),
        "sessions_ended",
        "Sessions that were ended because messages might be missing.",
    )

    handling: Histogram = _histogram("event_handling_seconds", "How long an event's handler took.")
    storing: Histogram = _histogram("store_seconds", "How long an emit waited until its message was stored.")

    def collect(self) -> Iterator[Metric]:
        for one in fields(self):
            name, text, value = f"webfarm_{one.metadata['name']}", one.metadata["text"], getattr(self, one.name)
            if isinstance(value, Histogram):
                yield value.collect(name, text)
            elif isinstance(value, Counter):
                family = CounterMetricFamily(name, text, labels=[one.metadata["label"]])
                for key, number in sorted(value.items()):
                    family.add_metric([key], number)
                yield family
            else:
                yield CounterMetricFamily(name, text, value)


counters = Counters()
REGISTRY.register(counters)
