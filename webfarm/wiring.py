"""``Farm``: from settings and an app to what a worker serves."""

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import gevent
from flask import Flask

from webfarm.auth import Identity, authenticate
from webfarm.http.wsgi import READY, WSGIApp
from webfarm.log.retention import Retention
from webfarm.manager.redis_manager import RedisManager
from webfarm.nodes.run_once import RunOnce
from webfarm.rate_limits import RateLimits
from webfarm.service import Service
from webfarm.settings import Settings
from webfarm.socketio.namespace import Namespace
from webfarm.socketio.server import Server
from webfarm.web.pages import Pages, WSGIApplication, create_pages
from webfarm.web.proxies import TrustedProxies

_Option = Callable[[Settings], Any]


def _create_identify(settings: Settings) -> Callable[[dict[str, Any], Any], Identity]:
    secret = settings.secret
    return lambda environ, auth: authenticate(environ, auth, secret)


def _create_admit(settings: Settings) -> Callable[[str, int], None] | None:
    rates = settings.rate_limit, settings.rate_limit_bytes
    return RateLimits(*rates).admit if any(rates) else None


def _get_origins(settings: Settings) -> list[str] | str | None:
    """Return the origins as python-engineio wants them: ``None`` is the same origin, and no list would be any."""
    origins = settings.allowed_origins
    if origins is None:
        return None
    return "*" if "*" in origins else list(origins)


# The arguments of ``RedisManager`` and ``Server``, and the settings behind each.
_MANAGER: dict[str, _Option] = {
    "url": lambda settings: settings.redis_url,
    "prefix": lambda settings: settings.prefix,
    "recovery_window_s": lambda settings: settings.recovery_window_s,
    "wait_replicas": lambda settings: settings.wait_replicas,
    "shards": lambda settings: settings.shards,
    "history": lambda settings: Retention(settings.history_length, settings.history_bytes, settings.history_ttl_s),
}
_SERVER: dict[str, _Option] = {
    "has_user_rooms": lambda settings: True,
    "identify": _create_identify,
    "admit": _create_admit,
    "max_connections_per_user": lambda settings: settings.max_connections_per_user,
    "cors_allowed_origins": _get_origins,
    "connect_timeout_s": lambda settings: settings.connect_timeout_s,
    "ping_interval": lambda settings: settings.ping_interval_s,
    "ping_timeout": lambda settings: settings.ping_timeout_s,
    "max_http_buffer_size": lambda settings: settings.max_message_bytes,
    "max_outbox_bytes": lambda settings: settings.max_outbox_bytes,
    "drain_s": lambda settings: settings.drain_s,
}


_Function = TypeVar("_Function", bound=Callable[[], object])


class Farm(Service):
    """All that a worker of a farm serves: an app's own pages, its Socket.IO server, and the farm's pages.

    ::

        app = Flask(__name__)
        farm = Farm(app)
        sio = farm.server

    A Flask app goes on being what gunicorn serves; any other WSGI application is wrapped, and ``farm`` is served.

    Args:
        app: a Flask app, another WSGI application, or ``None`` for a server without pages of its own.
        settings: by default, those of the environment.
        namespace: a class-based namespace, or its class, which is called without arguments. Its ``farm`` is this.

    Raises:
        SettingsError: a setting has a bad value.
        TypeError: ``app`` is no WSGI application.
    """

    def __init__(
        self,
        app: Any = None,
        settings: Settings | None = None,
        namespace: Namespace | type[Namespace] | None = None,
    ) -> None:
        if app is not None and not callable(app):
            raise TypeError(f"Farm(app): a Flask app or another WSGI application is needed, not {app!r}.")
        self._runs: dict[str, RunOnce] = {}
        self._is_started = False
        self.settings = settings if settings is not None else Settings.from_env(os.environ)
        self.manager = create_manager(self.settings)
        self.server = Server(self.manager, **get_server_options(self.settings))
        if namespace is not None:
            self.register_namespace(namespace)
        self.wsgi_app = wrap(self.server, self.settings, app)
        if isinstance(app, Flask):
            app.wsgi_app = self.wsgi_app  # type: ignore[method-assign, assignment]
            app.extensions["webfarm"] = self
        self.register()  # behind the server, which starts before

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve a request, as WSGI has it."""
        return self.wsgi_app(environ, start_response)

    def register_namespace(self, namespace: Namespace | type[Namespace]) -> None:
        """Serve one more class-based namespace, or its class, which is called without arguments."""
        handlers = namespace() if isinstance(namespace, type) else namespace
        handlers.farm = self
        self.server.register_namespace(handlers)

    def get_user(self, sid: str) -> str | None:
        """Return the user of a client of this worker; a guest has a made-up id. ``None``: there is no such client."""
        return self.manager.get_user(sid)

    def run_once(self, function: _Function) -> _Function:
        """Run ``function`` in a greenlet on one worker of the farm at a time; usable as a decorator.

        A function that returns is done for as long as its worker lives; when that worker ends, another one runs it
        again. A function that raises is logged and runs again after a second. If its worker crashes, another worker
        starts it within six seconds (``webfarm.nodes.run_once``).

        Args:
            function: takes no arguments, and is no lambda: all workers know it by its module and name.

        Raises:
            TypeError: ``function`` has no name, as a lambda or a ``functools.partial``.
            ValueError: another function of this name runs once already.
        """
        own_name = getattr(function, "__qualname__", None)
        if not callable(function) or own_name is None or "<lambda>" in own_name:
            raise TypeError(f"Farm.run_once: all workers know the function by its name: use def, not {function!r}.")
        name = f"{function.__module__}.{own_name}"
        if name in self._runs:
            raise ValueError(f"Farm.run_once: two functions are called {name}; give one another name.")
        shard = self.manager.shards.get(name)
        self._runs[name] = RunOnce(shard.commands, shard.keys, name, function)
        if self._is_started:
            self._runs[name].start(self.manager.node)
        return function

    def start(self, node: str) -> None:
        """Start the functions that run once; the server is started."""
        self._is_started = True
        for run in self._runs.values():
            run.start(self.manager.node)

    def stop(self, *, at_once: bool = False) -> None:
        """Stop the functions that run once, all at a time, so that another worker starts them."""
        gevent.joinall([gevent.spawn(run.stop) for run in self._runs.values()])


def create_manager(settings: Settings, **options: Any) -> RedisManager:
    """Return the manager that the settings describe; ``options``, arguments of ``RedisManager``, win."""
    return RedisManager(**_read(_MANAGER, settings, options))


def get_server_options(settings: Settings, **options: Any) -> dict[str, Any]:
    """Return the arguments of ``Server`` that the settings describe; ``options`` win."""
    return _read(_SERVER, settings, options)


def _read(described: dict[str, _Option], settings: Settings, options: dict[str, Any]) -> dict[str, Any]:
    """Return ``options`` and the described ones beside them. No setting is read that an option has replaced."""
    return {name: read(settings) for name, read in described.items() if name not in options} | options


def wrap(
    server: Server,
    settings: Settings,
    app: Any,
    path: str = "/socket.io/",
) -> WSGIApplication:
    """Return the WSGI application around all: trusted proxies, then the server, the farm's pages and ``app``.

    Args:
        server: of this worker.
        settings: what the pages and proxies need of them.
        app: a Flask app, another WSGI application, or ``None``.
        path: Socket.IO's.
    """
    pages = Pages(create_pages(server, settings, path), server, app, (path, path.rstrip("/"), READY))
    return TrustedProxies(WSGIApp(server, pages, path), settings.trusted_proxies)
