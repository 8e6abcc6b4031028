"""Where the parts meet: settings in, a WSGI application out."""

from flask import Flask

from chat.demo import DemoNamespace, create_demo
from chat.events import ChatNamespace
from chat.pages import create_blueprint
from webfarm import RedisManager, Retention, Server, WSGIApp
from webfarm.rate_limits import RateLimits
from webfarm.settings import Settings
from webfarm.web.admin import SECRET, AdminNamespace
from webfarm.web.admin_auth import AdminAuth
from webfarm.web.admin_views import create_admin
from webfarm.web.api import create_api
from webfarm.web.figures import Figures
from webfarm.web.proxies import TrustedProxies


def create_app(settings: Settings) -> Flask:
    """Return the Flask app with the Socket.IO server in front of it at ``/socket.io/``.

    Nothing is connected yet: the worker starts the server (``Server.start``) once the app is loaded.
    """
    manager = RedisManager(
        settings.redis_url,
        prefix=settings.prefix,
        recovery_window_s=settings.recovery_window_s,
        wait_replicas=settings.wait_replicas,
        shards=settings.shards,
        history=Retention(settings.history_length, settings.history_bytes, settings.history_ttl_s),
    )
    # The demo has no tokens.
    namespace = ChatNamespace(settings, manager) if settings.secret else DemoNamespace(settings, manager)
    rates = settings.rate_limit, settings.rate_limit_bytes
    server = Server(
        manager,
        connect_timeout_s=settings.connect_timeout_s,
        get_user=namespace.get_user,
        select_rooms=namespace.select_rooms,
        max_connections_per_user=settings.max_connections_per_user,
        admit=RateLimits(*rates).admit if any(rates) else None,
        on_presence=namespace.tell_watchers,
        cors_allowed_origins=_get_engineio_origins(settings.allowed_origins),
        **settings.engine_options,
    )
    server.register_namespace(namespace)
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(create_blueprint())
    app.register_blueprint(create_demo(settings.run_key, server.eio.sockets.__contains__))
    if settings.admin_password is not None:
        auth, figures = AdminAuth(settings.admin_password, settings.prefix), Figures(server)
        max_bytes = settings.max_outbox_bytes
        server.register_namespace(AdminNamespace(auth, manager, figures, namespace.is_server_room, max_bytes))
        server.eio.secrets = (SECRET,)
        app.register_blueprint(create_admin(auth, figures))
    if settings.api_key is not None:
        app.register_blueprint(create_api(manager, settings.api_key, settings.max_message_bytes))
    behind = TrustedProxies(WSGIApp(server, app.wsgi_app), settings.trusted_proxies)
    app.wsgi_app = behind  # type: ignore[method-assign]
    return app


def _get_engineio_origins(origins: tuple[str, ...] | None) -> list[str] | str | None:
    """As python-engineio wants it: ``None`` is the same origin (an empty list would turn the check off)."""
    if origins is None:
        return None
    return "*" if "*" in origins else list(origins)
