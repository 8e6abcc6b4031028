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
_END_S = 0.5  # that the function has to end before another node may start it
_STOP_S = 1.0  # that a node which stops waits for the function's end
_AGAIN_S = 1.0  # after the function has failed


class RunOnce:
    """Runs ``function`` in a greenlet while this node holds the lease ``name``.

    If the node crashes, another node starts the function within a lease (6 s). If this node can't renew the lease, it
    kills the greenlet half a second before another node may start the function. A function that raises an error is
    logged and starts again after a second. A function that returns is done for as long as its node lives.

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
        self._held_until = 0.0  # when the function must end, unless the lease is renewed
        self._job: gevent.Greenlet[..., Any] | None = None
        self._killed: gevent.Greenlet[..., Any] | None = None  # the last job that did not end by itself
        self._watcher: gevent.Greenlet[..., Any] | None = None
        self._is_stopped = False

    def start(self, node: str) -> None:
        """Try to get the lease from now on; ``node`` is unique to this process."""
        self._node = node
        self._watcher = gevent.spawn(self._watch)

    def stop(self) -> None:
        """Kill the function's greenlet, wait for its end and give the lease up: another node then starts the function.

        A function that goes on for more than a second keeps the lease until the lease ends by itself.
        """
        self._is_stopped = True
        if self._watcher is None:
            return
        self._kill()
        if self._job is not None and not self._job.ready():
            self._job.join(_STOP_S)
        if self._job is None or self._job.ready():
            self._hold(0, _ANSWER_S)
        else:
            log.warning("%s has not ended; its lease ends within %g s", self._name, _HELD_S)

    def _watch(self) -> None:
        while not self._is_stopped:
            asked_at = monotonic()
            left_s = self._held_until - asked_at
            is_held = self._hold(_HELD_S, min(_ANSWER_S, left_s) if left_s > 0 else _ANSWER_S)
            if is_held and not self._is_stopped:
                self._held_until = asked_at + _HELD_S - _END_S
                self._begin()
            elif is_held is False or monotonic() >= self._held_until:
                self._held_until = 0.0
                self._kill()
            pause_s = _RENEW_S if is_held else _TRY_S
            gevent.sleep(min(pause_s, self._held_until - monotonic()) if self._held_until else pause_s)

    def _hold(self, lease_s: float, answer_s: float) -> bool | None:
        """Return whether this node has the lease now; ``None``: Redis has not answered within ``answer_s``."""
        try:
            with gevent.Timeout(answer_s):
                return bool(self._commands.run("nodes/hold", [self._key], [self._node, int(lease_s * 1000)]))
        except (redis.RedisError, gevent.Timeout) as error:
            log.debug("the lease of %s was not renewed: %s", self._name, error)
            return None

    def _begin(self) -> None:
        """Start the function, unless it runs, has returned, or has not ended yet after it was killed."""
        if self._job is None or (self._job is self._killed and self._job.ready()):
            log.info("runs once: begins", extra={"function": self._name})
            self._job = gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            try:
                self._function()
            except (Exception, gevent.Timeout):
                log.exception("what runs once has failed and begins again: %s", self._name)
                if gevent.getcurrent() is self._killed:
                    return
                gevent.sleep(_AGAIN_S)
            else:
                return

    def _kill(self) -> None:
        if self._job is not None and self._job is not self._killed and not self._job.ready():
            log.info("runs once: ends", extra={"function": self._name})
            self._killed = self._job
            self._job.kill(block=False)
