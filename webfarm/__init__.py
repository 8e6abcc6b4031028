"""webfarm: Socket.IO over several gunicorn workers, behind HAProxy and on Redis, for any Flask or WSGI app.

``Farm`` takes an app and the settings of the environment (``REDIS_URL``, ``WEBFARM_...``), and serves both::

    from flask import Flask
    from webfarm import Farm

    app = Flask(__name__)
    farm = Farm(app)
    sio = farm.server

    @sio.event
    def vote(sid, choice):
        sio.emit("voted", choice)

``sio`` is python-socketio's ``Server``. Run the app with HAProxy and Redis by ``webfarm run poll:app``, or its workers
alone by ``gunicorn -c python:webfarm.gunicorn poll:app``. To decide about clients, give ``Farm`` a ``Namespace``.

Handlers run in greenlets: they may wait, for Redis, a database, or their client's acknowledgement (``sio.call``). One
client's events are handled one after the other. A ``ClientError`` refuses an event. After ``Unavailable`` an event is
not acknowledged, so that its client sends it again.

An emit is stored when it returns, and all members of a room receive a room's messages in one order. A client that comes
back within the recovery window has its id, its rooms and its session again, and receives the messages that it missed.

- ``farm.manager`` is a ``RedisManager``. Its ``store`` returns a message's id, and ``history.read`` reads a room
  backwards. ``get_users`` and ``watch`` show a room's users; ``directory`` lists clients, rooms and nodes.
- ``farm.run_once`` runs a function on one worker of the farm.
- ``Emitter`` stores events from another process; ``Client`` is a Python client that recovers.
- ``webfarm.flask.SocketIO`` serves apps that were written for Flask-SocketIO.
- ``Server``, ``RedisManager``, ``LocalManager`` and ``WSGIApp`` are a ``Farm``'s parts, for an app that does its own
  wiring. Below Socket.IO, ``EngineServer`` and ``WebSockets`` can be used alone.

Python imports a name when an app first asks for it. gunicorn's master loads this package before gevent patches the
standard library, and must load nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from webfarm.client import Client
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
    from webfarm.log.retention import Retention
    from webfarm.log.shard_log import Stored
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
    "Client",
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
    "Client": "client",
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
    "Retention": "log.retention",
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
    if name == "__version__":
        return import_module("importlib.metadata").version(__name__)
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
