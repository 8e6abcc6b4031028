"""Engine.IO on a websocket, by hand."""

import contextlib
import json
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


class RawClient:
    """A websocket that speaks Engine.IO by hand, for what no proper client would send."""

    def __init__(self, url: str, join: bool, query: str) -> None:
        self._stack = contextlib.ExitStack()
        self._socket = self._stack.enter_context(
            connect(url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket" + query)
        )
        self.handshake = json.loads(str(self._socket.recv(10))[1:])
        if join:
            self.send("40")
            assert str(self._socket.recv(10)).startswith("40")

    def send(self, data: str | bytes) -> None:
        with contextlib.suppress(ConnectionClosed):  # the server may have had enough before
            self._socket.send(data)

    def receive(self) -> str:
        """Return the next frame."""
        return str(self._socket.recv(10))

    def wait_for(self, text: str) -> None:
        """Receive until a frame holds ``text``."""
        while text not in str(self._socket.recv(10)):
            pass

    def receive_until_closed(self, timeout_s: float = 10.0) -> bool:
        """Answer pings until the server closes the connection; return whether it did."""
        deadline = time.monotonic() + timeout_s
        with contextlib.suppress(ConnectionClosed):
            while time.monotonic() < deadline:
                with contextlib.suppress(TimeoutError):
                    if self._socket.recv(0.5) == "2":
                        self.send("3")
            return False
        return True

    def close(self) -> None:
        self._stack.close()
