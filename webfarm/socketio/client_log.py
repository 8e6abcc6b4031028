"""The log lines of clients: one when a client joins a namespace or leaves it, with fields by name (``extra``).

No field has a secret: neither a token nor a session's ``pid``. Refused clients: ``webfarm.monitoring.refusals``.
"""

import contextlib
import logging
from typing import Any

from webfarm.socketio.core import ServerCore

log = logging.getLogger("webfarm.clients")


def log_connect(server: ServerCore, eio_sid: str, namespace: str, sid: str, reason: str) -> None:
    """A client has joined ``namespace``; ``reason`` says why it could not resume the session that it has shown."""
    if log.isEnabledFor(logging.INFO):
        fields = describe(server, eio_sid, namespace, sid)
        fields["transport"] = server.transport(sid, namespace)
        fields["recovered"] = server.manager.recovery.is_recovered(sid)
        if reason:
            fields["reason"] = reason
        log.info("connect", extra=fields)


def log_disconnect(server: ServerCore, eio_sid: str, namespace: str, sid: str, reason: str) -> None:
    """A client has left ``namespace``."""
    if log.isEnabledFor(logging.INFO):
        log.info("disconnect", extra=describe(server, eio_sid, namespace, sid) | {"reason": reason})


def describe(server: ServerCore, eio_sid: str, namespace: str, sid: str) -> dict[str, Any]:
    """Return a client's fields of a log line."""
    fields: dict[str, Any] = {"sid": sid}
    with contextlib.suppress(Exception):  # an app may have forgotten the client; its handlers are to run
        if user := server.get_user(sid, namespace):
            fields["user"] = user
    fields["address"] = server.environ.get_text(eio_sid, "REMOTE_ADDR")
    fields["connection"] = eio_sid
    if namespace != "/":
        fields["namespace"] = namespace
    return fields
