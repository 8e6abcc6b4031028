"""A Socket.IO client in Python that recovers: python-socketio's, which resumes its session as JavaScript's does.

::

    client = Client()
    client.on("message", print)
    client.connect("http://localhost:3000?userId=7", transports=["websocket"])

A lost connection comes back by itself, with the same id, and the client then receives all events that it missed.

Overridden of ``socketio.Client`` (5.18), and why:

- ``_engineio_client_class``: messages are read in order. (Upstream reads each in a thread of its own.)
- ``_handle_eio_connect``: the client shows its session.
- ``_handle_connect``, ``_handle_event``, ``_handle_disconnect``: they take the session and its offset from the wire
  (https://socket.io/docs/v4/connection-state-recovery). Handlers still run in threads of their own.
- ``_handle_ack``, ``_handle_error``: so do the handlers that these call.
- ``disconnect``: it ends the session.
"""

from typing import Any

import engineio
import socketio
from socketio import packet


class _EngineClient(engineio.Client):
    """python-engineio's client, which hands over its messages one after the other."""

    def _trigger_event(self, event: str, *args: Any, **kwargs: Any) -> Any:
        if event == "message":
            kwargs["run_async"] = False
        return super()._trigger_event(event, *args, **kwargs)


class Client(socketio.Client):
    """python-socketio's ``Client`` with its arguments, which resumes its sessions after a lost connection.

    Where the server refuses a session, the client has a new one: ``has_recovered`` is then ``False``.
    The client's own dependencies come with the extra ``client``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sessions: dict[str, dict[str, str]] = {}  # by namespace: the pid, and the offset once there is one
        self._recovered: set[str] = set()

    def has_recovered(self, namespace: str = "/") -> bool:
        """Return whether the client resumed its session in ``namespace`` when it connected last."""
        return namespace in self._recovered

    def disconnect(self) -> None:
        """Disconnect from the server: the sessions end there, and the next connection begins new ones."""
        for namespace in self.namespaces:
            self._sessions.pop(namespace, None)
        super().disconnect()

    def _engineio_client_class(self) -> type[_EngineClient]:
        return _EngineClient

    def _handle_eio_connect(self) -> None:
        self.sid = self.eio.sid
        auth = self._get_real_value(self.connection_auth) or {}
        for namespace in self.connection_namespaces:
            data = auth | self._sessions.get(namespace, {}) if isinstance(auth, dict) else auth
            self._send_packet(self.packet_class(packet.CONNECT, data=data, namespace=namespace))

    def _handle_connect(self, namespace: str | None, data: Any) -> None:
        namespace = namespace or "/"
        pid, before = (data or {}).get("pid"), self._sessions.get(namespace, {})
        if pid is not None and pid == before.get("pid"):
            self._recovered.add(namespace)
        else:
            self._recovered.discard(namespace)
            self._sessions[namespace] = {"pid": pid} if pid is not None else {}  # a server may have no recovery
        self.start_background_task(super()._handle_connect, namespace, data)

    def _handle_event(self, namespace: str | None, id: int | None, data: list[Any]) -> None:
        self._take_offset(namespace, id, data)
        self.start_background_task(super()._handle_event, namespace, id, data)

    def _take_offset(self, namespace: str | None, id: int | None, data: list[Any]) -> None:
        """Take the offset out of an event, if it has one: the last argument of an event that asks for no answer."""
        session = self._sessions.get(namespace or "/")
        if id is None and session and len(data) > 1 and isinstance(data[-1], str):
            session["offset"] = data.pop()

    def _handle_disconnect(self, namespace: str | None) -> None:
        self._sessions.pop(namespace or "/", None)
        self.start_background_task(super()._handle_disconnect, namespace)

    def _handle_ack(self, namespace: str | None, id: int, data: list[Any]) -> None:
        self.start_background_task(super()._handle_ack, namespace, id, data)

    def _handle_error(self, namespace: str | None, data: Any) -> None:
        self.start_background_task(super()._handle_error, namespace, data)
