"""Private rooms: whom their members have let in."""

from webfarm import Grants, RedisManager

#: What the names of rooms begin with that need an invitation, or a token that names them.
PRIVATE = "private:"


class PrivateRooms:
    """Who may join which private room, beside those whose token names it. All of it raises ``Unavailable``.

    Args:
        manager: says who is where, and what is stored.
        ttl_s: for how long somebody is let in, from the last time on.
    """

    def __init__(self, manager: RedisManager, ttl_s: float) -> None:
        self._manager = manager
        self._notes = Grants(manager.shards, ttl_s)

    def invite(self, room: str, user: str) -> None:
        """Let ``user`` in."""
        self._notes.add(user, _name_invitation(room))

    def is_invited(self, room: str, user: str) -> bool:
        """Return whether ``user`` is let in; if so, the time begins anew."""
        return self._notes.renew(user, _name_invitation(room))

    def open(self, room: str, user: str) -> bool:
        """Let ``user`` in if nobody is in there, nothing is stored, and nobody else came first within the time."""
        if self._manager.get_users(room, most=1) or self._manager.has_history(room):
            return False
        is_first = self._notes.claim(f"opened:{room}", user)
        if is_first:
            self.invite(room, user)
        return is_first


def _name_invitation(room: str) -> str:
    return f"invitation:{room}"
