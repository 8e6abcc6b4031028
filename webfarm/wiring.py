"""``Farm``: from settings and an app to what a worker serves."""

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from flask import Flask

from webfarm.auth import authenticate
from webfarm.http.wsgi import WSGIApp
from webfarm.log.shard_log import Retention
from webfarm.manager.redis_manager import RedisManager
from webfarm.nodes.run_once import RunOnce
from webfarm.rate_limits import RateLimits
from webfarm.service import Service
from webfarm.settings import Settings
from webfarm.socketio.namespace import Namespace
from webfarm.socketio.server import Server
from webfarm.web.pages import Pages, WSGIApplication, create_pages
from webfarm.web.proxies import TrustedProxies

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
        handlers = namespace() if isinstance(namespace, type) else namespace
        if handlers is not None:
            handlers.farm = self
            self.server.register_namespace(handlers)
        self.wsgi_app = wrap(self.server, self.settings, app)
        if isinstance(app, Flask):
            app.wsgi_app = self.wsgi_app  # type: ignore[method-assign, assignment]
            app.extensions["webfarm"] = self
        self.register()  # behind the server, which starts before

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve a request, as WSGI has it."""
        return self.wsgi_app(environ, start_response)

    def get_user(self, sid: str) -> str | None:
        """Return the user of a client of this worker; a guest has a made-up id. ``None``: there is no such client."""
        return self.manager.get_user(sid)

    def run_once(self, function: _Function) -> _Function:
        """Run ``function`` in a greenlet on one worker of the farm at a time; usable as a decorator.

        If its worker crashes, another worker starts it within six seconds (``webfarm.nodes.run_once``).

        Args:
            function: takes no arguments, and is no lambda: all workers know it by its module and name.

        Raises:
            ValueError: another function of this name runs once already.
        """
        name = f"{function.__module__}.{function.__qualname__}"
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
        """Stop the functions that run once, so that another worker starts them."""
        for run in self._runs.values():
            run.stop()


def create_manager(settings: Settings, **options: Any) -> RedisManager:
    """Return the manager that the settings describe; ``options``, those of ``RedisManager``, win."""
    history = Retention(settings.history_length, settings.history_bytes, settings.history_ttl_s)
    described: dict[str, Any] = {
        "url": settings.redis_url,
        "prefix": settings.prefix,
        "recovery_window_s": settings.recovery_window_s,
        "wait_replicas": settings.wait_replicas,
        "shards": settings.shards,
        "history": history,
    }
    return RedisManager(**described | options)


def get_server_options(settings: Settings) -> dict[str, Any]:
    """Return what the settings say of a ``Server``, as its arguments."""
    secret, rates = settings.secret, (settings.rate_limit, settings.rate_limit_bytes)
    return {
        "has_user_rooms": True,
        "identify": lambda environ, auth: authenticate(environ, auth, secret),
        "connect_timeout_s": settings.connect_timeout_s,
        "max_connections_per_user": settings.max_connections_per_user,
        "admit": RateLimits(*rates).admit if any(rates) else None,
        "cors_allowed_origins": _get_engineio_origins(settings.allowed_origins),
        **settings.engine_options,
    }


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
    pages = create_pages(server, settings, path)
    own = app.wsgi_app if isinstance(app, Flask) else app or pages.wsgi_app
    return TrustedProxies(WSGIApp(server, Pages(pages, own), path), settings.trusted_proxies)


def _get_engineio_origins(origins: tuple[str, ...] | None) -> list[str] | str | None:
    """As python-engineio wants it: ``None`` is the same origin (an empty list would turn the check off)."""
    if origins is None:
        return None
    return "*" if "*" in origins else list(origins)
