"""An app of somebody's own, with types: every public name of ``webfarm`` in use, for ``mypy --strict``."""

import os
from typing import Any

from webfarm import (
    MESSAGE_ID,
    Directory,
    Emitter,
    EngineServer,
    Grants,
    HandshakeError,
    LocalManager,
    RedisManager,
    Retention,
    Server,
    Stored,
    Throttled,
    WebSockets,
    Worker,
    WSGIApp,
    check_event,
    encode_frame,
)
from webfarm.errors import BadRequest
from webfarm.socketio.all_nodes import Clients

manager = RedisManager(os.environ["REDIS_URL"], history=Retention(100, 10_000, 3600.0))
sio = Server(manager, get_user=lambda sid: names.get(sid), max_connections_per_user=3)
app = WSGIApp(sio)
names: dict[str, str] = {}
notes = Grants(manager.shards, ttl_s=60.0)


@sio.event
def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
    if not sio.is_recovered(sid):
        sio.enter_inbox(sid, "mine")


@sio.on("say")
def say(sid: str, text: str) -> str:
    if not text or "lobby" not in sio.rooms(sid):
        raise BadRequest("Say something, in the lobby.")
    stored: Stored = manager.store("said", (text, MESSAGE_ID), room="lobby", once=text, known_s=60.0)
    sio.emit("typing", to="lobby", skip_sid=sid, volatile=True)
    return str(stored.id)


def get_readers() -> list[Any]:
    """Return who is in the lobby, by two ways."""
    found: Clients = sio.fetch_clients("lobby", timeout=1.0)
    directory: Directory = manager.directory
    return [*found.clients, *directory.iterate_clients(room="lobby")]


class Echo:
    """One plain websocket."""

    def __init__(self, websockets: WebSockets, environ: dict[str, Any]) -> None:
        try:
            self.websocket = websockets.accept(environ, self)
        except HandshakeError as error:
            raise SystemExit(error.status) from None

    def on_message(self, data: str | bytes) -> None:
        self.websocket.send(encode_frame(data))

    def on_close(self, reason: str) -> None:
        raise NotImplementedError


def run_alone() -> tuple[Server, EngineServer]:
    eio = EngineServer(max_outbox_bytes=1000)

    @eio.on("message")
    def echo(sid: str, data: str | bytes) -> None:
        eio.send(sid, data)

    return Server(LocalManager()), eio


def store_outside(url: str, event: str, data: Any) -> int:
    check_event(event, data)
    return Emitter(url).store(event, data, room="lobby").id


def get_name(worker: Worker, log: Throttled) -> str:
    log.info("asked for the name")
    return worker.node
