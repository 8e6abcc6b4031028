"""The farm's own pages, a Flask app of their own, in front of an app's."""

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response
from werkzeug.exceptions import HTTPException, NotFound

from webfarm.manager.redis_manager import RedisManager
from webfarm.settings import Settings
from webfarm.socketio.server import Server
from webfarm.web.admin import SECRET, AdminNamespace
from webfarm.web.admin_auth import AdminAuth
from webfarm.web.admin_views import create_admin
from webfarm.web.api import create_api
from webfarm.web.figures import Figures
from webfarm.web.public import create_public

WSGIApplication = Callable[[dict[str, Any], Any], Iterable[bytes]]

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


class Pages:
    """A WSGI application: the farm's pages at their own paths, ``app`` at all others.

    Args:
        pages: the farm's pages.
        app: the application behind them.
    """

    def __init__(self, pages: Flask, app: WSGIApplication) -> None:
        self._serve, self._app = pages.wsgi_app, app
        self._routes = pages.url_map
        self._first_parts = {rule.rule.split("/")[1] for rule in self._routes.iter_rules()}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self._is_own(environ.get("PATH_INFO", "")):
            return self._serve(environ, start_response)
        return self._app(environ, start_response)

    def _is_own(self, path: str) -> bool:
        """Return whether a page has this path, with whatever method."""
        if path[1:].partition("/")[0] not in self._first_parts:  # for most requests nothing more is looked at
            return False
        try:
            self._routes.bind("").match(path)
        except NotFound:
            return False
        except HTTPException:  # another method, for example
            pass
        return True


def create_pages(server: Server, settings: Settings, path: str = "/socket.io/") -> Flask:
    """Return the pages; those that need a password or a key are there if the settings have it and Redis is used.

    Args:
        server: of this worker.
        settings: ``admin_password``, ``api_key``, the prefix and sizes.
        path: Socket.IO's.
    """
    pages = Flask(__name__, static_folder=None)
    pages.url_map.merge_slashes = False  # HAProxy compares paths as they come
    pages.register_blueprint(create_public(path))
    manager = server.manager
    if isinstance(manager, RedisManager):
        if settings.admin_password is not None:
            auth, figures = AdminAuth(settings.admin_password, settings.prefix), Figures(server)
            admin = AdminNamespace(auth, manager, figures, settings.max_outbox_bytes)
            server.register_namespace(admin)
            server.eio.secrets = (SECRET,)
            pages.register_blueprint(create_admin(auth, figures))
        if settings.api_key is not None:
            pages.register_blueprint(create_api(manager, settings.api_key, settings.max_message_bytes))

    @pages.after_request
    def add_security_headers(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return pages
