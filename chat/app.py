"""Where the parts meet: settings in, a WSGI application out."""

from pathlib import Path

from flask import Flask

from chat.events import ChatNamespace
from chat.realtime import RedisManager, Server, WSGIApp
from chat.settings import Settings
from chat.views import create_blueprint

_TEMPLATES = Path(__file__).parent.parent / "templates"


def create_app(settings: Settings) -> Flask:
    """Return the Flask app with the Socket.IO server in front of it at ``/socket.io/``.

    Nothing is connected yet: the worker starts the server (``Server.start``) once the app is loaded.
    """
    manager = RedisManager(settings.redis_url, channel=settings.channel, prefix=settings.prefix)
    server = Server(
        manager,
        connect_timeout_s=settings.connect_timeout_s,
        ping_interval=settings.ping_interval_s,
        ping_timeout=settings.ping_timeout_s,
        max_http_buffer_size=settings.max_message_bytes,
        cors_allowed_origins=_get_engineio_origins(settings.allowed_origins),
    )
    server.register_namespace(ChatNamespace(settings, manager))
    app = Flask(__name__, template_folder=str(_TEMPLATES), static_folder=None)
    app.register_blueprint(create_blueprint(server))
    app.wsgi_app = WSGIApp(server, app.wsgi_app)  # type: ignore[method-assign]
    return app


def _get_engineio_origins(origins: tuple[str, ...] | None) -> list[str] | str | None:
    """As python-engineio wants it: ``None`` is the same origin (an empty list would turn the check off)."""
    if origins is None:
        return None
    return "*" if "*" in origins else list(origins)
