"""The engine: Socket.IO over several gunicorn workers, each on its own port, tied together by Redis.

It knows nothing of the chat and serves any Socket.IO app. Such an app is written as for python-socketio, with
its ``Server``, ``RedisManager`` and ``WSGIApp`` from here::

    from webfarm import RedisManager, Server, WSGIApp

    sio = Server(client_manager=RedisManager("redis://localhost:6379/0"))

    @sio.event
    def message(sid, data):
        sio.emit("message", data, room="lobby")

    app = WSGIApp(sio)

and run by gunicorn with the configuration of ``webfarm.gunicorn``, of which a file of one's own can take what it likes
(``from webfarm.gunicorn import *``)::

    PORT=4000 gunicorn -c python:webfarm.gunicorn myapp:app

Handlers run in greenlets: they may wait, for Redis, a database, or their client's acknowledgement (``sio.call``). One
client's events are handled one after the other. ``Server()`` without a manager is one process without Redis.

With a ``RedisManager`` an emit is stored before it returns (it raises ``Unavailable`` if Redis can't take it), and all
members of a room see one order. A client that comes back within ``recovery_window_s`` has its id, its rooms and its
saved session again, and gets what it missed (``Server.is_recovered``); ``identify`` says to whom a session belongs.
``Server.enter_inbox`` makes a room's messages wait for its members, ``emit(volatile=True)`` stores nothing,
``Server.expire_session`` ends a session at a time, ``select_rooms`` says where a client that is back may still be, and
``admit`` refuses events, all in the app's own terms; ``Grants`` are names that Redis remembers about users.
``RedisManager.store`` returns the message's id and stores it once under a key, ``read_history`` reads a room backwards.

What Node's adapters do on all nodes at once is in ``webfarm.socketio.all_nodes``, a line of code each; ``Emitter`` is for
processes that are no workers.

Who is where in the cluster, by the users that ``Server``'s ``get_user`` names: ``RedisManager.get_users(room)``, and
``RedisManager.directory`` for clients, rooms and nodes (a ``Directory`` of one's own reads them without a worker).
``RedisManager.watch(sid, room)`` has ``Server``'s ``on_presence`` called when a user comes into a room or goes.

Below Socket.IO there are two more layers, each usable alone: ``EngineServer``, messages over polling and websocket
(``examples/echo_engineio.py``), and ``WebSockets``, plain websockets (``examples/echo_websocket.py``), whose receivers
are called by the event loop and must not wait.

The names are imported when they are first asked for: gunicorn's master loads the worker class before
gevent has patched anything, and must load nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from webfarm.emitter import Emitter
    from webfarm.engineio.server import EngineServer
    from webfarm.errors import (
        BadRequest,
        ClientError,
        Error,
        Flooding,
        Forbidden,
        Internal,
        NoRecipient,
        NotInRoom,
        RateLimited,
        SettingsError,
        TooLarge,
        TooManyConnections,
        TooManyRooms,
        Unauthorized,
        Unavailable,
    )
    from webfarm.http.websocket import WebSockets
    from webfarm.http.wsgi import WSGIApp
    from webfarm.log.shard_log import Retention, Stored
    from webfarm.manager.local_manager import LocalManager
    from webfarm.manager.redis_manager import RedisManager
    from webfarm.monitoring.throttle import Throttled
    from webfarm.names import NAME_RULE, is_name
    from webfarm.nodes.directory import Directory
    from webfarm.nodes.grants import Grants
    from webfarm.protocol.frames import encode_frame
    from webfarm.protocol.handshake import HandshakeError
    from webfarm.protocol.packet import MESSAGE_ID, check_event
    from webfarm.rate_limits import Buckets
    from webfarm.settings import Settings
    from webfarm.socketio.external_events import get_user_room
    from webfarm.socketio.namespace import Namespace
    from webfarm.socketio.server import Server
    from webfarm.web.proxies import is_local_request
    from webfarm.wiring import Farm
    from webfarm.worker.worker import Worker

__all__ = [
    "MESSAGE_ID",
    "NAME_RULE",
    "BadRequest",
    "Buckets",
    "ClientError",
    "Directory",
    "Emitter",
    "EngineServer",
    "Error",
    "Farm",
    "Flooding",
    "Forbidden",
    "Grants",
    "HandshakeError",
    "Internal",
    "LocalManager",
    "Namespace",
    "NoRecipient",
    "NotInRoom",
    "RateLimited",
    "RedisManager",
    "Retention",
    "Server",
    "Settings",
    "SettingsError",
    "Stored",
    "Throttled",
    "TooLarge",
    "TooManyConnections",
    "TooManyRooms",
    "Unauthorized",
    "Unavailable",
    "WSGIApp",
    "WebSockets",
    "Worker",
    "check_event",
    "encode_frame",
    "get_user_room",
    "is_local_request",
    "is_name",
]

_MODULES = {
    "BadRequest": "errors",
    "Buckets": "rate_limits",
    "ClientError": "errors",
    "Directory": "nodes.directory",
    "Emitter": "emitter",
    "EngineServer": "engineio.server",
    "Error": "errors",
    "Farm": "wiring",
    "Flooding": "errors",
    "Forbidden": "errors",
    "Grants": "nodes.grants",
    "HandshakeError": "protocol.handshake",
    "Internal": "errors",
    "LocalManager": "manager.local_manager",
    "MESSAGE_ID": "protocol.packet",
    "NAME_RULE": "names",
    "Namespace": "socketio.namespace",
    "NoRecipient": "errors",
    "NotInRoom": "errors",
    "RateLimited": "errors",
    "RedisManager": "manager.redis_manager",
    "Retention": "log.shard_log",
    "Server": "socketio.server",
    "Settings": "settings",
    "SettingsError": "errors",
    "Stored": "log.shard_log",
    "Throttled": "monitoring.throttle",
    "TooLarge": "errors",
    "TooManyConnections": "errors",
    "TooManyRooms": "errors",
    "Unauthorized": "errors",
    "Unavailable": "errors",
    "WSGIApp": "http.wsgi",
    "WebSockets": "http.websocket",
    "Worker": "worker.worker",
    "check_event": "protocol.packet",
    "encode_frame": "protocol.frames",
    "get_user_room": "socketio.external_events",
    "is_local_request": "web.proxies",
    "is_name": "names",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
