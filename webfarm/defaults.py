"""The numbers and names that the settings and the engine share: each default stands here, once."""

PREFIX = "webfarm"  # what every key and channel in Redis begins with
REDIS_URL = "redis://localhost:6379/0"

SHARDS, SHARDS_OF_CLUSTER = 1, 8  # parts of the log, on a single Redis and on a cluster
WAIT_REPLICAS, WAIT_REPLICAS_OF_MANY = 0, 1  # that must have a message; with Sentinel or a cluster

APP = "wsgi:app"  # what the commands and units serve
HOST = "127.0.0.1"  # that workers bind
BASE_PORT = 3001  # of the first worker
WORKERS = 2
TRUSTED_PROXIES = ("127.0.0.1/32",)
LOG_LEVEL = "info"
LOG_FORMAT = "text"

#: How long a node that does not renew its lease counts as living, in seconds.
LEASE_S = 6

#: How long a user who left may take to come back before the farm announces it, in seconds.
GRACE_S = 5.0

#: How often the loop's ticker ticks, in seconds: Redis is heard of at least that often.
TICK_S = 0.5

RECOVERY_WINDOW_S = 120.0
HISTORY_LENGTH = 10_000  # messages of a room
HISTORY_BYTES = 16_777_216  # of a room
HISTORY_TTL_S = 86_400.0  # of a room in which nothing happens

CONNECT_TIMEOUT_S = 10.0
PING_INTERVAL_S = 25.0
PING_TIMEOUT_S = 20.0
DRAIN_S = 10.0

MAX_MESSAGE_BYTES = 1_000_000  # of a client
MAX_OUTBOX_BYTES = 1_048_576  # unsent, of a client
MAX_CONNECTIONS_PER_USER = 20
MAX_ROOMS_PER_CLIENT = 100
RATE_LIMIT = 50  # events a second, per user
RATE_LIMIT_BYTES = 1_000_000  # bytes a second, per user
