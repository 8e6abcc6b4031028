"""A Socket.IO app on a ``RedisManager`` whose handlers use all of its emits: for ``test_log.py``."""

import os
from typing import Any

import gevent
import gevent.event

from webfarm import RedisManager, Retention, Server, WSGIApp
from webfarm.settings import Settings

settings = Settings.from_env(os.environ)
manager = RedisManager(
    settings.redis_url,
    prefix=settings.prefix,
    recovery_window_s=settings.recovery_window_s,
    history=Retention(length=settings.history_length),
    shards=settings.shards,
)


def select_rooms(sid: str, environ: dict[str, Any], rooms: list[str]) -> list[str]:
    reach_gate(sid, "select")
    sio.save_session(sid, sio.get_session(sid))
    return rooms


own = {"always_connect": True, "has_user_rooms": True} if os.environ.get("ALWAYS_CONNECT") else {}
sio = Server(manager, namespaces=["/", "/other"], select_rooms=select_rooms, **own, **settings.engine_options)
app = WSGIApp(sio)


gates: dict[str, gevent.event.Event] = {}  # by the sid that is to wait there, and where
reached: set[str] = set()


def reach_gate(sid: str, place: str) -> None:
    """Wait, if somebody has said so, until somebody says that it is enough."""
    gate = gates.get(f"{sid} {place}")
    if gate is not None:
        reached.add(f"{sid} {place}")
        gate.wait()


@sio.event
def close_gate(sid: str, gate: str) -> str:
    gates[gate] = gevent.event.Event()
    return "done"


@sio.event
def open_gate(sid: str, gate: str) -> str:
    gates.pop(gate).set()
    return "done"


@sio.event
def is_reached(sid: str, gate: str) -> bool:
    return gate in reached


@sio.event
def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
    if sio.is_recovered(sid):
        reach_gate(sid, "connect")
        sio.save_session(sid, sio.get_session(sid))
    sio.emit("welcome", sid, to=sid)
    sio.enter_room(sid, "all")
    sio.emit("arrived", sid, room="all")


@sio.on("connect", namespace="/other")
def connect_elsewhere(sid: str, environ: dict[str, Any], auth: Any) -> None:
    sio.enter_room(sid, "all", namespace="/other")


@sio.event
def emit(sid: str, event: str, data: Any, options: dict[str, Any]) -> str:
    sio.emit(event, tuple(data) if isinstance(data, list) else data, **options)
    return "done"


@sio.event
def enter(sid: str, other: str, room: str) -> list[str]:
    """Put ``other`` into ``room`` and emit there at once."""
    sio.enter_room(other, room)
    sio.emit("entered", room, room=room)
    return sio.rooms(other)


@sio.event
def leave(sid: str, other: str, room: str) -> str:
    sio.leave_room(other, room)
    sio.emit("left", room, room=room)
    return "done"


@sio.event
def close(sid: str, room: str) -> str:
    sio.close_room(room)
    return "done"


@sio.event
def ask(sid: str, other: str, question: str) -> Any:
    sio.emit("before", question, to=other)
    return sio.call("question", question, to=other, timeout=5)


@sio.event
def kick(sid: str, other: str) -> str:
    sio.emit("before", "the end", to=other)
    sio.disconnect(other)
    return "done"


@sio.event
def load_late(sid: str) -> Any:
    reach_gate(sid, "load")
    return sio.get_session(sid)


@sio.event
def save(sid: str, data: Any) -> str:
    sio.save_session(sid, data)
    return "done"


@sio.event
def load(sid: str) -> Any:
    return sio.get_session(sid)


@sio.event
def save_what_is_no_json(sid: str) -> str:
    try:
        sio.save_session(sid, {"handle": object()})
    except TypeError:
        return "refused"
    return "done"
