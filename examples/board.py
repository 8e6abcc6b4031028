"""A board of squares that many paint at once: an app on ``webfarm`` alone, with its page (``board.html``).

The strokes are the log of one room; the app keeps nothing else. A new client is sent the strokes of that log. A client
that comes back after a lost connection gets the strokes that it missed.
"""

import os
from pathlib import Path
from typing import Any

from flask import Flask, Response, send_file

from webfarm import MESSAGE_ID, RedisManager, Server, WSGIApp
from webfarm.errors import BadRequest

SQUARES, COLOURS = 256, ("white", "black", "crimson", "gold", "seagreen", "royalblue")
BOARD = "board"  # the room
HERE = Path(__file__).parent

manager = RedisManager(os.environ["REDIS_URL"], prefix=os.environ.get("WEBFARM_PREFIX", "board"))
sio = Server(manager)
flask_app = Flask(__name__, static_folder=HERE.parent / "node_modules/socket.io-client/dist", static_url_path="/client")
app = WSGIApp(sio, flask_app)


@flask_app.get("/")
def page() -> Response:
    return send_file(HERE / "board.html")


@sio.event
def watch(sid: str) -> list[list[Any]]:
    """Send the client all strokes from now on; return the earlier ones, oldest first.

    A stroke that is painted meanwhile may come twice, and before the answer: the client goes by the strokes' ids.
    """
    sio.enter_room(sid, BOARD)
    strokes = manager.history.read(BOARD, most=10_000, most_bytes=900_000)
    return [[square, colour, str(id)] for id, (_, square, colour, *_) in strokes]


@sio.event
def paint(sid: str, square: Any, colour: Any) -> str:
    """Paint a square, for all; return the stroke's id."""
    if type(square) is not int or not 0 <= square < SQUARES or colour not in COLOURS:
        raise BadRequest(f"Paint a square (0 to {SQUARES - 1}) with one of {', '.join(COLOURS)}.")
    return str(manager.store("painted", (square, colour, MESSAGE_ID), room=BOARD).id)
