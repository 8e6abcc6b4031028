"""A client over polling in the test's own process: it calls the server as a WSGI application, without a socket."""

import io
import json

import gevent
from socketio.packet import Packet as StockPacket

from webfarm.protocol.payload import decode_payload

_TIMEOUT_S = 5.0


def settle():
    """Let all greenlets that can run do so."""
    gevent.sleep(0.01)


class PollingClient:
    """One connection to a ``Server``; it opens at once.

    Args:
        server: the server.
        query: of the handshake, without Engine.IO's own.
        environ: more of each request's WSGI environment.
    """

    def __init__(self, server, query="", **environ):
        self._server, self._query, self._environ = server, f"EIO=4&transport=polling&{query}", environ
        self.status = ""
        self.received = []  # Socket.IO packets as texts, and attachments
        handshake, *_ = self.request("GET")
        self.sid = json.loads(handshake[1:])["sid"]
        self._query += f"&sid={self.sid}"

    @property
    def is_open(self):
        return self.sid in self._server.eio.sockets and not self._server.eio.sockets[self.sid].closed

    def request(self, method, body=b""):
        """Return the packets of the answer to a request."""

        def start_response(status, headers):
            self.status = status

        environ = {
            "REQUEST_METHOD": method,
            "QUERY_STRING": self._query,
            "PATH_INFO": "/socket.io/",
            "REMOTE_ADDR": "192.0.2.1",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
        }
        with gevent.Timeout(_TIMEOUT_S):
            answer = b"".join(self._server.handle_request(environ | self._environ, start_response))
        return list(decode_payload(answer)) if method == "GET" else []

    def send(self, *packets):
        """Send Socket.IO packets, given as texts."""
        self.request("POST", "\x1e".join(f"4{packet}" for packet in packets).encode())

    def emit(self, event, *arguments, id=""):
        self.send(f"2{id}{json.dumps([event, *arguments])}")

    def receive(self):
        """Return the next Socket.IO packet as a text, an Engine.IO packet that is no message with its type."""
        while not self.received:
            packets = self.request("GET")
            assert self.status == "200 OK", packets
            self.received += [packet[1:] if packet[0] == "4" else f"engine {packet}" for packet in packets]
        return self.received.pop(0)

    def connect(self, namespace="/", auth=None):
        """Join a namespace; return the answer's data: ``{"sid"}``, or the refusal's ``{"message", "data"}``."""
        head = "" if namespace == "/" else f"{namespace},"
        self.send(f"0{head}{json.dumps(auth) if auth is not None else ''}")
        return StockPacket(encoded_packet=self.receive()).data

    def close(self):
        """Close the connection as a client does."""
        self.request("POST", b"1")

    def call(self, event, *arguments):
        """Return the acknowledgement of an event, a list."""
        self.emit(event, *arguments, id=1)
        text = self.receive()
        assert text.startswith("31"), text
        return json.loads(text[2:])
