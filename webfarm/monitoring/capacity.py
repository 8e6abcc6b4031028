"""How many clients this process can carry: file descriptors run out first.

Some descriptors stay free for parts that must work when all others are taken: Redis, requests for health and metrics,
the posts of polling clients. Idle connections are closed before a new one is refused.
"""

import resource
from collections.abc import Collection

from webfarm.service import Service

_OWN = 64  # descriptors for Redis and files
_SPARE, _SPARE_SHARE = 64, 20  # for requests beside the clients': so many, or a twentieth of all


class Capacity:
    """The limits of this process; without ``limit`` it has none.

    Attributes:
        clients: sessions of Engine.IO, at most.
        connections: of clients, those for a single request included, at most.
        http: those of them that are still HTTP's.
        idle: those of these that have not asked for anything yet, and can be closed.
    """

    def __init__(self) -> None:
        self.clients = self.connections = 1_048_576
        self.http: Collection[object] = ()
        self.idle: Collection[object] = ()

    def limit(self, clients: int) -> None:
        """Carry ``clients`` at most, or as many as the limit of open files has room for."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files != resource.RLIM_INFINITY:
            own = min(_OWN, files // 4)
            self.connections = files - own
            clients = min(clients, self.connections - max(min(_SPARE, files // 4), files // _SPARE_SHARE))
        self.clients = clients

    def is_full(self, sessions: int) -> bool:
        """Return whether there is no room for another session beside ``sessions``, some of which poll now and then."""
        return sessions >= self.clients or len(self.http) - len(self.idle) + Service.count_open() > self.clients

    def is_exceeded(self) -> bool:
        """Return whether there are more connections than may be."""
        return len(self.http) + Service.count_open() > self.connections


capacity = Capacity()
