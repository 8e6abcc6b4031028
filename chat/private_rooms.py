"""Private rooms: the users whom their members have invited."""

from webfarm import Grants, RedisManager

#: The beginning of a private room's name: to join, a user needs an invitation or a token that names the room.
PRIVATE = "private:"


class PrivateRooms:
    """The invitations, beside the rooms that tokens name. All methods raise ``Unavailable``.

    Args:
        manager: knows a room's users and messages.
        ttl_s: how long an invitation holds after its last use, in seconds.
    """

    def __init__(self, manager: RedisManager, ttl_s: float) -> None:
        self._manager = manager
        self._grants = Grants(manager.shards, ttl_s)

    def invite(self, room: str, user: str) -> None:
        """Invite ``user``."""
        self._grants.add(user, _name_invitation(room))

    def is_invited(self, room: str, user: str) -> bool:
        """Return whether ``user`` is invited; if so, the invitation's time begins again."""
        return self._grants.renew(user, _name_invitation(room))

    def open(self, room: str, user: str) -> bool:
        """Invite ``user`` to an empty room without messages, unless another user has opened it within the time."""
        if self._manager.get_users(room, most=1) or self._manager.history.has(room):
            return False
        is_first = self._grants.claim(f"opened:{room}", user)
        if is_first:
            self.invite(room, user)
        return is_first


def _name_invitation(room: str) -> str:
    return f"invitation:{room}"
