"""The state of this process: its clients, the lag of its event loop, and whether Redis answers.

Most of it is looked up on request. The loop's lag and Redis are watched all the time.
"""

import logging
from collections.abc import Iterator
from importlib.metadata import version
from time import monotonic
from typing import Any, Protocol

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from webfarm.defaults import TICK_S
from webfarm.monitoring.capacity import capacity
from webfarm.monitoring.close_reasons import CloseReason
from webfarm.monitoring.counters import counters
from webfarm.monitoring.loop_lag import Lag

log = logging.getLogger(__name__)

VERSION = version("webfarm")
_TICKS_OF_STORING = 20  # five seconds


class WatchedEngine(Protocol):
    """An Engine.IO server."""

    is_draining: bool

    def count_clients(self) -> tuple[dict[str, int], int]:
        """Return how many clients are connected, by transport, and the bytes that wait for them."""


class WatchedManager(Protocol):
    """The manager of a server's clients."""

    def get_unready_reason(self) -> str | None: ...

    def get_lag(self) -> dict[str, float]: ...


class WatchedServer(Protocol):
    """The server whose figures are shown."""

    @property
    def eio(self) -> WatchedEngine: ...

    @property
    def manager(self) -> WatchedManager: ...

    def get_unready_reason(self) -> str | None: ...


class Gauges(Collector):
    """The gauges of the ``Server`` of this process."""

    def __init__(self) -> None:
        self.lag = Lag(self._on_tick)
        self._server: WatchedServer | None = None
        self._ticks = 0
        self._storing_since = [counters.storing.copy_buckets()] * 2
        self._loss: str | None = ""  # why Redis is unreachable; empty until it answers for the first time
        self._lost_at = 0.0

    def watch(self, server: WatchedServer) -> None:
        """Show the figures of ``server`` from now on."""
        self._server = server
        self.lag.start()

    def snapshot(self) -> dict[str, Any]:
        """Return the key figures of this worker; counts have grown since the process began.

        Returns:
            ``clients`` is a dict by transport. The counts are ``events_received``, ``events_emitted``, ``deliveries``,
            ``received_bytes``, ``sent_bytes``, ``stored``, ``sessions_resumed``, ``sessions_not_resumed`` and
            ``slow_clients``. ``outbox_bytes`` wait for clients. ``store_p99_s`` is of the last five to ten seconds,
            ``None`` if nothing was stored. ``loop_lag_s`` is the largest lag of the last two to four seconds.
            ``unready`` says why the worker takes no new clients, ``None`` while it does.
        """
        clients, outbox_bytes = self._count_clients()
        return {
            "clients": clients,
            "outbox_bytes": outbox_bytes,
            "events_received": counters.events_received,
            "events_emitted": counters.events_emitted,
            "deliveries": counters.deliveries,
            "received_bytes": counters.received_bytes,
            "sent_bytes": counters.sent_bytes,
            "stored": counters.stored,
            "sessions_resumed": counters.sessions_resumed,
            "sessions_not_resumed": counters.sessions_not_resumed.total(),
            "slow_clients": counters.connections_closed[CloseReason.SLOW_CLIENT],
            "store_p99_s": counters.storing.get_quantile(0.99, self._storing_since[0]),
            "loop_lag_s": self.lag.get_recent(),
            "unready": self._server.get_unready_reason() if self._server is not None else None,
        }

    def collect(self) -> Iterator[Metric]:
        clients, outbox_bytes = self._count_clients()
        yield _gauge("connections", "Engine.IO connections that are open.", clients, "transport")
        yield _gauge("max_connections", "Connections that this worker can carry.", capacity.clients)
        yield _gauge("outbox_bytes", "Bytes that wait for clients to read them.", outbox_bytes)
        server = self._server
        for name, text, value in (
            (
                "ready",
                "1 if this worker takes new clients.",
                server is not None and server.get_unready_reason() is None,
            ),
            ("draining", "1 if this worker is stopping.", server is not None and server.eio.is_draining),
            (
                "redis_up",
                "1 if Redis answers and delivers.",
                server is not None and server.manager.get_unready_reason() is None,
            ),
        ):
            yield _gauge(name, text, value)
        lags = server.manager.get_lag() if server is not None else {}
        text = "How far what is delivered may be behind what is stored; up to half a second is none."
        yield _gauge("log_position_lag_seconds", text, lags, "shard")
        yield self.lag.seconds.collect("webfarm_loop_lag_seconds", "How late the event loop's timer fired.")
        yield _gauge("build_info", "The version that runs.", {VERSION: 1}, "version")

    def _count_clients(self) -> tuple[dict[str, int], int]:
        if self._server is None:
            return {"polling": 0, "websocket": 0}, 0
        return self._server.eio.count_clients()

    def _on_tick(self) -> None:
        self._ticks += 1
        if self._ticks % _TICKS_OF_STORING == 0:
            self._storing_since = [self._storing_since[1], counters.storing.copy_buckets()]
        if self._server is None or self.lag.get_recent() > TICK_S:
            return  # Redis may have answered: this worker did not listen
        loss = self._server.manager.get_unready_reason()
        if loss is not None and self._loss is None:
            self._lost_at = monotonic()
            counters.redis_losses += 1
            log.warning("Redis lost", extra={"reason": loss})
        elif loss is None and self._loss:
            log.warning("Redis back", extra={"after_s": round(monotonic() - self._lost_at, 1)})
        if loss is None or self._loss != "":
            self._loss = loss


def _gauge(name: str, text: str, value: float | dict[str, float] | dict[str, int], label: str = "") -> Metric:
    """Return a gauge with one value, or with one for each value of a label."""
    if not isinstance(value, dict):
        return GaugeMetricFamily(f"webfarm_{name}", text, value)
    family = GaugeMetricFamily(f"webfarm_{name}", text, labels=[label])
    for key, number in value.items():
        family.add_metric([key], number)
    return family


gauges = Gauges()
REGISTRY.register(gauges)
