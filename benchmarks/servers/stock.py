"""Stock python-socketio: gevent, ``socketio.RedisManager``, no logging; run with ``stock_gunicorn.py``."""

import os

import socketio

from benchmarks.servers.handlers import register

manager = socketio.RedisManager(os.environ["REDIS_URL"], logger=False)
sio = socketio.Server(async_mode="gevent", client_manager=manager, logger=False, engineio_logger=False)
register(sio)
app = socketio.WSGIApp(sio)
