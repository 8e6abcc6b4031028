"""The server under test: an app on ``chat.realtime`` alone, run with the project's ``gunicorn.conf.py``."""

import os

from benchmarks.servers.handlers import register
from chat.realtime import RedisManager, Server, WSGIApp

sio = Server(RedisManager(os.environ["REDIS_URL"]))
register(sio)
app = WSGIApp(sio)
