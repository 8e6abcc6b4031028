"""``webfarm kick`` and ``webfarm erase``: a user's sessions, and what is stored of a user or of a room."""

from webfarm.emitter import open_emitter
from webfarm.errors import BadRequest
from webfarm.settings import Settings
from webfarm.socketio.external_events import get_target_room, get_user_room


def kick(settings: Settings, user: str) -> tuple[int, int, int]:
    """Disconnect a user's clients, in all namespaces and on every node; end the sessions of unconnected ones, too.

    Returns:
        The number of clients disconnected, of sessions ended, and of nodes told.
    """
    get_target_room(user=user)  # refuses a bad name
    with open_emitter(settings) as emitter:
        ended, nodes = emitter.disconnect_user(user)
    return ended.connected, ended.away, nodes


def erase(settings: Settings, *, user: str | None, room: str | None) -> int:
    """Delete the messages of a user's inbox, or of a room; return their number. The user is kicked.

    Raises:
        BadRequest: exactly one of ``user`` and ``room`` is needed.
    """
    if (room is None) == (user is None):
        raise BadRequest("Exactly one of --user and --room is needed.")
    target = get_target_room(room=room, user=user)
    with open_emitter(settings) as emitter:
        if user is None:
            return emitter.erase(target)
        emitter.disconnect_user(user)
        return sum(emitter.erase_user(user, get_user_room(user), one) for one in emitter.get_namespaces())
