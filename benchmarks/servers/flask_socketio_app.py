"""Flask-SocketIO with a message queue in Redis, its own decorators, no logging; run with ``stock_gunicorn.py``."""

import os
from typing import Any

from flask import Flask
from flask_socketio import SocketIO, emit, join_room

from benchmarks.servers.handlers import COMMON, OK

app = Flask(__name__)
socketio = SocketIO(app, async_mode="gevent", message_queue=os.environ["REDIS_URL"], logger=False)


@socketio.on("connect")
def connect() -> None:
    join_room(COMMON)


@socketio.on("message")
def message(data: Any) -> dict[str, bool]:
    emit("message", data, to=COMMON)
    return OK


@socketio.on("privateMessage")
def private_message(data: Any) -> dict[str, bool]:
    emit("privateMessage", data, to=data["to"])
    return OK


@socketio.on("echo")
@socketio.on("sink")
def answer(data: Any) -> dict[str, bool]:
    return OK
