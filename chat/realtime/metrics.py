"""The engine's counters, in Prometheus' default registry."""

from prometheus_client import Counter

CLOSED_CONNECTIONS = Counter("webfarm_connections_closed_total", "Engine.IO connections that ended", ["reason"])
