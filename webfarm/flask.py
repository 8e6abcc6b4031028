"""Flask-SocketIO on webfarm's engine, for apps that were written for Flask-SocketIO.

Such an app imports from here the names that it imported from ``flask_socketio`` (installed by the extra ``flask``)::

    from webfarm.flask import SocketIO, emit, join_room

    socketio = SocketIO(app, message_queue="redis://localhost:6379/0")

Its decorators, ``request``, ``session`` and class-based namespaces are Flask-SocketIO's own; the server, the manager
and the WSGI application are the engine's. ``SocketIO`` takes the same settings from the environment as ``Farm``, and
serves the same pages; arguments win over settings. It uses Redis if ``message_queue`` or ``REDIS_URL`` is given. Its
channel is Flask-SocketIO's, unless ``channel`` or ``WEBFARM_PREFIX`` gives another; a ``SocketIO`` without an app emits
on the same one. It also takes ``client_manager=RedisManager(...)`` and the arguments of ``webfarm.Server``. One of
these is ``has_user_rooms=True``: then each client is in its user's room. ``socketio.server`` is the ``Server``.

Overridden of ``flask_socketio.SocketIO`` (5.7), and why:

- ``init_app``: it makes python-socketio's own server.
- ``_handle_event``: ``session`` outlives a lost connection and its worker. The engine answers refusals, and events that
  Redis could not take; ``on_error`` does not see them.
- ``run``, ``test_client``: they only know python-socketio's own server.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import flask_socketio
from flask import Flask
from flask.json.tag import TaggedJSONSerializer
from flask_socketio import (
    ConnectionRefusedError,
    Namespace,
    call,
    close_room,
    disconnect,
    emit,
    join_room,
    leave_room,
    rooms,
    send,
)

from webfarm.defaults import PREFIX
from webfarm.errors import ClientError, Unavailable
from webfarm.redis.keys import get_stock_channel
from webfarm.redis.url import get_database, get_default_shards, get_default_wait_replicas
from webfarm.settings import Settings
from webfarm.socketio.handling import Handling
from webfarm.socketio.server import Server
from webfarm.socketio.signatures import fit
from webfarm.wiring import create_manager, get_server_options, wrap

__all__ = [
    "ConnectionRefusedError",
    "Namespace",
    "SocketIO",
    "call",
    "close_room",
    "disconnect",
    "emit",
    "join_room",
    "leave_room",
    "rooms",
    "send",
]

_CHANNEL = "flask-socketio"  # Flask-SocketIO's own default
_MANAGED = "saved_session"  # the environment's key of a client's session in Flask-SocketIO
_KEPT = "flask.session"  # the key of that session in the server's saved session
_OWN = {"async_mode": (None, "gevent"), "serializer": (None, "default"), "json": (None,)}

_serializer = TaggedJSONSerializer()  # of Flask's own sessions


class SocketIO(flask_socketio.SocketIO):
    """Flask-SocketIO's ``SocketIO``, whose server is the engine's."""

    server: "FlaskServer"
    manage_session: bool

    def init_app(self, app: Flask | None, **kwargs: Any) -> None:
        """Put the Socket.IO server in front of ``app``; without an app, only emit, best effort.

        Raises ``ValueError`` for an option that the engine does not have.
        """
        options = {**self.server_options, **kwargs}
        if app is None:
            self._init_emitting(options)
            return
        self.manage_session = options.pop("manage_session", self.manage_session)
        settings = options.pop("settings", None) or Settings.from_env(os.environ)
        url, channel = options.pop("message_queue", None), options.pop("channel", None)
        if "client_manager" not in options and (url or "redis_url" in settings.given):
            options["client_manager"] = create_manager(settings, **_describe_manager(settings, url, channel))
        own = {"has_user_rooms": False, **options}  # ``rooms()`` would list them
        options = get_server_options(settings, **own)
        path = [options.pop(name, None) for name in ("path", "resource")]
        for name, possible in _OWN.items():
            if options.pop(name, None) not in possible:
                raise ValueError(f"SocketIO({name}=...): the engine has its own; leave {name} out.")
        self.server = FlaskServer(**options)
        self.async_mode = self.server.async_mode
        for message, handler, namespace in self.handlers:
            self.server.on(message, handler, namespace=namespace)
        for namespace_handler in self.namespace_handlers:
            self.server.register_namespace(namespace_handler)
        app.extensions["socketio"] = self
        serve = wrap(self.server, settings, app, f"/{(path[0] or path[1] or 'socket.io').strip('/')}/")

        def serve_app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            environ["flask.app"] = app
            return serve(environ, start_response)

        app.wsgi_app = serve_app  # type: ignore[method-assign]

    def _init_emitting(self, options: dict[str, Any]) -> None:
        """Emit on the channel that the farm with these options listens on."""
        url, of_stock = options.get("message_queue"), dict(options)
        if url and "client_manager" not in options:
            settings = options.get("settings") or Settings.from_env(os.environ)
            described = _describe_manager(settings, url, options.get("channel"))
            of_stock["channel"] = described.get("channel") or get_stock_channel(settings.prefix, get_database(url))
        super().init_app(None, **of_stock)
        self.server_options = options  # without stock's manager: ``init_app`` may get an app later

    def run(self, app: Flask, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError("Run it by gunicorn: gunicorn -c python:webfarm.gunicorn MODULE:app")

    def test_client(self, app: Flask, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError("Test it with real clients: docs/testing.md says how.")

    def _handle_event(
        self, handler: Callable[..., Any], message: str | None, namespace: str, sid: str, *args: Any
    ) -> Any:
        if message == "disconnect":
            args = fit(handler, args)
        environ = self.server.get_environ(sid, namespace=namespace) or {}
        eio_sid = self.server.manager.eio_sid_from_sid(sid, namespace) or ""
        if self.manage_session and _MANAGED not in environ and (kept := self._get_kept(sid, namespace).get(_KEPT)):
            environ[_MANAGED] = flask_socketio._ManagedSession(_serializer.loads(kept))
        try:
            return super()._handle_event(_passing_on(handler), message, namespace, sid, *args)
        finally:
            if self.manage_session and message != "disconnect":
                self._keep_session(eio_sid, _dump(environ))
            environ.pop("werkzeug.request", None)
            self.server.environ.pack(eio_sid)

    def _keep_session(self, eio_sid: str, session: str) -> None:
        """Save a changed session of a connection in each of its namespaces, where a client may resume it."""
        manager = self.server.manager
        for one in manager.get_namespaces_of(eio_sid):
            own_sid = manager.sid_from_eio_sid(eio_sid, one) or ""
            kept = self._get_kept(own_sid, one)
            if kept.get(_KEPT, "{}") != session:
                self.server.save_session(own_sid, {**kept, _KEPT: session}, one)

    def _get_kept(self, sid: str, namespace: str) -> dict[str, Any]:
        """Return the server's saved session of a client, which may have disconnected."""
        if not self.server.manager.is_sid_room(namespace, sid):
            return {}
        kept: dict[str, Any] = self.server.get_session(sid, namespace)
        return kept


