"""Stock python-socketio: gevent, ``socketio.RedisManager``, one process on one port."""

import os
from typing import Any
from urllib.parse import parse_qs

import socketio

OK = {"ok": True}

manager = socketio.RedisManager(os.environ["REDIS_URL"])
sio: Any = socketio.Server(async_mode="gevent", client_manager=manager)


@sio.event
def connect(sid: str, environ: dict[str, Any]) -> None:
    [user] = parse_qs(environ["QUERY_STRING"])["userId"]
    for room in ("common", f"user:{user}"):
        sio.enter_room(sid, room)


@sio.event
def join(sid: str, data: Any) -> dict[str, bool]:
    sio.enter_room(sid, data["room"])
    return OK


@sio.event
def leave(sid: str, data: Any) -> dict[str, bool]:
    sio.leave_room(sid, data["room"])
    return OK


@sio.event
def message(sid: str, data: Any) -> dict[str, bool]:
    sio.emit("message", data, room=data["room"])
    return OK


@sio.on("privateMessage")
def private_message(sid: str, data: Any) -> dict[str, bool]:
    sio.emit("privateMessage", data, room=f"user:{data['toUser']}")
    return OK


def respond(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """HAProxy asks here whether it is ready."""
    start_response("200 OK", [])
    return []


app = socketio.WSGIApp(sio, respond)
