"""The HTTP API: for programs that have the key, to emit without a connection of their own."""

import hmac
import logging
from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge

from webfarm.errors import BadRequest, ClientError, TooLarge, Unauthorized, Unavailable
from webfarm.manager.redis_manager import RedisManager
from webfarm.monitoring.throttle import Throttled
from webfarm.socketio.external_events import create_message, get_target_room, parse_json

log = Throttled(logging.getLogger(__name__))

_FIELDS = frozenset(("event", "data", "room", "user", "all"))
_STATUS: dict[type[ClientError], int] = {Unauthorized: 401, TooLarge: 413}  # of all others: 400


def create_api(manager: RedisManager, key: str, max_bytes: int) -> Blueprint:
    """Return the HTTP API.

    Args:
        manager: what stores.
        key: what a program must show (``Authorization: Bearer``).
        max_bytes: of a request's body.
    """
    api = Blueprint("api", __name__, url_prefix="/api")

    @api.post("/emit")
    def emit() -> Response:
        """Store an event; answer with the message's id and the number of nodes that it reached."""
        _check_key(key)
        body = _read(max_bytes)
        is_all = body.get("all", False)
        if not isinstance(is_all, bool):
            raise BadRequest("all must be true.")
        room = get_target_room(room=body.get("room"), user=body.get("user"), everybody=is_all)
        event, arguments = create_message(body["event"], body["data"], body.get("room"))
        stored = manager.store(event, arguments, room=room)
        return jsonify(id=str(stored.id), nodes=stored.nodes)

    @api.errorhandler(ClientError)
    def refuse(error: ClientError) -> tuple[Response, int, dict[str, str]]:
        headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else {}
        return jsonify(error=error.to_dict()), _STATUS.get(type(error), 400), headers

    @api.errorhandler(Unavailable)
    def fail(error: Unavailable) -> tuple[Response, int]:
        message = "The message could not be stored just now; send it again."
        return jsonify(error={"code": "unavailable", "message": message}), 503

    return api


def _check_key(key: str) -> None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    is_key = hmac.compare_digest(given.strip().encode("latin-1", "replace"), key.strip().encode())
    if scheme.lower() != "bearer" or not is_key:
        log.warning("api: wrong key", extra={"address": request.remote_addr})
        raise Unauthorized("The API's key is needed: Authorization: Bearer KEY.")


def _read(max_bytes: int) -> dict[str, Any]:
    """Return the request's body. Raises ``BadRequest``, ``TooLarge``."""
    request.max_content_length = max_bytes + 1  # where no length is told, no more is read, and nothing is said
    try:
        text = request.get_data(cache=False)
    except RequestEntityTooLarge:
        text = None
    if text is None or len(text) > max_bytes:
        raise TooLarge(f"A message has at most {max_bytes} bytes.")
    body = parse_json(text)
    if not isinstance(body, dict) or not {"event", "data"} <= body.keys() <= _FIELDS:
        raise BadRequest("An object is needed, of event, data and one of room, user and all.")
    return body
