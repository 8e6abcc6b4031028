"""Clients of tests on the wire: Socket.IO over a websocket by hand, each event as it is there."""

import contextlib
import json
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

#: What a client goes over, as the JavaScript client's option ``transports`` has it.
TRANSPORTS = {"websocket": ["websocket"], "polling": ["polling"], "upgrade": ["polling", "websocket"]}

SECRET = "s" * 64


class Client:
    """Socket.IO on a websocket, by hand: each event as it is on the wire."""

    def __init__(self, url, user=None, **auth):
        query = f"&userId={user}" if user else ""
        self.stack = contextlib.ExitStack()
        self.address = address = url.replace("http", "ws") + f"/socket.io/?EIO=4&transport=websocket{query}"
        self.socket = self.stack.enter_context(connect(address))
        self.events, self.acks, self.number = [], {}, 0
        assert str(self.socket.recv(10)).startswith("0")
        self.socket.send("40" + json.dumps(auth) if auth else "40")
        self.answer = None
        self.wait(lambda: self.answer)
        self.sid, self.pid = self.answer["sid"], self.answer.get("pid")

    def wait(self, condition, timeout_s=10):
        while not condition():
            self.read(timeout_s)

    def read(self, timeout_s=10):
        self.take(self.socket.recv(timeout_s))

    def take(self, text):
        if text == "2":
            with contextlib.suppress(ConnectionClosed):  # what came before is still to be read
                self.socket.send("3")
        elif text.startswith("40{"):
            self.answer = json.loads(text[2:])
        elif text.startswith("42"):
            self.events.append(json.loads(text[2:]))
        elif match := re.match(r"43(\d+)(.*)", text):
            self.acks[int(match[1])] = json.loads(match[2])
        elif text.startswith("41"):
            self.events.append(["disconnect"])

    def call(self, event, *args):
        self.number += 1
        number = self.number
        self.socket.send(f"42{number}" + json.dumps([event, *args]))
        self.wait(lambda: number in self.acks)
        answer = self.acks[number]
        return answer[0] if answer else None

    def get(self, count, event="message"):
        self.wait(lambda: sum(e[0] == event for e in self.events) >= count)
        return [args for name, *args in self.events if name == event]

    def cut(self):
        """End the TCP connection without a word."""
        self.socket.socket.shutdown(2)
        self.socket.socket.close()


def get_refusals(url):
    """Return how many sessions a worker did not resume, by reason."""
    text = requests.get(f"{url}/metrics", timeout=5).text
    return {reason: float(n) for reason, n in re.findall(r'sessions_not_resumed_total{reason="(\w+)"} (\S+)', text)}


def name():
    """Return a new name; of this length a user's inbox is in another shard than the sessions."""
    return uuid.uuid4().hex[:11]


def get_server(connection):
    """Return the name of the worker that a connection's Engine.IO sid gives."""
    return connection["engine"].partition(".")[0]


class AnsweringClient(Client):
    """Answers questions as well."""

    def take(self, text):
        if isinstance(text, bytes):
            self.events[-1].append(text)
        elif match := re.match(r"42(\d+)(.*)", text):
            self.events.append(json.loads(match[2]))
            self.socket.send(f"43{match[1]}" + json.dumps([self.events[-1][1] + "!"]))
        elif text.startswith("451-"):
            self.events.append(json.loads(text[4:]))
        else:
            super().take(text)

    def names(self):
        return [event[0] for event in self.events]


@contextlib.contextmanager
def opening(kind: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yield what opens clients of a kind, each with a ``stack`` that is closed at the end."""
    with contextlib.ExitStack() as opened:

        def open_client(*args: Any, **kwargs: Any) -> Any:
            client = kind(*args, **kwargs)
            opened.callback(_close, client)
            return client

        yield open_client


def _close(client: Any) -> None:
    with contextlib.suppress(OSError):  # its connection was cut
        client.stack.close()
