"""What the log says of clients: one line when they come, go or are refused, with fields by name (``extra``).

No field has a secret: neither a token nor a session's ``pid``.
"""

import contextlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from webfarm.socketio.server import Server

log = logging.getLogger("webfarm.clients")


def log_connect(server: "Server", eio_sid: str, namespace: str, sid: str, reason: str) -> None:
    """A client has joined ``namespace``; ``reason`` says why it did not get the session that it has shown."""
    if log.isEnabledFor(logging.INFO):
        fields = describe(server, eio_sid, namespace, sid)
        fields["transport"] = server.transport(sid, namespace)
        fields["recovered"] = server.is_recovered(sid)
        if reason:
            fields["reason"] = reason
        log.info("connect", extra=fields)


def log_disconnect(server: "Server", eio_sid: str, namespace: str, sid: str, reason: str) -> None:
    """A client has left ``namespace``."""
    if log.isEnabledFor(logging.INFO):
        log.info("disconnect", extra=describe(server, eio_sid, namespace, sid) | {"reason": reason})


def describe(server: "Server", eio_sid: str, namespace: str, sid: str) -> dict[str, Any]:
    """Return who a client is, as fields of a line."""
    fields: dict[str, Any] = {"sid": sid}
    with contextlib.suppress(Exception):  # an app may have forgotten a client that has gone; its handlers are to run
        if user := server.get_user(sid, namespace):
            fields["user"] = user
    fields["address"] = server.environ.get_text(eio_sid, "REMOTE_ADDR")
    fields["connection"] = eio_sid
    if namespace != "/":
        fields["namespace"] = namespace
    return fields
