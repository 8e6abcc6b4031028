"""The nodes: which worker processes live.

A node holds a *lease*, a key that it renews. A node whose lease has ended is dead, or was stalled for so long that
others may have taken over its clients. The first node that sees it takes away the entries of the dead node.
"""

import logging
import math
from time import monotonic, time
from typing import Any, Protocol

import gevent
import orjson
import redis

from webfarm.defaults import GRACE_S, LEASE_S
from webfarm.loop.repeating import Repeating
from webfarm.redis.commands import Commands
from webfarm.redis.keys import Keys

log = logging.getLogger(__name__)

#: How often a node renews its lease, in seconds.
RENEW_S = 2.0

_PROMPT_S = 1.0  # an answer that takes longer may have come after leases had ended that could not be renewed
_BURY_AT_ONCE = 500
_STOP_S = 1.0


class LeaseOwner(Protocol):
    """The node's part that a lease tells."""

    def describe_node(self) -> dict[str, Any]:
        """Return what others may know of this node."""

    def on_return(self) -> None:
        """The lease has ended, and there is no new one yet: take note of what others have done. May raise."""


class Lease:
    """This node's lease, and its eye on those of others.

    Args:
        commands: the connection to where leases are kept.
        keys: the names of the keys there.
        owner: the node's part that is told.
    """

    def __init__(self, commands: Commands, keys: Keys, owner: LeaseOwner) -> None:
        self._commands = commands
        self._keys = keys
        self._owner = owner
        self.node = ""
        self._since = 0
        self._written = b""  # the description
        self._answers_since = math.inf  # when Redis began to answer at once
        expected = (redis.RedisError,)
        self._renewing = Repeating(self._run, None, log=log, failed="lease not renewed", expected=expected)
        self._is_given_up = False

    def hold(self, node: str) -> None:
        """Hold the lease of ``node`` from now on."""
        self.node = node
        self._since = int(time() * 1000)
        self._renewing.start()

    @property
    def may_judge(self) -> bool:
        """Whether a lease that is not there has ended: Redis has answered for as long as one lasts."""
        return monotonic() - self._answers_since >= LEASE_S

    def renew_soon(self) -> None:
        """Renew it now: Redis may not have answered for a while."""
        self._renewing.run_soon()

    def stop(self) -> None:
        """Give it up."""
        self._is_given_up = True
        self._renewing.stop()
        with gevent.Timeout(_STOP_S, False):  # type: ignore[arg-type]
            try:
                self._commands.execute("DEL", self._keys.leases + self.node)
                self._bury(self.node)
            except redis.RedisError as error:
                log.debug("lease not given up: %s", error)

    def _run(self) -> None:
        asked_at = monotonic()
        try:
            self._renew()
            if monotonic() - asked_at > _PROMPT_S:
                self._answers_since = math.inf
            else:
                self._answers_since = min(self._answers_since, asked_at)
            if self.may_judge:
                self._bury_the_dead()
        except redis.RedisError:
            self._answers_since = math.inf
            raise

    def _renew(self) -> None:
        key = self._keys.leases + self.node
        description = orjson.dumps({**self._owner.describe_node(), "since": self._since})
        if self._commands.execute("PEXPIRE", key, LEASE_S * 1000):  # which a full Redis takes, too
            if description != self._written and not self._is_given_up:
                try:
                    self._enlist(key, description)
                except redis.ResponseError as error:
                    log.debug("the node's description was not written again: %s", error)
        elif not self._is_given_up:
            had_begun = bool(self._written)
            if had_begun:
                self._answers_since = math.inf  # as ours has ended, others' may have for no better reason
                self._owner.on_return()
            self._enlist(key, description)

    def _enlist(self, key: str, description: bytes) -> None:
        self._commands.run("nodes/enlist", [key, self._keys.nodes], [self.node, description, LEASE_S * 1000])
        self._written = description

    def _bury_the_dead(self) -> None:
        keys = self._keys
        names: list[bytes] = self._commands.execute("SMEMBERS", keys.nodes)
        nodes = [name.decode() for name in names]
        leases = self._commands.execute("MGET", *(keys.leases + node for node in nodes)) if nodes else ()
        for node, lease in zip(nodes, leases, strict=True):
            if lease is None:
                log.info("a node is dead: its lease has ended", extra={"dead": node})
                self._bury(node)

    def _bury(self, node: str) -> None:
        """Take away what a node without a lease has left behind; somebody else may do so at the same time."""
        keys = self._keys
        arguments = [node, int(GRACE_S * 1_000_000), _BURY_AT_ONCE, keys.members_of(node), keys.present]
        while self._commands.run("nodes/bury", [*keys.of_node(node), keys.leaving, keys.nodes], arguments):
            pass
