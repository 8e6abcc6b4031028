"""An Engine.IO app whose handlers do what a client tells them: for ``test_transport.py``."""

import json
import os
from typing import Any
from urllib.parse import parse_qs

import gevent

from webfarm import EngineServer, WSGIApp
from webfarm.settings import Settings

eio = EngineServer(**Settings.from_env(os.environ).engine_options)
ended: dict[str, str] = {}
calls = 0


def report(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer with the sessions there are, why the others ended, and how many messages came."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"open": list(eio.sockets), "ended": ended, "calls": calls}).encode()]


app = WSGIApp(eio, report, path="/engine.io/")


@eio.on("connect")
def connect(sid: str, environ: dict[str, Any]) -> bool | None:
    for deed in parse_qs(environ["QUERY_STRING"]).get("do", []):
        if deed == "send":
            eio.send(sid, "hello")
        elif deed == "wait":
            gevent.sleep(0.1)
        elif deed == "disconnect":
            eio.disconnect(sid)
        elif deed == "refuse":
            return False
    return None


@eio.on("message")
def message(sid: str, data: str) -> None:
    """Fail, disconnect the client, or send ``<count>`` texts of ``<size>`` euro signs."""
    global calls
    calls += 1
    if data == "fail":
        raise ZeroDivisionError
    if data == "leave":
        eio.disconnect(sid)
        return
    count, size = map(int, data.split())
    for _ in range(count):
        eio.send(sid, "€" * size)


@eio.on("disconnect")
def disconnect(sid: str, reason: str) -> None:
    ended[sid] = reason
