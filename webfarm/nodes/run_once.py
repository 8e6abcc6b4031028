"""A function that runs on one node of the farm at a time, for as long as that node holds a lease in Redis."""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
import redis

from webfarm.defaults import LEASE_S
from webfarm.redis.commands import Commands
from webfarm.redis.keys import Keys

log = logging.getLogger(__name__)

_RENEW_S, _TRY_S = 2.0, 1.0  # while the lease is held, and while it is not
_HELD_S = LEASE_S - _TRY_S  # so another node has it within a lease
_ANSWER_S = 1.0  # that Redis has for an answer
_AGAIN_S = 1.0  # after the function has failed


class RunOnce:
    """Runs ``function`` in a greenlet while this node holds the lease ``name``.

    If the node crashes, another node starts the function within a lease (6 s). If this node can't renew the lease, it
    kills the greenlet before another node may start the function. A function that raises an error is logged and starts
    again after a second. A function that returns is done for as long as its node lives.

    Args:
        commands: the connection to the lease's shard.
        keys: the names in that shard.
        name: the function's, the same on all nodes.
        function: takes no arguments.
    """

    def __init__(self, commands: Commands, keys: Keys, name: str, function: Callable[[], object]) -> None:
        self._commands = commands
        self._key = keys.run_lease(name)
        self._name, self._function = name, function
        self._node = ""
        self._held_until = 0.0
        self._job: gevent.Greenlet[..., Any] | None = None
        self._watcher: gevent.Greenlet[..., Any] | None = None
        self._is_stopped = False

    def start(self, node: str) -> None:
        """Try to get the lease from now on; ``node`` is unique to this process."""
        self._node = node
        self._watcher = gevent.spawn(self._watch)

    def stop(self) -> None:
        """Kill the function's greenlet and give the lease up: another node then starts the function."""
        self._is_stopped = True
        self._kill()
        self._hold(0)

    def _watch(self) -> None:
        while not self._is_stopped:
            asked_at = monotonic()
            is_held = self._hold(_HELD_S)
            if is_held and not self._is_stopped:
                self._held_until = asked_at + _HELD_S - _ANSWER_S - _TRY_S  # before others may have it
                if self._job is None:
                    log.info("runs once: begins", extra={"function": self._name})
                    self._job = gevent.spawn(self._run)
            elif is_held is False or monotonic() >= self._held_until:
                self._kill()
            gevent.sleep(_RENEW_S if is_held else _TRY_S)

    def _hold(self, lease_s: float) -> bool | None:
        """Return whether this node has the lease now; ``None``: Redis has not answered."""
        try:
            with gevent.Timeout(_ANSWER_S):
                return bool(self._commands.run("nodes/hold", [self._key], [self._node, int(lease_s * 1000)]))
        except (redis.RedisError, gevent.Timeout) as error:
            log.debug("the lease of %s was not renewed: %s", self._name, error)
            return None

    def _run(self) -> None:
        while True:
            try:
                self._function()
            except (Exception, gevent.Timeout):
                log.exception("what runs once has failed and begins again: %s", self._name)
                gevent.sleep(_AGAIN_S)
            else:
                return

    def _kill(self) -> None:
        if self._job is not None:
            log.info("runs once: ends", extra={"function": self._name})
            self._job.kill(block=False)
            self._job = None
