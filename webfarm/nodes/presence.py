"""Presence: the watchers of a room are told which users come and leave.

Redis counts the clients that each user has in a room, on all nodes. It publishes on a channel of the room when a user's
first client comes, and some seconds after the last client left. Only nodes with a watcher listen.
"""

import logging
from time import monotonic
from typing import Any, Protocol

import gevent
import redis

from webfarm.errors import Unavailable
from webfarm.log.follower import Follower
from webfarm.loop.time_slices import SLICE_S, wait_a_turn
from webfarm.nodes.lease import Lease
from webfarm.redis.commands import Commands
from webfarm.redis.keys import Keys, name_room, split_name

log = logging.getLogger(__name__)

_GATHER_S = 0.1  # a user who comes and leaves within it is not announced
_ANNOUNCE_AT_ONCE = 200


class PresenceOwner(Protocol):
    """The node's part that presence tells."""

    def tell_watchers(self, namespace: str, room: str, user: str, is_online: bool, watchers: list[str]) -> None:
        """Tell the clients ``watchers``, by their sids, that a user came into a room or left it. Not in the hub."""


class Presence:
    """Knows which of this node's clients watch which room, and tells them.

    Args:
        commands: the connection to where presence is kept.
        keys: the names of the keys there.
        lease: says whether what Redis has can be trusted yet.
        follower: hears what is published.
        owner: the node's part that is told.
    """

    def __init__(self, commands: Commands, keys: Keys, lease: Lease, follower: Follower, owner: PresenceOwner) -> None:
        self._commands = commands
        self._keys = keys
        self._lease = lease
        self._follower = follower
        self._owner = owner
        self._watchers: dict[str, dict[str, None]] = {}  # sids by channel
        self._changes: dict[tuple[str, str], bool] = {}  # of a channel's user
        self._timer: Any = None
        self._is_announcing = False

    def watch(self, sid: str, namespace: str, room: str) -> None:
        """Tell a client of this node, from now on, who comes into ``room`` and leaves it. Raises ``Unavailable``."""
        channel = self._get_channel(namespace, room)
        watchers = self._watchers.setdefault(channel, {})
        if not watchers:
            self._follower.subscription.add(channel)
        watchers[sid] = None
        try:
            self._follower.wait_until_following(channel)
        except Unavailable:
            self.unwatch(sid, namespace, room)
            raise

    def unwatch(self, sid: str, namespace: str, room: str) -> None:
        """Tell a client no more of a room."""
        channel = self._get_channel(namespace, room)
        watchers = self._watchers.get(channel, {})
        watchers.pop(sid, None)
        if not watchers and self._watchers.pop(channel, None) is not None:
            self._follower.subscription.remove(channel)

    def on_change(self, channel: str, data: bytes) -> None:
        """A user came or left. The watchers are told in a moment, together with later changes."""
        kind, _, name = data.partition(b" ")
        user, is_online = name.decode(errors="replace"), kind == b"1"
        if self._changes.get((channel, user)) == (not is_online):
            del self._changes[channel, user]
        else:
            self._changes[channel, user] = is_online
        if self._timer is None:
            self._timer = gevent.spawn_later(_GATHER_S, self._tell_all)

    def _tell_all(self) -> None:
        changes, self._changes, self._timer = self._changes, {}, None
        slice_ends = monotonic() + SLICE_S
        for (channel, user), is_online in changes.items():
            namespace, room = split_name(channel.removeprefix(self._keys.present))
            watchers = list(self._watchers.get(channel, ()))
            if watchers and room is not None:
                try:
                    self._owner.tell_watchers(namespace, room, user, is_online, watchers)
                except Exception:
                    log.exception("watchers of %s could not be told", room)
            if monotonic() > slice_ends:
                slice_ends = wait_a_turn()

    def _get_channel(self, namespace: str, room: str) -> str:
        return self._keys.present + name_room(namespace, room)

    def on_beat(self) -> None:
        """Announce the users who left, for all nodes. After an outage of Redis all nodes first write their clients."""
        if self._lease.may_judge and not self._is_announcing:
            self._is_announcing = True
            self._announce()

    def _announce(self) -> None:
        keys = self._keys
        self._commands.ask_script(
            "nodes/announce", [keys.leaving], [_ANNOUNCE_AT_ONCE, keys.present], self._on_announced
        )

    def _on_announced(self, count: Any) -> None:
        if count == _ANNOUNCE_AT_ONCE and self._lease.may_judge:
            self._announce()
            return
        self._is_announcing = False
        if isinstance(count, redis.RedisError):
            log.debug("nobody was announced: %s", count)
