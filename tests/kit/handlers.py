"""A Socket.IO app whose handlers do what a handler should not, or need not: for ``test_server.py``."""

import os
from collections import Counter
from typing import Any

import gevent
from prometheus_client import REGISTRY

from webfarm import Server, WSGIApp
from webfarm.errors import Forbidden, Unavailable
from webfarm.settings import Settings

settings = Settings.from_env(os.environ)
sio = Server(
    get_user=lambda sid: users.get(sid),
    connect_timeout_s=settings.connect_timeout_s,
    namespaces="*",
    **settings.engine_options,
)
app = WSGIApp(sio)

users: dict[str, str] = {}
gates: dict[str, gevent.event.Event] = {}
calls: Counter[str] = Counter()
started: list[Any] = []


def get_gate(name: str) -> gevent.event.Event:
    return gates.setdefault(name, gevent.event.Event())


@sio.event
def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
    environ["test.auth"] = auth
    environ["test.complete"] = environ.get("wsgi.version") == (1, 0) and environ["wsgi.input"].read() == b""
    users[sid] = f"user-{len(users)}"
    calls["connect"] += 1
    sio.emit("early", "from the connect handler", to=sid)
    if auth and "gate" in auth:
        get_gate(auth["gate"]).wait()
    if auth and "refuse" in auth:
        raise ConnectionRefusedError
    if auth and "forbid" in auth:
        raise Forbidden("Not you.")
    if auth and "fail" in auth:
        raise ZeroDivisionError


@sio.event
def disconnect(sid: str, reason: str) -> None:
    calls["disconnect"] += 1
    calls["disconnect without Redis"] += not sio.manager.is_ready
    started.append(f"end of {sid}")
    calls[reason] += 1


@sio.event
def ask(sid: str, question: Any) -> Any:
    return sio.call("question", question, to=sid, timeout=10)


@sio.event
def wait(sid: str, gate: str) -> str:
    started.append(f"before {gate}")
    get_gate(gate).wait()
    started.append(f"through {gate}")
    return gate


@sio.on("open")
def open_gate(sid: str, gate: str) -> None:
    get_gate(gate).set()


@sio.event
def note(sid: str, value: Any) -> Any:
    started.append(value)
    return value


@sio.event
def noted(sid: str) -> list[Any]:
    return [value for value in started if not isinstance(value, bytes)]


@sio.event
def fail(sid: str, kind: str) -> None:
    raise {"fault": ZeroDivisionError("as it was told"), "away": Unavailable("away"), "refuse": Forbidden("No.")}[kind]


@sio.event
def flood(sid: str, room: str, size: int, count: int) -> None:
    """Emit as fast as ``sid`` acknowledges."""
    for number in range(count):
        sio.emit("drop", "x" * size, room=room)
        if number % 10 == 9:
            sio.call("ready?", to=sid)


@sio.event
def enter(sid: str, room: str) -> list[str]:
    sio.enter_room(sid, room)
    return sio.rooms(sid)


@sio.event
def environ(sid: str) -> dict[str, Any]:
    kept = sio.get_environ(sid) or {}
    kept["test.count"] = kept.get("test.count", 0) + 1
    return {key: value for key, value in kept.items() if isinstance(value, str | int | dict)}


@sio.event
def state(sid: str) -> dict[str, int]:
    """How much is kept of all clients."""
    return {
        "environs": len(sio.environ),
        "connections": len(sio.eio.sockets),
        "clients": len(list(sio.manager.get_participants("/", None))),
        "connects": calls["connect"],
        "disconnects": calls["disconnect"],
        "disconnects_without_redis": calls["disconnect without Redis"],
        "slow": calls["slow client"],
        "slow_counted": int(
            REGISTRY.get_sample_value("webfarm_connections_closed_total", {"reason": "slow client"}) or 0
        ),
        "open_websockets": len(sio.eio.websockets.open),
    }


@sio.event
def fail_late(sid: str, kind: str) -> Any:
    """Fail as no ``Exception`` does, or with an answer that can't be written."""
    if kind == "answer":
        return {1, 2}
    if kind == "timeout":
        raise gevent.Timeout
    raise SystemExit


@sio.event
def kick(sid: str, namespace: str) -> None:
    sio.disconnect(sid, namespace=namespace)


@sio.event
def kick_other(sid: str, other: str) -> None:
    sio.disconnect(other)


@sio.event
def pretend_that_redis_is_away(sid: str, seconds: float) -> None:
    manager = type(sio.manager)
    manager.is_ready = False
    manager.wait_until_ready = lambda self, timeout_s: gevent.sleep(timeout_s)  # type: ignore[method-assign]

    def end() -> None:
        manager.is_ready = True

    gevent.spawn_later(seconds, end)


def fail_to_disconnect(sid: str, reason: str) -> None:
    raise ZeroDivisionError


sio.on("disconnect", fail_to_disconnect, namespace="/fails")
sio.on("note", note, namespace="/fails")
sio.on("kick", kick, namespace="/fails")


@sio.on("connect", namespace="/slow")
def connect_slowly(sid: str, environ: dict[str, Any], auth: Any) -> None:
    get_gate(auth["gate"]).wait()
