"""A Socket.IO 5 client of a few lines, written from its specification, over websockets and long-polling."""

import base64
import json
import re

import pytest
import requests

from tests.kit.wire import Closed

PATH = "/socket.io/?EIO=4&transport="
PACKET = re.compile(r"4([0-6])(?:(\d+)-)?(?:(/[^,]*),?)?(\d+)?(.*)", re.S)


def parse(text):
    """Return type, number of attachments, namespace, id and data of a packet's text."""
    kind, count, namespace, number, data = PACKET.fullmatch(text).groups()
    return int(kind), int(count or 0), namespace or "/", number and int(number), json.loads(data) if data else None


class OverWebsocket:
    """A client that speaks Socket.IO over a websocket."""

    def __init__(self, server, wire):
        self.wire = wire(server.url).upgrade(PATH + "websocket")
        assert self.wire.receive()[0] == "0"

    def send(self, *messages):
        for message in messages:
            self.wire.send(message)

    def receive(self):
        return self.wire.receive()

    def is_closed(self):
        self.wire.receive_close()
        self.wire.send("")
        return True


class OverPolling:
    """A client that speaks Socket.IO over HTTP long-polling."""

    def __init__(self, server, wire):
        self.url = f"{server.url}{PATH}polling"
        self.url += "&sid=" + json.loads(requests.get(self.url, timeout=10).text[1:])["sid"]
        self._received = []

    def send(self, *messages):
        packets = [m if isinstance(m, str) else "b" + base64.b64encode(m).decode() for m in messages]
        self.status = requests.post(self.url, data="\x1e".join(packets).encode(), timeout=10).status_code

    def receive(self):
        while not self._received:
            response = requests.get(self.url, timeout=10)
            if response.status_code != 200:
                raise Closed(response.status_code)
            self._received = response.content.decode().split("\x1e")
        packet = self._received.pop(0)
        return base64.b64decode(packet[1:]) if packet[0] == "b" else packet

    def is_closed(self):
        with pytest.raises(Closed):
            while True:
                self.receive()
        return True


class Client:
    """A Socket.IO client, over one transport or the other."""

    def __init__(self, transport):
        self.transport = transport
        self.send, self.is_closed = transport.send, transport.is_closed

    def read(self):
        """Return the next packet with its attachments: type, number of attachments, namespace, id, data."""
        kind, count, namespace, number, data = parse(self.transport.receive())
        attachments = [self.transport.receive() for _ in range(count)]
        assert all(isinstance(attachment, bytes) for attachment in attachments)
        return kind, namespace, number, fill(data, attachments)

    def join(self, namespace="/", auth=None):
        """Connect to a namespace; return the sid it gave."""
        prefix = "" if namespace == "/" else namespace + ","
        self.send(f"40{prefix}" + ("" if auth is None else json.dumps(auth)))
        kind, joined, number, data = self.read()
        assert (kind, joined, number, list(data)) == (0, namespace, None, ["sid"])
        assert self.read() == (2, namespace, None, ["auth", auth or {}])
        return data["sid"]

    def echoes(self, namespace="/"):
        prefix = "" if namespace == "/" else namespace + ","
        self.send(f'42{prefix}["message","are you there"]')
        return self.read() == (2, namespace, None, ["message-back", "are you there"])


def fill(data, attachments):
    """Put the attachments where their placeholders are."""
    if isinstance(data, dict):
        if data.get("_placeholder"):
            return attachments[data["num"]]
        return {key: fill(value, attachments) for key, value in data.items()}
    return [fill(value, attachments) for value in data] if isinstance(data, list) else data
