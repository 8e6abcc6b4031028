"""A client for a test: ``webfarm.Client``, which here keeps the events that it receives.

Overridden of ``webfarm.Client``: ``_handle_connect`` counts connections; ``_handle_event`` keeps and answers events.
"""

import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import socketio
from socketio.exceptions import ConnectionError as Refused

from webfarm.client import Client as RecoveringClient
from webfarm.testing.processes import wait_until


class Client(RecoveringClient):
    """A client in one namespace, connected when this returns. A lost connection comes back by itself.

    Args:
        url: of a worker or of HAProxy.
        namespace: which it joins.
        auth: what a connect handler is given.
        query: of the URL: ``{"userId": "7"}``.
        headers: of its requests.
        transports: ``("polling",)`` for long-polling.
        path: where the server is.

    Raises:
        socketio.exceptions.ConnectionError: it was refused; its argument is ``{"message", "data"}``.
    """

    def __init__(
        self,
        url: str,
        namespace: str = "/",
        *,
        auth: dict[str, Any] | None = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        transports: tuple[str, ...] = ("websocket",),
        path: str = "socket.io",
    ) -> None:
        super().__init__(reconnection_delay=0.1, reconnection_delay_max=0.5, randomization_factor=0)
        #: What answers an event that asks for an acknowledgement.
        self.answers: dict[str, Callable[..., Any]] = {}
        self.connections = 0  #: how often it was connected
        self._namespace = namespace
        self._auth = auth or {}
        self._received: list[tuple[str, list[Any]]] = []
        self._refusal: Any = None
        self.on("connect_error", self._on_refused, namespace=namespace)
        url += f"?{urlencode(query)}" if query else ""
        options = {"headers": headers or {}, "transports": list(transports), "socketio_path": path}
        try:
            self.connect(url, namespaces=[namespace], auth=self._auth, wait_timeout=10, **options)
        except Refused as error:
            raise Refused(self._refusal or str(error)) from None

    @property
    def is_recovered(self) -> bool:
        """Whether it resumed its session when it connected last."""
        return self.has_recovered(self._namespace)

    @property
    def id(self) -> str:
        """Its ``sid``, once it is connected."""
        self.wait_until_connected()
        sid: str = self.namespaces[self._namespace]
        return sid

    def wait_until_connected(self) -> None:
        """Wait until it is connected, or connected again."""
        wait_until(lambda: self.connected and self._namespace in self.namespaces, "the client's connection")

    def send_event(self, event: str, *args: Any) -> None:
        """Send an event that is not to be acknowledged."""
        self.wait_until_connected()
        self.emit(event, args, namespace=self._namespace)

    def ask(self, event: str, *args: Any, timeout_s: float = 10.0) -> Any:
        """Send an event; return its acknowledgement: ``None``, its argument, or a tuple of several.

        Raises ``socketio.exceptions.TimeoutError`` if there is none within ``timeout_s``.
        """
        self.wait_until_connected()
        return self.call(event, args, namespace=self._namespace, timeout=timeout_s)

    def get(self, event: str) -> list[list[Any]]:
        """Return what has come under ``event`` so far, each the list of its arguments."""
        return [arguments for name, arguments in list(self._received) if name == event]

    def wait_for(self, event: str, count: int = 1, timeout_s: float = 20.0) -> list[list[Any]]:
        """Wait until ``event`` has come ``count`` times; return what ``get`` does."""
        wait_until(lambda: len(self.get(event)) >= count, f"{count} x {event}", timeout_s)
        return self.get(event)

    def cut(self) -> None:
        """End its websocket as a network does that is gone; it comes back by itself."""
        before = self.connections
        self.eio.ws.sock.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not self.connected or self.connections > before, "the end of the connection")

    def _on_refused(self, data: Any) -> None:
        self._refusal = data

    def _handle_connect(self, namespace: str | None, data: Any) -> None:
        self.connections += 1
        super()._handle_connect(namespace, data)

    def _handle_event(self, namespace: str | None, id: int | None, data: list[Any]) -> None:
        self._take_offset(namespace, id, data)
        event, *arguments = data
        self._received.append((event, arguments))
        if id is not None and event in self.answers:
            answer = self.answers[event](*arguments)
            values = list(answer) if isinstance(answer, tuple) else [answer]
            kind = socketio.packet.ACK
            self._send_packet(self.packet_class(kind, namespace=namespace or "/", id=id, data=values))
