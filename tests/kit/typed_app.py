"""An app of somebody's own, with types: every public name of ``webfarm`` in use, for ``mypy --strict``."""

import os
from typing import Any

from flask import Flask

from webfarm import (
    MESSAGE_ID,
    NAME_RULE,
    BadRequest,
    Buckets,
    Client,
    ClientError,
    Directory,
    Emitter,
    EngineServer,
    Error,
    Farm,
    Flooding,
    Forbidden,
    Grants,
    HandshakeError,
    Internal,
    LocalManager,
    Namespace,
    NoRecipient,
    NotInRoom,
    RateLimited,
    RedisManager,
    Retention,
    Server,
    Settings,
    SettingsError,
    Stored,
    Throttled,
    TooLarge,
    TooManyConnections,
    TooManyRooms,
    Unauthorized,
    Unavailable,
    WebSockets,
    Worker,
    WSGIApp,
    check_event,
    encode_frame,
    get_user_room,
    is_local_request,
    is_name,
)
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


class Poll(Namespace):
    """Votes, each user a few a second."""

    votes = Buckets(5.0, 0.0)

    def identify(self, environ: dict[str, Any], auth: Any) -> Any:
        if not is_local_request(environ) and not is_name(auth):
            raise Unauthorized(f"A name of {NAME_RULE} is needed.")
        return super().identify(environ, auth)

    def on_vote(self, sid: str, choice: str) -> dict[str, bool]:
        user = self.get_user(sid) or ""
        if not self.votes.take(user, 0):
            raise RateLimited("Vote more slowly.")
        self.server.emit("voted", choice, to=get_user_room(user))
        return {"ok": True}


def create_farm() -> Farm:
    try:
        return Farm(Flask(__name__), Settings.from_env(os.environ), Poll)
    except SettingsError as error:
        raise SystemExit(str(error)) from None


def describe(error: Error) -> str:
    if isinstance(error, Unavailable | Flooding):
        return "wait"
    if isinstance(error, ClientError):
        return error.code
    known = (Forbidden, Internal, NoRecipient, NotInRoom, TooLarge, TooManyConnections, TooManyRooms)
    return ", ".join(one.code for one in known)


def connect_client(url: str) -> bool:
    client = Client()
    client.connect(url, transports=["websocket"])
    return client.has_recovered()
