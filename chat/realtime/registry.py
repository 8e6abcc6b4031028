"""The nodes: which worker processes live.

A node holds a *lease*, a key that it renews. A node whose lease has ended is dead, or stood still for so long that
its clients may have been taken over by others.
"""

import logging
import uuid
from collections.abc import Callable

import gevent
import redis

from chat.realtime.commands import Commands
from chat.realtime.keys import Keys
from chat.settings import LEASE_S

log = logging.getLogger(__name__)

_RENEW_S = 2


class Registry:
    """This node's lease.

    Args:
        commands: the connection to where leases are kept.
        keys: how they are called there.
        on_expired: called when the lease turns out to have ended.
    """

    def __init__(self, commands: Commands, keys: Keys, on_expired: Callable[[], None]) -> None:
        self._commands = commands
        self._keys = keys
        self._on_expired = on_expired
        self.node = ""

    def start(self, node: str) -> None:
        """Hold the lease of ``node`` from now on. Each start is a node of its own: the one before is dead."""
        self.node = f"{node}#{uuid.uuid4().hex[:8]}"
        gevent.spawn(self._run)

    def _run(self) -> None:
        lease = self._keys.leases + self.node
        had_begun = False
        while True:
            try:
                if not self._commands.execute("PEXPIRE", lease, LEASE_S * 1000):  # which a full Redis takes, too
                    if had_begun:
                        self._on_expired()
                    self._commands.execute("SET", lease, "1", "PX", LEASE_S * 1000)
                had_begun = True
            except redis.RedisError as error:
                log.debug("lease not renewed: %s", error)
            except (Exception, gevent.Timeout):
                log.exception("lease not renewed")
            gevent.sleep(_RENEW_S)
