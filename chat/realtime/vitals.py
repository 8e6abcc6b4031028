"""How this process is: its clients, how late its event loop is, how it stands with Redis.

Looked up when somebody asks; only the loop's lag is watched, by a timer that is due a few times a second.
"""

from collections.abc import Iterator
from importlib.metadata import version
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import gevent
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from chat.realtime.metrics import Histogram, counts

if TYPE_CHECKING:
    from chat.realtime.server import Server

VERSION = version("webfarm")

_TICK_S = 0.25
_TICKS_OF_LAG = 8  # after which a lag is past, once or twice
_TICKS_OF_STORING = 20
_LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Lag:
    """How late the event loop is: a timer tells by how much it fired after its time."""

    def __init__(self) -> None:
        self.seconds = Histogram(_LAGS)
        self._due = 0.0
        self._ticks = 0
        self._largest = [0.0, 0.0]  # of the time before, and of now
        self._storing_since = [counts.storing.copy_buckets()] * 2
        self._timer: Any = None

    def start(self) -> None:
        """Watch it from now on."""
        if self._timer is None:
            self._due = monotonic() + _TICK_S
            self._timer = gevent.get_hub().loop.timer(_TICK_S, _TICK_S, ref=False)
            self._timer.start(self._tick)

    def get_recent(self) -> float:
        """Return the largest of the last two to four seconds."""
        late = monotonic() - self._due if self._timer is not None else 0.0
        return max(*self._largest, late, 0.0)

    def get_storing_quantile(self, share: float) -> float | None:
        """Return within what time, in seconds, ``share`` of the last five to ten seconds' messages were stored."""
        return counts.storing.get_quantile(share, self._storing_since[0])

    def _tick(self) -> None:
        now = monotonic()
        late = max(now - self._due, 0.0)
        self._due = now + _TICK_S
        self.seconds.observe(late)
        self._largest[1] = max(self._largest[1], late)
        self._ticks += 1
        if self._ticks % _TICKS_OF_LAG == 0:
            self._largest = [self._largest[1], 0.0]
        if self._ticks % _TICKS_OF_STORING == 0:
            self._storing_since = [self._storing_since[1], counts.storing.copy_buckets()]


class Vitals(Collector):
    """What ``Server``s of this process have to show; there is one of them as a rule."""

    def __init__(self) -> None:
        self.lag = Lag()
        self._servers: WeakSet[Server] = WeakSet()

    def watch(self, server: "Server") -> None:
        """Show what ``server`` does from now on."""
        self._servers.add(server)
        self.lag.start()

    def snapshot(self) -> dict[str, Any]:
        """Return the key figures of this worker; what is a count has grown since the process began.

        Returns:
            ``clients`` by transport, ``outbox_bytes``, ``events_received``, ``events_emitted``, ``deliveries``,
            ``received_bytes``, ``sent_bytes``, ``stored``, ``sessions_resumed``, ``sessions_not_resumed``,
            ``slow_clients``, ``store_p99_s`` (of the last seconds; ``None`` if nothing was stored), ``loop_lag_s`` (the
            largest of the last seconds), ``unready`` (why it takes no new clients, or ``None``).
        """
        clients, outbox_bytes = self._count_clients()
        reasons = [server.get_unready_reason() for server in self._servers]
        return {
            "clients": clients,
            "outbox_bytes": outbox_bytes,
            "events_received": counts.events_received,
            "events_emitted": counts.events_emitted,
            "deliveries": counts.deliveries,
            "received_bytes": counts.received_bytes,
            "sent_bytes": counts.sent_bytes,
            "stored": counts.stored,
            "sessions_resumed": counts.sessions_resumed,
            "sessions_not_resumed": counts.sessions_not_resumed.total(),
            "slow_clients": counts.connections_closed["slow client"],
            "store_p99_s": self.lag.get_storing_quantile(0.99),
            "loop_lag_s": self.lag.get_recent(),
            "unready": next(filter(None, reasons), None),
        }

    def collect(self) -> Iterator[Metric]:
        clients, outbox_bytes = self._count_clients()
        family = GaugeMetricFamily("webfarm_connections", "Engine.IO connections that are open.", labels=["transport"])
        for transport, number in clients.items():
            family.add_metric([transport], number)
        yield family
        yield GaugeMetricFamily("webfarm_outbox_bytes", "Bytes that clients have not read yet.", outbox_bytes)
        yield self.lag.seconds.collect("webfarm_loop_lag_seconds", "How late the event loop's timer fired.")
        family = GaugeMetricFamily("webfarm_build_info", "The version that runs.", labels=["version"])
        family.add_metric([VERSION], 1)
        yield family

    def _count_clients(self) -> tuple[dict[str, int], int]:
        """Return how many there are by transport, and the bytes that wait for them."""
        clients, unsent = {"polling": 0, "websocket": 0}, 0
        for server in self._servers:
            for connection in server.eio.sockets.values():
                if connection.closed:
                    continue
                if connection.websocket is not None:
                    clients["websocket"] += 1
                    unsent += connection.websocket.unsent
                elif connection.polling is not None:
                    clients["polling"] += 1
                    unsent += connection.polling.unsent
        return clients, unsent


vitals = Vitals()
REGISTRY.register(vitals)
