"""Room changes: a client enters or leaves a room, here, in its session, and on whichever node it is."""

from typing import Protocol

from webfarm.manager.recovery import Recovery
from webfarm.manager.rooms import Rooms, check_room
from webfarm.manager.shards import Shards
from webfarm.nodes.peers import Peers
from webfarm.sessions.session import Taken


class RoomOwner(Protocol):
    """The manager, as its room changes see it."""

    clients: Rooms
    shards: Shards
    recovery: Recovery
    peers: Peers


class RoomChanges:
    """Changes the rooms of clients.

    Args:
        owner: the manager.
    """

    def __init__(self, owner: RoomOwner) -> None:
        self._owner = owner

    def enter(self, sid: str, namespace: str, room: str) -> None:
        """Put a client into a room: a later emit to the room reaches it. Raises ``Unavailable``, ``ValueError``."""
        check_room(room)
        clients, recovery = self._owner.clients, self._owner.recovery
        if not clients.is_sid_room(namespace, sid):
            self._ask_owner("enter", sid, namespace, room)
            return
        eio_sid, session = clients.eio_sid_from_sid(sid, namespace), recovery.get(sid)
        if clients.is_in_room(sid, namespace, room) and (session is None or room in session.floors):
            return
        clients.enter(sid, namespace, room)
        shard = self._owner.shards.get_of_room(namespace, room)
        stream = shard.keys.stream(namespace, room)
        try:
            shard.follower.wait_until_following(stream)
            if session is not None and session.is_written:
                shard.follower.begin_at(stream, recovery.get_store(sid).join(session, room, shard.log))
            elif session is not None:
                session.floors.setdefault(room, session.began[shard.number])
        except Taken as error:
            recovery.evict(error.session)
        except BaseException:
            if clients.eio_sid_from_sid(sid, namespace) == eio_sid:
                clients.leave(sid, namespace, room)
            raise

    def leave(self, sid: str, namespace: str, room: str) -> None:
        """Take a client out of a room. Raises ``Unavailable``."""
        clients, recovery = self._owner.clients, self._owner.recovery
        if not clients.is_sid_room(namespace, sid):
            self._ask_owner("leave", sid, namespace, room)
            return
        if room == sid:
            return  # a client is in its own room as long as it lives
        clients.leave(sid, namespace, room)
        session = recovery.get(sid)
        if session is not None and session.is_written:
            try:
                recovery.get_store(sid).leave(session, room)
            except Taken as error:
                recovery.evict(error.session)
        elif session is not None:
            session.floors.pop(room, None)

    def _ask_owner(self, change: str, sid: str, namespace: str, room: str) -> None:
        """Have the client's node change its rooms, if there is such a client."""
        if self._owner.shards.get(sid).sessions.exists(sid):
            self._owner.peers.ask_owner(change, {"namespace": namespace, "members_of": sid, "room": room})
