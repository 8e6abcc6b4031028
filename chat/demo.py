"""The demo's page: it shows when a message went through this worker, and can kill the worker."""

import hmac
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import gevent
from flask import Blueprint, Response, abort, make_response, render_template, request

from chat.events import ChatNamespace
from chat.pages import add_security_headers
from webfarm import BadRequest, Farm, Stored, is_local_request

log = logging.getLogger(__name__)

_NOTED_S = 120.0  # after the last question
_MOST = 1000  # messages
_ANSWER_S = 0.05  # for an answer to leave


class Demo:
    """Tells when a message went through this worker.

    Nothing is noted before a client asks, nor once nobody has asked for a while.

    Args:
        farm: of this worker.
        has_cluster_of_run: whether ``webfarm run`` started the workers, so that the primaries may be shown.
    """

    def __init__(self, farm: Farm, *, has_cluster_of_run: bool) -> None:
        self._server, self._manager = farm.server, farm.manager
        self._has_cluster_of_run = has_cluster_of_run
        self._notes: dict[str, dict[str, Any]] = {}
        self._asked_at = 0.0

    def attach(self, chat: ChatNamespace) -> None:
        """Answer the event ``trace``, and be told of each message that the chat stores."""
        self._server.on("trace", self.on_trace, namespace=chat.namespace)
        chat.observer = self

    def on_trace(self, sid: str, data: Any = None, *more: Any) -> dict[str, Any]:
        """Tell this worker's clock, ``now``, and the times of the message ``id``, in microseconds since 1970.

        ``handled``: its handler began; ``acknowledged``: Redis had it; ``delivered``: this worker delivered it.
        A message's id is Redis' own clock when the message was stored. ``shard`` is the part of the log that has it.
        """
        if not isinstance(data, dict) or more:
            raise BadRequest("An object is needed; it may have the id of a message.")
        self._asked_at = time.monotonic()
        self._manager.delivery.on_delivery = self._on_delivery
        return {"ok": True, "now": _read_clock(), **self._notes.get(str(data.get("id")), {})}

    def on_stored(self, stored: Stored, room: str, handled_at_ns: int) -> None:
        """Note when a message was handled and acknowledged."""
        if self._manager.delivery.on_delivery is not None:
            times = {"handled": handled_at_ns // 1000, "acknowledged": _read_clock()}
            self._note(stored.id, **times, **self._describe_shard(room))

    def _on_delivery(self, id: int) -> None:
        if time.monotonic() - self._asked_at > _NOTED_S:
            self._manager.delivery.on_delivery = None
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
    """Return the demo's page, and the route by which the page kills this worker.

    Args:
        run_key: the key that ``webfarm run`` gave its workers; without it nothing is killed. Only a browser on this
            machine gets it.
        has_connection: whether this worker has a connection with an Engine.IO sid.
    """
    demo = Blueprint("demo", __name__)
    demo.after_request(add_security_headers)

    @demo.get("/demo")
    def page() -> Response:
        shown_key = run_key if run_key and is_local_request(request.environ) else ""
        response = make_response(render_template("demo.html", run_key=shown_key))
        response.headers["Cache-Control"] = "no-store"
        return response

    if run_key is None:
        return demo

    @demo.post("/demo/kill")
    def kill() -> tuple[str, int]:
        """Kill the worker that has the connection ``sid``: HAProxy brings the request there."""
        if not is_local_request(request.environ) or request.headers.get("Origin") != request.host_url.rstrip("/"):
            abort(403)
        if not hmac.compare_digest(request.headers.get("X-Run-Key", "").encode(), run_key.encode()):
            abort(403)
        if not has_connection(request.args.get("sid", "")):
            abort(404)
        log.warning("kill -9 of this worker, as the demo's page asks")
        gevent.spawn_later(_ANSWER_S, os.kill, os.getpid(), signal.SIGKILL)
        return "", 202

    return demo


def _read_clock() -> int:
    return time.time_ns() // 1000
