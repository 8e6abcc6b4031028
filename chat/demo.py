"""What the demo's page needs beside the chat: when a message went through this worker, and a way to kill it."""

import hmac
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import gevent
from flask import Blueprint, Response, abort, make_response, render_template, request

from chat.events import ChatNamespace
from webfarm import RedisManager, Stored
from webfarm.errors import BadRequest
from webfarm.settings import Settings
from webfarm.web.proxies import ADDRESSES, is_loopback

log = logging.getLogger(__name__)

_NOTED_S = 120.0  # since somebody asked last
_MOST = 1000  # messages
_ANSWER_S = 0.05  # for an answer to leave


class DemoNamespace(ChatNamespace):
    """The chat, which also tells when a message went through this worker.

    Nothing is noted before somebody asks, and nothing any more once nobody has asked for a while.
    """

    def __init__(self, settings: Settings, manager: RedisManager) -> None:
        super().__init__(settings, manager)
        self._has_cluster_of_run = settings.run_key is not None
        self._notes: dict[str, dict[str, Any]] = {}
        self._asked_at = 0.0

    def on_trace(self, sid: str, data: Any) -> dict[str, Any]:
        """Tell this worker's clock, ``now``, and what it knows of the message ``id``, in microseconds since 1970.

        ``handled``: its handler began; ``acknowledged``: Redis had it; ``delivered``: it came back and was handed out.
        The id of a message is Redis' own clock when it was stored. ``shard`` is the part of the log that it is in.
        """
        if not isinstance(data, dict):
            raise BadRequest("An object is needed; it may have the id of a message.")
        self._asked_at = time.monotonic()
        self._manager.on_delivery = self._on_delivery
        return {"ok": True, "now": _read_clock(), **self._notes.get(str(data.get("id")), {})}

    def _store(self, event: str, sid: str, data: Any, room: str, **options: Any) -> Stored:
        handled = _read_clock()
        stored = super()._store(event, sid, data, room, **options)
        if self._manager.on_delivery is not None:
            self._note(stored.id, handled=handled, acknowledged=_read_clock(), **self._describe_shard(room))
        return stored

    def _on_delivery(self, id: int) -> None:
        if time.monotonic() - self._asked_at > _NOTED_S:
            self._manager.on_delivery = None
            self._notes.clear()
        else:
            self._note(id, delivered=_read_clock())

    def _note(self, id: int, **times: Any) -> None:
        self._notes.setdefault(str(id), {}).update(times)
        if len(self._notes) > _MOST:
            del self._notes[next(iter(self._notes))]

    def _describe_shard(self, room: str) -> dict[str, Any]:
        number, primary = self._manager.locate(room)
        described: dict[str, Any] = {"shard": number, "shards": len(self._manager.shards)}
        return described | ({"primary": primary} if primary and self._has_cluster_of_run else {})


def create_demo(run_key: str | None, has_connection: Callable[[str], bool]) -> Blueprint:
    """Return the demo's page, and what kills this worker if it asks for that.

    Args:
        run_key: what ``webfarm run`` gave its workers; without it nothing is killed. A browser on this machine gets it.
        has_connection: whether this worker has a connection with an Engine.IO sid.
    """
    demo = Blueprint("demo", __name__)

    @demo.get("/demo")
    def page() -> Response:
        response = make_response(render_template("demo.html", run_key=run_key if run_key and _is_from_here() else ""))
        response.headers["Cache-Control"] = "no-store"
        return response

    if run_key is None:
        return demo

    @demo.post("/demo/kill")
    def kill() -> tuple[str, int]:
        """Kill the worker that has the connection ``sid``: HAProxy brings the request there."""
        if not _is_from_here() or request.headers.get("Origin") != request.host_url.rstrip("/"):
            abort(403)
        if not hmac.compare_digest(request.headers.get("X-Run-Key", "").encode(), run_key.encode()):
            abort(403)
        if not has_connection(request.args.get("sid", "")):
            abort(404)
        log.warning("kill -9 of this worker, as the demo's page asks")
        gevent.spawn_later(_ANSWER_S, os.kill, os.getpid(), signal.SIGKILL)
        return "", 202

    return demo


def _is_from_here() -> bool:
    """Whether the browser is on this machine, and calls it so: a site's name may be made to lead here."""
    try:
        host = urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        return False
    return (host == "localhost" or is_loopback(host)) and all(map(is_loopback, request.environ[ADDRESSES].split(",")))


def _read_clock() -> int:
    return time.time_ns() // 1000
