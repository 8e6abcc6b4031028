"""What a handler asks for one client: its answer, its session, its inboxes.

In place of methods of ``socketio.Server`` (5.18):

- ``call``: stock waits for its whole timeout if the client has disconnected, and keeps the callback for as long as the
  client stays.
- ``enter_room``: the room of another user is refused.
- ``save_session``: the session outlives the connection (``webfarm.manager.recovery``).
"""

from contextlib import nullcontext
from typing import Any

import gevent
import socketio
from gevent.event import AsyncResult

from webfarm.errors import Forbidden
from webfarm.socketio.core import ServerCore, has_user_rooms
from webfarm.socketio.external_events import get_user_room

_USER_ROOMS = get_user_room("")


class ClientAPI:
    """The part of a ``Server`` that serves handlers."""

    def __init__(self, server: ServerCore) -> None:
        self._server = server
        self._manager = server.manager

    def call(
        self,
        event: str,
        data: Any = None,
        to: str | None = None,
        sid: str | None = None,
        namespace: str | None = None,
        timeout: float = 60,
        ignore_queue: bool = False,
    ) -> Any:
        """Emit to a client and return its acknowledgement: ``None``, its argument, or a tuple of several.

        Raises:
            TimeoutError: (python-socketio's) it did not come within ``timeout`` seconds.
            DisconnectedError: (python-socketio's) the client, one of this worker, has disconnected.
        """
        sid, namespace = to or sid, namespace or "/"
        if sid is None:
            raise ValueError("Cannot use call() to broadcast.")
        manager = self._manager
        connection = self._server.eio.sockets.get(manager.eio_sid_from_sid(sid, namespace) or "")  # of this worker
        answer: AsyncResult[Any] = AsyncResult()

        def callback(*args: Any) -> None:
            answer.set(args)

        calls = self._server.eio.calls
        with calls.adding(connection, answer, namespace) if connection is not None else nullcontext():
            try:
                options = {"callback": callback, "ignore_queue": ignore_queue}
                self._server.emit(event, data, to=sid, namespace=namespace, **options)
                arguments: Any = answer.get(timeout=timeout)
            except gevent.Timeout:
                raise socketio.exceptions.TimeoutError from None
            finally:
                manager.forget_callback(sid, callback)
        return arguments if len(arguments) > 1 else arguments[0] if arguments else None

    def save_session(self, sid: str, session: Any, namespace: str | None = None) -> None:
        """Keep ``session`` for the client, also over a lost connection.

        Raises ``TypeError`` if JSON can't express it, ``Unavailable`` if it could not be written.
        """
        self._manager.recovery.save(sid, session)
        socketio.Server.save_session(self._server, sid, session, namespace)

    def enter_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        """Put a client into ``room``; it may be the name that the client has sent.

        Raises:
            Forbidden: ``room`` is the room of another user; ``enter_inbox`` puts the client there.
            Unavailable: Redis could not take it.
        """
        namespace = namespace or "/"
        is_users = isinstance(room, str) and room.startswith(_USER_ROOMS) and has_user_rooms(self._server, namespace)
        if is_users and room != get_user_room(self._manager.get_user(sid) or ""):
            raise Forbidden("This is another user's room.")
        socketio.Server.enter_room(self._server, sid, room, namespace)

    def enter_inbox(self, sid: str, room: str, namespace: str | None = None) -> None:
        """In a connect handler: put the client into ``room``, and send it the messages that nobody there received.

        These are the messages after the last point up to which some member is known to have received everything.
        """
        self._manager.recovery.enter_inbox(sid, namespace or "/", room)

    def is_recovered(self, sid: str) -> bool:
        """Return whether a client resumed its session: it has its rooms and its ``get_session`` again."""
        return self._manager.recovery.is_recovered(sid)

    def expire_session(self, sid: str, at: float) -> None:
        """End the client's session at ``at`` (seconds since 1970), within two seconds, even without a connection.

        The client is disconnected, and can't resume its session. Call it in the connect handler of new and of resumed
        clients: the last call counts.
        """
        self._manager.recovery.expire(sid, at)
