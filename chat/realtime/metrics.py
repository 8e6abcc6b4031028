"""The engine's counters, in Prometheus' default registry."""

from prometheus_client import Counter

CLOSED_CONNECTIONS = Counter("webfarm_connections_closed_total", "Engine.IO connections that ended", ["reason"])
SESSIONS_RESUMED = Counter("webfarm_sessions_resumed", "Connections that were resumed.")
SESSIONS_NOT_RESUMED = Counter(
    "webfarm_sessions_not_resumed", "Connections that came back and had to begin anew.", ["reason"]
)
SESSIONS_ENDED = Counter(
    "webfarm_sessions_ended", "Sessions that were ended because messages might be missing.", ["reason"]
)
MESSAGES_STORED = Counter("webfarm_messages_stored", "Messages that this worker stored in the log, repeats included.")
MESSAGES_FOLLOWED = Counter("webfarm_messages_followed", "Messages of the log that came to this worker.")
