"""A Socket.IO app whose handlers do what reaches all nodes: for ``test_operations.py``."""

import os
from typing import Any
from urllib.parse import parse_qs

import gevent

from webfarm import RedisManager, Server, WSGIApp
from webfarm.settings import Settings

settings = Settings.from_env(os.environ)
manager = RedisManager(
    settings.redis_url,
    prefix=settings.prefix,
    recovery_window_s=settings.recovery_window_s,
    shards=settings.shards,
)
sio = Server(
    manager,
    identify=lambda environ, auth: parse_qs(environ["QUERY_STRING"]).get("userId", [None])[0],
    get_user=lambda sid: manager.get_owner(sid),
    **settings.engine_options,
)
app = WSGIApp(sio)
heard: list[Any] = []


@sio.event
def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
    if manager.get_owner(sid) and not sio.is_recovered(sid):
        sio.enter_room(sid, f"user {manager.get_owner(sid)}")


@sio.event
def enter(sid: str, room: str) -> list[str]:
    sio.enter_room(sid, room)
    return sio.rooms(sid)


@sio.event
def rooms(sid: str) -> list[str]:
    return sio.rooms(sid)


@sio.event
def emit(sid: str, event: str, room: str) -> str:
    sio.emit(event, room, room=room)
    return "done"


@sio.event
def disconnect_one(sid: str, other: str) -> str:
    sio.disconnect(other)
    return "done"


@sio.event
def disconnect_all(sid: str, room: str) -> int:
    return sio.disconnect_all(room)


@sio.event
def enter_all(sid: str, members_of: str, room: str) -> int:
    entered = sio.enter_all(members_of, room)
    sio.emit("entered", room, room=room)
    return entered


@sio.event
def leave_all(sid: str, members_of: str, room: str) -> int:
    left = sio.leave_all(members_of, room)
    sio.emit("left", room, room=room)
    return left


@sio.event
def fetch(sid: str, room: str | None, timeout: float) -> dict[str, Any]:
    return sio.fetch_clients(room, timeout=timeout)._asdict()


@sio.event
def call_all(sid: str, event: str, data: Any, room: str | None, timeout: float) -> dict[str, Any]:
    found = sio.call_all(event, tuple(data) if isinstance(data, list) else data, room=room, timeout=timeout)
    return {**found._asdict(), "is_complete": found.is_complete}


@sio.event
def server_emit(sid: str, event: str, *args: Any) -> int:
    return sio.server_emit(event, *args)


@sio.event
def server_call(sid: str, event: str, *args: Any) -> dict[str, Any]:
    return sio.server_call(event, *args, timeout=1.0)._asdict()


@sio.event
def get_heard(sid: str) -> list[Any]:
    return heard


@sio.event
def get_node(sid: str) -> str:
    return manager.node


@sio.event
def count_callbacks(sid: str) -> int:
    return sum(map(len, manager.callbacks.values()))


@sio.on_server_event("note")
def note(*args: Any) -> list[Any]:
    heard.append(list(args))
    return [manager.node, *args]


@sio.on_server_event("wait")
def wait(seconds: float) -> None:
    gevent.sleep(seconds)


@sio.on_server_event("size")
def size(data: bytes) -> bytes:
    return data * 2
