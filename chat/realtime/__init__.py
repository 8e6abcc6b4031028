"""The engine: Socket.IO over several gunicorn workers, each on its own port, tied together by Redis.

It knows nothing of the chat and serves any Socket.IO app::

    from chat.realtime import RedisManager, Server, WSGIApp

    sio = Server(client_manager=RedisManager("redis://localhost:6379/0"))

    @sio.event
    def message(sid, data):
        sio.emit("message", data, room="lobby")

    app = WSGIApp(sio)

run by gunicorn with ``worker_class = "chat.realtime.Worker"`` and the hooks of ``gunicorn.conf.py``.

The names are imported when they are first asked for: gunicorn's master loads the worker class before
gevent has patched anything, and must load nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chat.realtime.manager import RedisManager
    from chat.realtime.server import Server, WSGIApp
    from chat.realtime.worker import Worker

__all__ = ["RedisManager", "Server", "WSGIApp", "Worker"]

_MODULES = {
    "RedisManager": "manager",
    "Server": "server",
    "WSGIApp": "server",
    "Worker": "worker",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
