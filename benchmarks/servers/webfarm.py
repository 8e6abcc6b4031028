"""The server under test: an app on ``webfarm`` alone, run with the project's ``gunicorn.conf.py``."""

import os
from typing import Any

from benchmarks.servers.handlers import register
from webfarm import RedisManager, Server, WSGIApp
from webfarm.settings import Settings


def say_whether_ready(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer whatever is asked, as the chat does ``/readyz``."""
    reason = sio.get_unready_reason()
    start_response("503 Service Unavailable" if reason else "200 OK", [("Content-Type", "text/plain")])
    return [(reason or "ready").encode()]


settings = Settings.from_env(os.environ)
sio = Server(RedisManager(settings.redis_url, shards=settings.shards, wait_replicas=settings.wait_replicas))
register(sio)
app = WSGIApp(sio, say_whether_ready)
