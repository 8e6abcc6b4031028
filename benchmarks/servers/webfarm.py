"""The server under test: an app on ``chat.realtime`` alone, run with the project's ``gunicorn.conf.py``."""

import os

from benchmarks.servers.handlers import register
from chat.realtime import RedisManager, Server, WSGIApp
from chat.settings import Settings

settings = Settings.from_env(os.environ)
sio = Server(RedisManager(settings.redis_url, shards=settings.shards, wait_replicas=settings.wait_replicas))
register(sio)
app = WSGIApp(sio)
