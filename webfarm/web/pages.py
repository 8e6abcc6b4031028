"""The farm's own pages, a Flask app of their own, in front of an app's."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Flask, Response
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import Map, Rule

from webfarm.errors import SettingsError
from webfarm.manager.redis_manager import RedisManager
from webfarm.service import Service
from webfarm.settings import Settings
from webfarm.socketio.server import Server
from webfarm.web.admin import NAMESPACE, SECRET, AdminNamespace
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


class Pages(Service):
    """A WSGI application: the farm's pages at their own paths, ``app`` at all others.

    Args:
        pages: the farm's pages.
        server: of this worker.
        app: a Flask app, another WSGI application, or ``None``.
        taken: the paths that the server in front of the pages takes.
    """

    def __init__(self, pages: Flask, server: Server, app: Flask | WSGIApplication | None, taken: Iterable[str]) -> None:
        self._serve = pages.wsgi_app
        self._app: WSGIApplication = app.wsgi_app if isinstance(app, Flask) else app or pages.wsgi_app
        self._routes = pages.url_map
        self._routes_of_app = app.url_map if isinstance(app, Flask) else None
        self._server, self._admin = server, server.namespace_handlers.get(NAMESPACE)
        self._first_parts = {rule.rule.split("/")[1] for rule in self._routes.iter_rules()}
        self._fixed = [*taken, *(rule.rule for rule in self._routes.iter_rules() if not rule.arguments)]
        self.register()

    def start(self, node: str) -> None:
        """Refuse a namespace ``/admin`` of the app's own. Raises ``SettingsError``."""
        if isinstance(self._admin, AdminNamespace):
            _check_admin(self._server, self._admin)

    def list_warnings(self) -> list[str]:
        """Return a sentence for each route of a Flask app at a path that the farm serves."""
        if self._routes_of_app is None:
            return []
        shadowed = {rule.rule: rule.rule for rule in self._routes_of_app.iter_rules() if self._is_taken(rule)}
        for path in self._fixed:
            for rule in _find_rules(self._routes_of_app, path):
                shadowed.setdefault(rule, path)
        return [
            f"The app's route {rule} is never called at {path}, which webfarm serves: give the route another path."
            for rule, path in shadowed.items()
        ]

    def _is_taken(self, rule: Rule) -> bool:
        return not rule.arguments and (rule.rule in self._fixed or self._is_own(rule.rule))

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


def _find_rules(routes: Map, path: str) -> Iterator[str]:
    """Yield the rules for ``path``, each method's. One for all paths that the app does not know is none."""
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        try:
            rule, _ = routes.bind("").match(path, method, return_rule=True)
        except HTTPException:
            continue
        if not rule.rule.startswith("/<"):
            yield rule.rule


def _check_admin(server: Server, admin: AdminNamespace | None) -> None:
    """Raise ``SettingsError`` if the app handles ``/admin`` itself; ``admin`` is the farm's namespace, if there yet."""
    if NAMESPACE in server.handlers or server.namespace_handlers.get(NAMESPACE) is not admin:
        raise SettingsError(
            f"The app has a namespace {NAMESPACE} of its own, which is the Admin UI's: rename it, or unset"
            " WEBFARM_ADMIN_PASSWORD."
        )


def create_pages(server: Server, settings: Settings, path: str = "/socket.io/") -> Flask:
    """Return the pages; those that need a password or a key are there if the settings have it and Redis is used.

    Args:
        server: of this worker.
        settings: ``admin_password``, ``api_key``, the prefix and sizes.
        path: Socket.IO's.

    Raises ``SettingsError`` if the app has a namespace of the Admin UI's name.
    """
    pages = Flask(__name__, static_folder=None)
    pages.url_map.merge_slashes = False  # HAProxy compares paths as they come
    pages.register_blueprint(create_public(path))
    manager = server.manager
    if isinstance(manager, RedisManager):
        if settings.admin_password is not None:
            _check_admin(server, None)
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