def _describe_manager(settings: Settings, url: str | None, channel: str | None) -> dict[str, Any]:
    """Return the arguments of Flask-SocketIO that win over the settings, as those of ``RedisManager``."""
    options: dict[str, Any] = {"channel": channel} if channel else {}
    if channel and "prefix" not in settings.given:
        database = get_database(url or settings.redis_url)
        name = channel.removesuffix(f"/{database}") if database else channel
        options["prefix"] = PREFIX if name in ("socketio", _CHANNEL) else name.replace("/", "-")  # "/n" is a database's
    elif not channel and settings.prefix == PREFIX:  # as other processes with Flask-SocketIO expect it
        options["channel"] = get_stock_channel(_CHANNEL, get_database(url or settings.redis_url))
    if url:
        implied = {"shards": get_default_shards(url), "wait_replicas": get_default_wait_replicas(url)}
        options |= {"url": url, **{name: value for name, value in implied.items() if name not in settings.given}}
    return options


def _dump(environ: dict[str, Any]) -> str:
    """Return the session as text. For a value that can't be kept, restore the session and raise ``TypeError``."""
    try:
        return _serializer.dumps(environ.get(_MANAGED, {}))
    except TypeError:
        del environ[_MANAGED]
        raise


class _PassedOn(BaseException):
    """Carries an exception past the app's error handlers to the engine; ``__cause__`` is that exception."""


def _passing_on(handler: Callable[..., Any]) -> Callable[..., Any]:
    def handle(*args: Any) -> Any:
        try:
            return handler(*args)
        except (ClientError, Unavailable) as error:
            raise _PassedOn from error

    return handle


class _Handling(Handling):
    """Calls Flask-SocketIO's handlers, which call those of the app."""

    def trigger(self, event: str, namespace: str, *args: Any) -> Any:
        try:
            return super().trigger(event, namespace, *args)
        except _PassedOn as error:
            raise error.__cause__ or error from None

    def fit(self, handler: Callable[..., object], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return arguments


class FlaskServer(Server):
    """A server whose handlers are Flask-SocketIO's."""

    handling_class = _Handling
